// From what a handler gave to what goes up: the forms of nuclio, and ours.
//
// Everything a processor would refuse is refused here with a sentence for the author, since a
// worker that sends it is killed.
'use strict'

const { types } = require('node:util')
const { Reject, Response, Retry } = require('./context.js')

const TYPE = { NONE: 0, TEXT: 1, JSON: 2, BYTES: 3, HTML: 4 }
const TYPE_NUMBERS = new Map([
  ['text/plain', TYPE.TEXT],
  ['application/json', TYPE.JSON],
  ['application/octet-stream', TYPE.BYTES],
  ['text/html', TYPE.HTML],
])
const OUTCOME = { OK: 0, ERROR: 1, RETRY: 2, REJECT: 3 }
// Longest delay of another attempt: a month. More is a mistake in the unit.
const RETRY_SECONDS_MAX = 31 * 86_400
// The length of a reply is a 32-bit number.
const BODY_BYTES_MAX = 0xffffffff
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const NEVER_IN_VALUE = /[\r\n\0]/

class Answer {
  constructor(body, type, status = 200, outcome = OUTCOME.OK) {
    this.status = status
    this.outcome = outcome
    this.type = type
    this.head = undefined
    this.body = body
    this.retryMilliseconds = 0
    // An iterator of what the body is made of, instead of a body.
    this.pieces = null
  }

  header(name, value) {
    this.head ??= []
    this.head.push(name, value)
  }
}

function answerOf(result) {
  if (typeof result === 'string') return new Answer(result, TYPE.TEXT)
  if (result instanceof Response) return ofResponse(result)
  if (result instanceof Retry) return ofRetry(result)
  if (result instanceof Reject) return new Answer(result.message, TYPE.TEXT, 422, OUTCOME.REJECT)
  if (isPair(result)) return ofPair(result)
  return withContent(result)
}

function withContent(value) {
  const answer = new Answer(...content(value))
  answer.pieces = piecesOf(value)
  return answer
}

// What is answered piece by piece: a stream, an async generator, a generator.
function piecesOf(value) {
  if (typeof value !== 'object' || value === null) return null
  if (typeof value[Symbol.asyncIterator] === 'function') return value[Symbol.asyncIterator]()
  return types.isGeneratorObject(value) ? value : null
}

// nuclio's `[status, body]`; any other array is JSON.
function isPair(result) {
  return (
    Array.isArray(result) && result.length === 2 && Number.isInteger(result[0]) &&
    result[0] >= 200 && result[0] <= 599
  )
}

function ofPair([status, value]) {
  const answer = answerOf(value)
  answer.status = status
  return answer
}

function ofRetry({ after }) {
  const seconds = Math.min(Math.max(after, 0), RETRY_SECONDS_MAX)
  const whole = String(Math.ceil(seconds))
  const answer = new Answer(`try again in ${whole} s`, TYPE.TEXT, 503, OUTCOME.RETRY)
  answer.header('Retry-After', whole)
  answer.retryMilliseconds = seconds * 1000
  return answer
}

function ofResponse(response) {
  const encoding = response.body_encoding ?? response.bodyEncoding
  const given = response.body
  const decoded = encoding === 'base64' && typeof given === 'string'
  const answer = withContent(decoded ? Buffer.from(given, 'base64') : given)
  const status = response.status_code ?? response.statusCode
  if (status !== undefined && status !== null) answer.status = checkedStatus(status)
  const type = response.content_type ?? response.contentType
  if (type) setType(answer, type)
  setHeaders(answer, response.headers, Boolean(type))
  return answer
}

function checkedStatus(status) {
  const number = Number(status)
  if (Number.isInteger(number) && number >= 200 && number <= 599) return number
  throw new RangeError(`the status code must be a whole number from 200 to 599, not ${status}`)
}

// The body, and the content type that is natural for it.
function content(value) {
  if (value === undefined || value === null) return ['', TYPE.TEXT]
  switch (typeof value) {
    case 'string':
      return [value, TYPE.TEXT]
    case 'object':
      break
    case 'function':
      throw new TypeError('the handler returned a function: call it')
    default:
      return [String(value), TYPE.TEXT]
  }
  const bytes = bytesOf(value)
  if (bytes !== null) return [bytes, TYPE.TEXT]
  if (typeof value[Symbol.asyncIterator] === 'function' || types.isGeneratorObject(value)) {
    return ['', TYPE.TEXT]
  }
  refuseUnfinished(value)
  const json = JSON.stringify(value)
  if (json === undefined) throw new TypeError('the handler returned an object that has no JSON')
  return [json, TYPE.JSON]
}

function bytesOf(value) {
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    // Other threads may write shared memory while it is sent.
    const owned = types.isSharedArrayBuffer(value.buffer) ? Uint8Array.from(bytes) : bytes
    return checkedLength(owned)
  }
  if (types.isAnyArrayBuffer(value)) {
    const bytes = new Uint8Array(value)
    return checkedLength(types.isSharedArrayBuffer(value) ? Uint8Array.from(bytes) : bytes)
  }
  return null
}

function checkedLength(bytes) {
  if (bytes.length <= BODY_BYTES_MAX) return bytes
  throw new RangeError(`a reply of ${bytes.length} bytes is larger than ${BODY_BYTES_MAX}`)
}

// These have a JSON form, `{}`, but nobody means it.
function refuseUnfinished(value) {
  let what = null
  if (value instanceof Blob) what = 'a Blob: return its stream() or'
  else if (globalThis.Response && value instanceof globalThis.Response) {
    what = "fetch's Response: return its body or"
  } else if (types.isMap(value) || types.isSet(value)) what = 'a Map or a Set: return'
  if (what !== null) throw new TypeError(`the handler returned ${what} text, a Buffer or a plain object`)
}

// The number of a content type; one without a number goes into the head.
function setType(answer, given) {
  const number = TYPE_NUMBERS.get(given)
  answer.type = number ?? TYPE.NONE
  if (number === undefined) answer.header('Content-Type', checkedValue('Content-Type', given))
}

function setHeaders(answer, headers, typed) {
  if (!headers) return
  const pairs = typeof headers.entries === 'function' ? headers.entries() : Object.entries(headers)
  for (const [name, value] of pairs) {
    if (!TOKEN.test(name)) throw new TypeError(`${JSON.stringify(name)} is not a header name`)
    if (name.length === 12 && name.toLowerCase() === 'content-type') {
      if (!typed) setType(answer, String(value))
    } else if (Array.isArray(value)) {
      for (const one of value) answer.header(name, checkedValue(name, one))
    } else {
      answer.header(name, checkedValue(name, value))
    }
  }
}

function checkedValue(name, value) {
  const text = String(value)
  if (!NEVER_IN_VALUE.test(text)) return text
  throw new TypeError(
    `the value of header ${name} has a line break or a NUL: ${JSON.stringify(text)}`,
  )
}

// A piece of a stream, as bytes.
function pieceOf(value) {
  if (typeof value === 'string') return Buffer.from(value)
  const bytes = typeof value === 'object' && value !== null ? bytesOf(value) : null
  if (bytes !== null) return bytes
  throw new TypeError(`a piece of a stream must be a string or bytes, not ${typeof value}`)
}

module.exports = { Answer, OUTCOME, TYPE, answerOf, pieceOf }
