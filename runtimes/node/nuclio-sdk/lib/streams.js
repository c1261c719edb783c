// Standard output and error, and so `console`: lines become log records of their event.
//
// Nothing here waits for anybody: what the log has no room for is dropped there and counted.
'use strict'

const { Writable } = require('node:stream')
const { LEVEL } = require('./logger.js')

const ORIGIN = { LOGGER: 0, STDOUT: 1, STDERR: 2, STACK: 3 }
// A line that grows beyond this is cut into records; a record holds 16 KiB.
const LINE_MAX = 16 * 1024 - 256

// Level of what `console` is writing now; its methods write before they return.
let level = LEVEL.info
// Beginnings of lines of no event.
const homeless = ['', '']

class LogStream extends Writable {
  constructor(origin, output) {
    super({ decodeStrings: false })
    this.fd = origin
    this.origin = origin
    this.output = output
  }

  _write(chunk, _encoding, done) {
    this.output.take(this.origin, typeof chunk === 'string' ? chunk : chunk.toString('utf8'))
    done()
  }
}

class Output {
  // `current` gives the turn that runs, `write` makes a record.
  constructor(current, write, from) {
    this.current = current
    this.write = write
    this.from = from
  }

  take(origin, text) {
    const turn = this.current()
    const kept = turn === undefined ? homeless : (turn.partial ??= ['', ''])
    const index = origin - ORIGIN.STDOUT
    const lines = (kept[index] + text).split('\n')
    kept[index] = lines.pop()
    for (const line of lines) this.line(origin, turn, line)
    if (kept[index].length >= LINE_MAX || (turn?.answered && kept[index] !== '')) {
      this.line(origin, turn, kept[index])
      kept[index] = ''
    }
  }

  line(origin, turn, line) {
    if (level < this.from()) return
    if (line.endsWith('\r')) line = line.slice(0, -1)
    let at = 0
    do {
      this.write(level, origin, turn, line.slice(at, at + LINE_MAX), '')
      at += LINE_MAX
    } while (at < line.length)
  }

  // The unfinished lines of an event that is over, or of none.
  flush(turn) {
    const kept = turn === undefined ? homeless : turn.partial
    if (kept === null) return
    for (const origin of [ORIGIN.STDOUT, ORIGIN.STDERR]) {
      const rest = kept[origin - ORIGIN.STDOUT]
      kept[origin - ORIGIN.STDOUT] = ''
      if (rest !== '') this.line(origin, turn, rest)
    }
  }

  install() {
    for (const [name, origin] of [['stdout', ORIGIN.STDOUT], ['stderr', ORIGIN.STDERR]]) {
      const stream = new LogStream(origin, this)
      Object.defineProperty(process, name, { value: stream, configurable: true, enumerable: true })
    }
    const levels = { debug: LEVEL.debug, warn: LEVEL.warn, error: LEVEL.error, trace: LEVEL.warn }
    for (const [name, own] of Object.entries(levels)) {
      const method = console[name]
      console[name] = function (...words) {
        const before = level
        level = own
        try {
          return method.apply(this, words)
        } finally {
          level = before
        }
      }
    }
  }
}

module.exports = { ORIGIN, Output }
