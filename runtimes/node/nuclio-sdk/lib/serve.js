// The way of an event: taken from the ring, given to the handler, answered.
//
// All of it runs on Node's one thread. Work is taken in batches; between batches, promises and then
// timers and sockets have their turn.
'use strict'

const { AsyncLocalStorage } = require('node:async_hooks')
const { OUTCOME, TYPE, answerOf } = require('./answer.js')
const { Event, timedOut } = require('./event.js')
const failure = require('./failure.js')
const { pump } = require('./pump.js')
const { LEVEL, sink } = require('./logger.js')
const { Reject, Retry } = require('./context.js')
const { ORIGIN } = require('./streams.js')
const { NOT_WANTED, ROW, Turn } = require('./turn.js')

// Events taken in one go.
const BATCH = 64
// Batches before timers and sockets have their turn.
const BATCHES_IN_A_ROW = 16
// Where headers and small bodies are copied to; one is given up when it is full and lives as long
// as an event that was copied into it. The largest event is 16 KiB of headers, with room for what
// describes them, and 16 KiB of body.
const SLAB_BYTES = 256 * 1024
const ARMED = 1 << 16
const SLAB_FULL = 1 << 17
const ROWS = ARMED - 1
const KIND = { EVENT: 1, CANCEL: 2, DRAIN: 3, STOP: 4 }
const LATE = 2
const LOOK_AGAIN = 1
// A handler that returned nothing is expected to call back; after this a record says that it waits.
const SILENCE_MS = 5000

const current = new AsyncLocalStorage()

class Server {
  constructor(addon, handler, context, output, start) {
    this.addon = addon
    this.handler = handler
    this.output = output
    this.open = new Map()
    this.zombies = 0
    this.zombiesMax = start.maxInflight
    this.logLevel = start.logLevel
    this.table = new Uint32Array(BATCH * ROW.WORDS)
    this.slab = newSlab()
    this.slabAt = 0
    this.stopping = false
    this.scheduled = false
    this.inARow = 0
    // Turns of a batch of which not all have been taken.
    this.gathered = []
    // Streams that wait for room: called after the next look.
    this.waiting = []
    this.look = this.look.bind(this)
    this.room = () => new Promise((resolve) => this.waiting.push(resolve))
    this.Context = contextClass(this, context)
  }

  // Takes what has come down, until nothing is left or others must have their turn.
  look() {
    this.scheduled = false
    while (!this.scheduled) {
      const result = this.addon.drain(this.table, this.slab.bytes, this.slabAt)
      const rows = result & ROWS
      // Credits came with the rows, or without any.
      if (this.waiting.length > 0) for (const wake of this.waiting.splice(0)) wake()
      for (let row = 0; row < rows; row++) this.take(row * ROW.WORDS)
      // Each event has entered its own, which costs half of `run`; what comes next is nobody's.
      if (rows > 0) current.enterWith(undefined)
      if (result & SLAB_FULL) {
        this.slab = newSlab()
        this.slabAt = 0
      }
      if (result & ARMED) {
        this.inARow = 0
        return
      }
      if (++this.inARow >= BATCHES_IN_A_ROW) {
        this.inARow = 0
        this.later(setImmediate)
      } else if (this.open.size > 0) {
        // Handlers that wait for no more than a promise are answered before the next batch.
        this.later(queueMicrotask)
      }
    }
  }

  later(schedule) {
    if (this.scheduled) return
    this.scheduled = true
    schedule(this.look)
  }

  take(row) {
    const { table } = this
    switch (table[row + ROW.KIND]) {
      case KIND.EVENT: {
        const turn = new Turn(this.slab, table, row)
        this.slabAt = table[row + ROW.END]
        if (turn.wanted !== NOT_WANTED) this.want(turn)
        if (table[row + ROW.BATCH] === 0) {
          current.enterWith(turn)
          this.begin(turn)
        } else {
          this.gather(turn, table[row + ROW.MORE])
        }
        break
      }
      case KIND.CANCEL:
        this.cancel(table[row + ROW.TAG], table[row + ROW.GENERATION])
        break
      case KIND.DRAIN:
        this.addon.drained(table[row + ROW.TRIGGER])
        break
      case KIND.STOP:
        current.enterWith(undefined)
        this.stopping = true
        this.endIfIdle()
    }
  }

  gather(turn, more) {
    this.gathered.push(turn)
    if (more > 0) return
    const turns = this.gathered
    this.gathered = []
    for (const turn of turns) turn.batch = turns
    current.enterWith(turns[0])
    this.beginBatch(turns)
  }

