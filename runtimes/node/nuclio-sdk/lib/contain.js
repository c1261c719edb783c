// What one event must not do to others: end the process, or end it by an error nobody caught.
'use strict'

const realExit = process.exit.bind(process)

class ExitError extends Error {
  constructor(code) {
    super(`process.exit(${code ?? ''}) was called: it ends this event, not the worker`)
    this.name = 'ExitError'
    this.code = code
  }
}

function containExit() {
  process.exit = function exit(code) {
    throw new ExitError(code)
  }
}

// `uncaught(error, what)` is told of each.
function containErrors(uncaught) {
  process.on('uncaughtException', (error) => uncaught(error, 'an error nobody caught'))
  process.on('unhandledRejection', (error) => uncaught(error, 'a rejection nobody handled'))
}

module.exports = { ExitError, containErrors, containExit, realExit }
