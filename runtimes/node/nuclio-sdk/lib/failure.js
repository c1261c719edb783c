// Errors as text: one line for the client, the stack for the log.
'use strict'

const path = require('node:path')
const { inspect } = require('node:util')

const RUNTIME_FOLDER = path.resolve(__dirname, '..')
// Causes shown of one chain, and bytes of a log record.
const CHAIN_MAX = 8
const TEXT_MAX = 15 * 1024

let detail = 'message'

function setErrorDetail(name) {
  const known = String(name ?? '').toLowerCase()
  detail = known === 'none' || known === 'traceback' ? known : 'message'
}

// `TypeError: some error`, whatever was thrown; never throws itself.
function lastLine(error) {
  try {
    if (error instanceof Error || (error && typeof error.message === 'string')) {
      const name = String(error.name || error.constructor?.name || 'Error')
      return error.message === '' ? name : `${name}: ${error.message}`
    }
    return typeof error === 'string' ? error : `${inspect(error, { depth: 1 })} was thrown`
  } catch {
    return 'Error: what was thrown cannot be shown'
  }
}

function isOurs(line) {
  return line.includes(RUNTIME_FOLDER) || /^\s+at .*\(?node:/.test(line)
}

// The stack with causes, without frames of this runtime and of Node itself.
function stack(error) {
  const parts = []
  const seen = new Set()
  try {
    while (error instanceof Error && parts.length < CHAIN_MAX && !seen.has(error)) {
      seen.add(error)
      const own = String(error.stack ?? lastLine(error)).split('\n')
      parts.push(own.filter((line) => !isOurs(line)).join('\n'))
      error = error.cause
    }
    if (error !== undefined && !(error instanceof Error)) parts.push(lastLine(error))
  } catch {
    // An error whose own code fails: the line is left.
  }
  const text = parts.length === 0 ? lastLine(error) : parts.join('\ncaused by: ')
  return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}...` : text
}

// What a client is told.
function forClient(line, trace) {
  if (detail === 'none') return 'the function failed'
  return detail === 'traceback' ? trace : line
}

module.exports = { forClient, lastLine, setErrorDetail, stack }