  // One call for all; each is answered by itself.
  beginBatch(turns) {
    let result
    try {
      result = this.handler(
        new this.Context(turns[0]), turns.map((turn) => new Event(undefined, turn)),
      )
    } catch (error) {
      return this.fail(turns[0], error)
    }
    for (const turn of turns) if (!turn.answered) this.open.set(turn.tag, turn)
    if (typeof result?.then === 'function') {
      result.then(
        (values) => this.settledBatch(turns, values),
        (error) => this.fail(turns[0], error),
      )
    } else if (result !== undefined || !turns[0].usesCallback) {
      this.settledBatch(turns, result)
    }
  }

  settledBatch(turns, values) {
    if (values === undefined && turns[0].usesCallback) return
    if (Array.isArray(values) && values.length === turns.length) {
      turns.forEach((turn, index) => {
        const value = values[index]
        if (value instanceof Error) this.failOne(turn, value)
        else this.answer(turn, value)
      })
      return
    }
    const what = Array.isArray(values) ? `${values.length} answers` : 'no array of answers'
    this.fail(turns[0], new TypeError(`a batch of ${turns.length} events got ${what}`))
  }

  // What `context.callback` was called with.
  calledBack(turn, answer) {
    if (turn.batch === null) this.answer(turn, answer)
    else this.settledBatch(turn.batch, answer)
  }

  begin(turn) {
    let result
    try {
      result = this.handler(new this.Context(turn), new Event(undefined, turn))
    } catch (error) {
      return this.fail(turn, error)
    }
    if (typeof result === 'string') {
      this.answerText(turn, result)
    } else if (result === null) {
      this.answerText(turn, '')
    } else if (result === undefined) {
      if (!turn.answered) this.expectCallback(turn)
    } else if (typeof result.then === 'function') {
      this.open.set(turn.tag, turn)
      result.then(
        (value) => this.settled(turn, value),
        (error) => this.fail(turn, error),
      )
    } else {
      this.answer(turn, result)
    }
  }

  // An async handler is done. One that returned nothing and took `context.callback` may still call.
  settled(turn, value) {
    if (value !== undefined) this.answer(turn, value)
    else if (turn.answered) return
    else if (turn.usesCallback) this.expectCallback(turn)
    else this.answerText(turn, '')
  }

  expectCallback(turn) {
    this.open.set(turn.tag, turn)
    turn.silence = setTimeout(() => {
      const text = 'the handler returned nothing and has not called context.callback yet'
      this.record(LEVEL.warn, ORIGIN.LOGGER, turn, text, '')
    }, SILENCE_MS)
    turn.silence.unref()
  }

  // What most handlers return, with one call for all of it.
  answerText(turn, text) {
    if (turn.answered) return this.late(turn)
    this.over(turn)
    const { tag, generation } = turn
    const { addon } = this
    this.sent(turn, text === '' ? addon.replyEmpty(tag, generation) : addon.replyText(tag, generation, text))
  }

  answer(turn, result) {
    if (turn.answered) return this.late(turn)
    let answer
    try {
      answer = answerOf(result)
    } catch (error) {
      return this.unsendable(turn, error)
    }
    if (answer.pieces === null) this.send(turn, answer)
    else this.stream(turn, answer)
  }

  async stream(turn, answer) {
    turn.answered = true
    turn.streaming = true
    this.open.set(turn.tag, turn)
    if (turn.silence !== null) clearTimeout(turn.silence)
    let isWhole = false
    const failed = (error) => {
      this.record(LEVEL.error, ORIGIN.STACK, turn, failure.stack(error), '')
    }
    try {
      isWhole = await pump(this.addon, turn, answer, this.room, failed)
    } catch (error) {
      if (!turn.hasHead) {
        turn.answered = turn.streaming = false
        return this.failOne(turn, error)
      }
      failed(error)
    }
    if (!turn.hasHead) {
      // Cancelled before its head went up.
      turn.answered = turn.streaming = false
      return this.send(turn, failedWith('handler timed out'))
    }
    this.over(turn)
    this.addon.streamEnd(turn.tag, turn.generation, !isWhole)
    turn.streaming = false
    if (this.stopping) this.endIfIdle()
  }

  send(turn, { status, outcome, type, head, body, retryMilliseconds }) {
    this.over(turn)
    const { tag, generation } = turn
    let result
    try {
      result = this.addon.reply(
        tag, generation, status, outcome, type, head, body, retryMilliseconds,
      )
    } catch (error) {
      const line = failure.lastLine(error)
      this.record(LEVEL.error, ORIGIN.STACK, turn, `the answer cannot be sent: ${line}`, '')
      const text = failure.forClient(line, line)
      result = this.addon.reply(tag, generation, 500, OUTCOME.ERROR, TYPE.TEXT, undefined, text, 0)
    }
    this.sent(turn, result)
  }

