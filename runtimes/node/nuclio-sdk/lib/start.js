// From the start of the process to the first event, and to the end.
'use strict'

const { containErrors, containExit, realExit } = require('./contain.js')
const { Context } = require('./context.js')
const { connection } = require('./event.js')
const failure = require('./failure.js')
const { Unusable, load } = require('./load.js')
const { LEVEL, Logger, sink } = require('./logger.js')
const { Server, current } = require('./serve.js')
const { ORIGIN, Output } = require('./streams.js')

async function main(addon) {
  let start
  try {
    start = addon.attach(process.versions.node)
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    return realExit(1)
  }
  // Processes that the user's code starts are no workers.
  delete process.env.NUCLIO_WORKER_FD
  failure.setErrorDetail(start.settings.errorDetail)
  connection.addon = addon
  for (const { id, kind, name } of start.triggers) {
    connection.triggers.set(id, Object.freeze({ kind, name }))
  }
  const output = makeOutput(addon, start)
  const server = await ready(addon, start, output)
  if (server !== null) serve(addon, server, output, start)
}

function makeOutput(addon, start) {
  const record = (level, origin, turn, message, fields) =>
    addon.log(level, origin, turn?.tag ?? 0, turn?.generation ?? 0, message, fields)
  sink.from = start.logLevel
  sink.write = (level, message, fields) =>
    record(level, ORIGIN.LOGGER, current.getStore(), message, fields)
  const output = new Output(() => current.getStore(), record, () => sink.from)
  output.install()
  return output
}

// Loads the code and runs `initContext`; null if it cannot be served, which the processor is told.
async function ready(addon, start, output) {
  // Until there is a server, an error nobody caught is one of the loading.
  let refuse
  const failed = new Promise((_resolve, reject) => {
    refuse = reject
  })
  let uncaught = (error) => refuse(error)
  containExit()
  containErrors((error, what) => uncaught(error, what))
  let what = start.codePath
  try {
    const code = await Promise.race([load(start.codePath, start.handler), failed])
    const context = new Context({ ...start, trigger: connection.triggers.get(0) ?? null })
    context.logger = new Logger()
    if (code.init !== null) {
      what = 'initContext failed'
      await Promise.race([code.init(context), failed])
    }
    failed.catch(() => {})
    const server = new Server(addon, code.handler, context, output, start)
    uncaught = (error, how) => server.uncaught(error, how)
    return server
  } catch (error) {
    output.flush(undefined)
    const usage = error instanceof Unusable
    const text = usage
      ? error.message
      : `${what}: ${failure.lastLine(error)}\n${failure.stack(error)}`
    addon.initFailed(usage && !error.missing, text)
    realExit(0)
    return null
  }
}

function serve(addon, server, output, start) {
  server.end = () => {
    output.flush(undefined)
    try {
      realExit(0)
    } catch (error) {
      // A listener of `exit` failed.
      addon.log(LEVEL.error, ORIGIN.STACK, 0, 0, failure.stack(error), '')
      process.reallyExit(0)
    }
  }
  addon.onBell(server.look)
  addon.ready(start.maxInflight)
  setImmediate(server.look)
}

module.exports = { main }
