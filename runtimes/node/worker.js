// Starts a Node worker: refuses versions that cannot load the addon, then hands over.
//
// Everything here must run on any Node, however old, so that the refusal is a sentence and not a
// stack. Nothing of the user's is loaded yet.
'use strict'

// The processor shows the sentence on standard error and stops.
var REFUSED = 78

function refusal() {
  var name = process.versions.bun ? 'Bun ' + process.versions.bun : 'Node ' + process.versions.node
  if (parseInt(process.versions.node, 10) < 20) {
    return 'Node 20 or later is needed, ' + process.execPath + ' is ' + name
  }
  return null
}

var sentence = refusal()
if (sentence === null) {
  if (process.env.NUCLIO_WORKER_DEBUG) {
    // On the terminal of `--debug` the processor leaves Ctrl-C to its worker, which hands it on.
    process.on('SIGINT', function () {
      process.kill(process.ppid, 'SIGTERM')
    })
    // The usual port, or that of `--inspect-port` in NODE_OPTIONS.
    require('inspector').open(process.debugPort, '127.0.0.1')
  } else {
    // A worker has its own process group, but a terminal's Ctrl-C is for the processor alone: it
    // drains, and tells its workers when to stop.
    process.on('SIGINT', function () {})
  }
  try {
    var addon = require('./nuclio.node')
  } catch (error) {
    sentence = 'the Node runtime cannot be loaded by ' + process.execPath + ': ' + error.message
  }
}
if (sentence === null) {
  require('./nuclio-sdk/lib/start.js').main(addon)
} else {
  process.stderr.write(sentence + '\n')
  process.exitCode = REFUSED
}
