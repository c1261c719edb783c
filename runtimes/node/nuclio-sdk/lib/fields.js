// Reads what clients wrote out of a slab: text of unknown encoding, query strings, header names.
//
// Offsets are those of the event header in docs/abi. Whatever the bytes are, there is an answer.
'use strict'

const { isUtf8 } = require('node:buffer')

const FIXED_BYTES = 128
const LINE_WORDS = 4
const METHODS = [
  '', 'GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT',
]
const RANGE = {
  id: 56, path: 64, query: 72, contentType: 80, key: 88, topic: 96, traceparent: 104, ext: 112,
}
const FLAG = { ID_IN_TOKEN: 1, LAST_IN_BATCH: 4 }
const KIND_OF_STREAM = 2
// Names met so far in their canonical form; a stranger who sends many costs only himself.
const NAMES_MAX = 256
const names = new Map()

// UTF-8, and where it is not, each byte as its Latin-1 character.
function text(slab, start, length) {
  if (length === 0) return ''
  const value = slab.bytes.toString('utf8', start, start + length)
  if (!value.includes('\ufffd')) return value
  const bytes = slab.bytes.subarray(start, start + length)
  return isUtf8(bytes) ? value : bytes.toString('latin1')
}

function range(turn, at) {
  const word = (turn.at + at) >> 2
  return text(turn.slab, turn.at + turn.slab.words[word], turn.slab.words[word + 1])
}

function byte(turn, at) {
  return turn.slab.bytes[turn.at + at]
}

function word16(turn, at) {
  return turn.slab.bytes.readUInt16LE(turn.at + at)
}

function word32(turn, at) {
  return turn.slab.words[(turn.at + at) >> 2]
}

function nanoseconds(turn, at) {
  return turn.slab.bytes.readBigUInt64LE(turn.at + at)
}

// `content-type` as Go writes it, which is what nuclio's handlers see: `Content-Type`.
function canonicalName(sent) {
  const known = names.get(sent)
  if (known !== undefined) return known
  const made = sent
    .toLowerCase()
    .replace(/(^|-)([a-z])/g, (_, before, letter) => before + letter.toUpperCase())
  if (names.size < NAMES_MAX && sent.length <= 64) names.set(sent, made)
  return made
}

function* lines(turn) {
  const { slab, at } = turn
  const count = word16(turn, 2)
  for (let line = 0; line < count; line++) {
    const word = ((at + FIXED_BYTES) >> 2) + line * LINE_WORDS
    const [nameAt, nameBytes, valueAt, valueBytes] = slab.words.subarray(word, word + LINE_WORDS)
    yield [canonicalName(text(slab, at + nameAt, nameBytes)), text(slab, at + valueAt, valueBytes)]
  }
}

// What a `%XX` says, and the text as it is where that is no proper escape.
function decoded(part) {
  if (!part.includes('%')) return part
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

// Sets as an own property whatever the name is: `__proto__` is a legal name for a header.
function put(object, name, value) {
  if (name === '__proto__') {
    Object.defineProperty(object, name, {
      value, enumerable: true, writable: true, configurable: true,
    })
  } else {
    object[name] = value
  }
}

function queryFields(query) {
  const fields = {}
  if (query === '') return fields
  for (const [name, value] of new URLSearchParams(query)) put(fields, name, value)
  return fields
}

function id(turn) {
  if ((word16(turn, 122) & FLAG.ID_IN_TOKEN) === 0) return range(turn, RANGE.id)
  const hex = turn.slab.bytes.toString('hex', turn.at + 32, turn.at + 48)
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)]
  return `${parts.join('-')}-${hex.slice(20)}`
}

// A text or a number out of the MessagePack map that holds what has no fixed place.
function extra(turn, wanted) {
  const length = word32(turn, RANGE.ext + 4)
  if (length === 0) return undefined
  const start = turn.at + word32(turn, RANGE.ext)
  const bytes = turn.slab.bytes.subarray(start, start + length)
  let at = 0
  const number = (size) => {
    let value = 0
    for (const end = at + size; at < end; at++) value = value * 256 + bytes[at]
    return value
  }
  const item = () => {
    const head = number(1)
    if (head < 0x80) return head
    if (head >= 0xcc && head <= 0xcf) return number(1 << (head - 0xcc))
    let size
    if (head >= 0xa0 && head <= 0xbf) size = head & 31
    else if (head >= 0xd9 && head <= 0xdb) size = number(1 << (head - 0xd9))
    else if (head >= 0xc4 && head <= 0xc6) size = number(1 << (head - 0xc4))
    else return undefined
    at += size
    return text({ bytes }, at - size, size)
  }
  const head = number(1)
  const pairs = head === 0xde ? number(2) : head >> 4 === 8 ? head & 15 : 0
  for (let pair = 0; pair < pairs && at < length; pair++) {
    const key = item()
    const value = item()
    if (value === undefined) return undefined
    if (key === wanted) return value
  }
  return undefined
}

function method(turn) {
  return METHODS[byte(turn, 1)] ?? extra(turn, 'method') ?? ''
}

module.exports = {
  FLAG, KIND_OF_STREAM, RANGE, byte, canonicalName, decoded, extra, id, lines, method, nanoseconds,
  put, queryFields, range, word16, word32,
}
