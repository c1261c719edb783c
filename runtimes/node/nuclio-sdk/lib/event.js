// `Event`: fields are read when they are asked for, from a copy that is the event's own.
'use strict'

const { inspect } = require('node:util')
const fields = require('./fields.js')
const { headersOf } = require('./headers.js')
const { NOT_COPIED } = require('./turn.js')

const { RANGE } = fields

// The addon and the triggers, once there is a processor.
const connection = { addon: null, triggers: new Map() }
const NO_TRIGGER = Object.freeze({ kind: '', name: '' })

// Bodies have memory of their own: `body.buffer` must not lead to what others sent.
function body(turn) {
  const copy = Buffer.allocUnsafeSlow(turn.bodyBytes)
  if (turn.bodyBytes === 0) return copy
  if (turn.bodyAt !== NOT_COPIED) {
    turn.slab.bytes.copy(copy, 0, turn.bodyAt, turn.bodyAt + turn.bodyBytes)
    return copy
  }
  const isOver = turn.answered && !turn.streaming
  if (isOver || !connection.addon.readBody(turn.tag, turn.generation, copy)) {
    throw new Error(
      `the body (${turn.bodyBytes} bytes) was not read before the event was answered: read ` +
        'event.body first, it stays valid',
    )
  }
  return copy
}

function signal(turn) {
  turn.abort ??= new AbortController()
  if (turn.cancelled && !turn.abort.signal.aborted) turn.abort.abort(timedOut())
  return turn.abort.signal
}

function timedOut() {
  return new DOMException('the event is past its deadline', 'TimeoutError')
}

function milliseconds(turn) {
  return Number(fields.nanoseconds(turn, 8) / 1000n) / 1000
}

function url(turn) {
  const query = fields.range(turn, RANGE.query)
  const path = fields.range(turn, RANGE.path)
  return query === '' ? path : `${path}?${query}`
}

function record(turn, value) {
  return fields.byte(turn, 0) === fields.KIND_OF_STREAM ? value() : null
}

// In the order in which nuclio lists them, then ours.
const READERS = {
  body,
  content_type: (turn) => fields.range(turn, RANGE.contentType),
  trigger: (turn) => connection.triggers.get(turn.trigger) ?? NO_TRIGGER,
  fields: (turn) => fields.queryFields(fields.range(turn, RANGE.query)),
  headers: (turn) => headersOf(fields.lines(turn)),
  id: fields.id,
  method: fields.method,
  path: (turn) => fields.decoded(fields.range(turn, RANGE.path)),
  size: (turn) => turn.bodyBytes,
  timestamp: (turn) => new Date(milliseconds(turn)),
  url,
  shard_id: (turn) => fields.word32(turn, 28),
  num_shards: (turn) => fields.extra(turn, 'num_shards') ?? 0,
  type: (turn) => fields.extra(turn, 'type') ?? '',
  type_version: (turn) => fields.extra(turn, 'type_version') ?? '',
  version: (turn) => fields.extra(turn, 'version') ?? '',
  last_in_batch: (turn) => (fields.word16(turn, 122) & fields.FLAG.LAST_IN_BATCH) !== 0,
  offset: (turn) => Number(fields.nanoseconds(turn, 16)),
  topic: (turn) => fields.range(turn, RANGE.topic),
  key: (turn) => record(turn, () => fields.range(turn, RANGE.key)),
  partition: (turn) => record(turn, () => fields.word32(turn, 24)),
  attempt: (turn) => turn.attempt,
  deadline,
  signal,
}

// When the answer is due; the processor counts on the monotonic clock.
function deadline(turn) {
  const at = turn.deadlineHigh * 4294967296 + turn.deadlineLow
  if (at === 0) return null
  const left = Number(BigInt(at) - process.hrtime.bigint()) / 1e6
  return new Date(Date.now() + left)
}

// What a field is that nobody set, in an event that a test made.
const DEFAULTS = {
  body: () => Buffer.alloc(0),
  fields: () => ({}),
  headers: () => headersOf([]),
  trigger: () => NO_TRIGGER,
  path: () => '/',
  size: () => 0,
  timestamp: () => new Date(),
  signal: () => new AbortController().signal,
  attempt: () => 1,
  last_in_batch: () => false,
}

class Event {
  #turn
  #cells = null

  // With a plain object: an event made by hand. The runtime gives a Turn of its own.
  constructor(made = {}, turn = null) {
    this.#turn = turn
    if (turn === null) this.#make(made)
  }

  #make(made) {
    for (const [name, value] of Object.entries(made)) {
      if (!(name in READERS)) throw new TypeError(`an Event has no field ${name}`)
      this[name] = value
    }
    if (typeof made.body === 'string') this.body = Buffer.from(made.body)
    if (made.headers) {
      const pairs = Object.entries(made.headers)
      this.headers = headersOf(pairs.map(([name, value]) => [fields.canonicalName(name), value]))
    }
  }

  #read(name) {
    if (this.#cells === null) this.#cells = {}
    else if (name in this.#cells) return this.#cells[name]
    const turn = this.#turn
    const value = turn === null ? (DEFAULTS[name]?.() ?? null) : READERS[name](turn)
    this.#cells[name] = value
    return value
  }

  #write(name, value) {
    this.#cells ??= {}
    this.#cells[name] = value
  }

  toJSON() {
    const shown = {}
    for (const name of Object.keys(READERS)) {
      if (name === 'signal') continue
      const value = this[name]
      shown[name] = name === 'body' && Buffer.isBuffer(value) ? value.toString('base64') : value
    }
    return shown
  }

  [inspect.custom](_depth, options) {
    return `Event ${inspect({ ...this.toJSON(), body: this.body }, options)}`
  }

  static {
    for (const name of Object.keys(READERS)) {
      Object.defineProperty(Event.prototype, name, {
        enumerable: true,
        configurable: true,
        get() {
          return this.#read(name)
        },
        set(value) {
          this.#write(name, value)
        },
      })
    }
  }
}

module.exports = { Event, connection, timedOut }
