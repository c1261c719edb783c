// `context.logger`: records with a level, a message and fields, as in nuclio's SDK.
//
// A record below the level costs one comparison. Fields become JSON here.
'use strict'

const { format, inspect } = require('node:util')

const LEVEL = { debug: 0, info: 1, warn: 2, error: 3 }

// Where records go: `{ from, write(level, message, fields) }`; `from` is the lowest level taken.
const sink = {
  from: 0,
  write(level, message, fields) {
    const name = Object.keys(LEVEL)[level]
    process.stderr.write(`${name} ${message} ${fields}`.trimEnd() + '\n')
  },
}

function json(fields) {
  try {
    return JSON.stringify(fields, lenient) ?? ''
  } catch {
    // A circle: a log line is no reason to fail an event.
    return JSON.stringify({ fields: inspect(fields) })
  }
}

function lenient(_name, value) {
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Error) return `${value.name}: ${value.message}`
  return value
}

class Logger {
  #bound

  constructor(bound = null) {
    this.#bound = bound
  }

  // A logger whose records all have these fields, too.
  bind(fields) {
    return new Logger({ ...this.#bound, ...fields })
  }

  #log(level, message, fields) {
    const all = this.#bound === null ? fields : { ...fields, ...this.#bound }
    sink.write(level, String(message), all == null ? '' : json(all))
  }

  static {
    for (const [name, level] of Object.entries(LEVEL)) {
      Logger.prototype[name] = function (message, ...rest) {
        if (level < sink.from) return
        this.#log(level, rest.length === 0 ? message : format(message, ...rest), null)
      }
      Logger.prototype[`${name}With`] = function (message, fields) {
        if (level >= sink.from) this.#log(level, message, fields)
      }
    }
    Logger.prototype.warning = Logger.prototype.warn
  }
}

module.exports = { LEVEL, Logger, sink }