  sent(turn, result) {
    if (result === LATE) this.late(turn)
    else if (result === LOOK_AGAIN) this.later(setImmediate)
    if (this.stopping) this.endIfIdle()
  }

  // Notes that the event needs nothing more, before it is answered: what was printed goes first.
  over(turn) {
    turn.answered = true
    this.open.delete(turn.tag)
    if (turn.partial !== null) this.output.flush(turn)
    if (turn.silence !== null) clearTimeout(turn.silence)
    if (turn.wanted !== NOT_WANTED) this.wantNoMore(turn)
  }

  late(turn) {
    if (turn.isZombie) {
      turn.isZombie = false
      this.zombies--
      return
    }
    const text = 'a second answer was given to an event that has been answered; it was dropped'
    this.record(LEVEL.warn, ORIGIN.LOGGER, turn, text, '')
  }

  fail(turn, error) {
    if (turn.batch === null) return this.failOne(turn, error)
    for (const one of turn.batch) this.failOne(one, error)
  }

  failOne(turn, error) {
    if (turn.isZombie) return this.late(turn)
    if ((error instanceof Retry || error instanceof Reject) && !turn.answered) {
      return this.answer(turn, error)
    }
    const trace = failure.stack(error)
    this.record(turn.cancelled ? LEVEL.warn : LEVEL.error, ORIGIN.STACK, turn, trace, '')
    if (turn.answered) return
    const text = failure.forClient(failure.lastLine(error), trace)
    this.send(turn, failedWith(text))
  }

  unsendable(turn, error) {
    const line = failure.lastLine(error)
    const text = `what the handler returned cannot be sent: ${line}`
    this.record(LEVEL.error, ORIGIN.STACK, turn, text, '')
    this.send(turn, failedWith(failure.forClient(line, text)))
  }

  // The client has its answer. The handler is told; its claim is given back at once, since its code
  // cannot be ended and harms nobody: at most so many go on like this as may be in flight.
  cancel(tag, generation) {
    const turn = this.open.get(tag)
    if (turn === undefined || turn.generation !== generation) return
    turn.cancelled = true
    if (turn.abort !== null) current.run(turn, () => turn.abort.abort(timedOut()))
    if (turn.answered) {
      // A stream: its pump breaks it off, also where it waits for room.
      turn.onCancel?.()
      for (const wake of this.waiting.splice(0)) wake()
      return
    }
    if (this.zombies >= this.zombiesMax) return
    this.zombies++
    const text = 'the event is past its deadline; what its handler still does is not waited for'
    this.record(LEVEL.warn, ORIGIN.LOGGER, turn, text, '')
    this.send(turn, failedWith('handler timed out'))
    turn.isZombie = true
  }

  // An error that nobody caught belongs to the event that began what failed.
  uncaught(error, what) {
    const turn = current.getStore()
    if (turn !== undefined) return this.fail(turn, error)
    this.record(LEVEL.error, ORIGIN.STACK, undefined, `${what}: ${failure.stack(error)}`, '')
  }

  record(level, origin, turn, message, fields) {
    const tag = turn === undefined ? 0 : turn.tag
    this.addon.log(level, origin, tag, turn === undefined ? 0 : turn.generation, message, fields)
  }

  want(turn) {
    this.wanting ??= new Set()
    this.wanting.add(turn)
    sink.from = Math.min(sink.from, turn.wanted)
  }

  wantNoMore(turn) {
    this.wanting.delete(turn)
    sink.from = this.logLevel
    for (const other of this.wanting) sink.from = Math.min(sink.from, other.wanted)
  }

  endIfIdle() {
    if (this.open.size === 0) this.end()
  }
}

function failedWith(text) {
  return { ...NO_ANSWER, body: text }
}

const NO_ANSWER = {
  status: 500, outcome: OUTCOME.ERROR, type: TYPE.TEXT, head: undefined, retryMilliseconds: 0,
}

// Contexts of single events: everything of the worker's context, and a callback of their own.
function contextClass(server, base) {
  class EventContext {
    #turn

    constructor(turn) {
      this.#turn = turn
    }

    get callback() {
      const turn = this.#turn
      turn.usesCallback = true
      return (answer) => server.calledBack(turn, answer)
    }

    get signal() {
      return new Event(undefined, this.#turn).signal
    }
  }
  Object.setPrototypeOf(EventContext.prototype, base)
  return EventContext
}

function newSlab() {
  const memory = new ArrayBuffer(SLAB_BYTES)
  return { bytes: Buffer.from(memory), words: new Uint32Array(memory) }
}

module.exports = { Server, current }
