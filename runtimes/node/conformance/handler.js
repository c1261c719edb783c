// What the conformance kit asks of a handler; see runtimes/conformance/README.md.
'use strict'

const { setTimeout: later } = require('node:timers/promises')

const kept = []

const ways = {
  echo: (_context, event) => event.body,
  headers: (context, event) =>
    new context.Response('', {
      'X-Seen': event.headers.getAll('x-in'), 'X-Out': ['a', 'b'], 'X-Empty': '',
    }),
  status: (context, _event, argument) => new context.Response('', {}, null, Number(argument)),
  error: () => {
    throw new TypeError('failed on purpose')
  },
  log: (context) => {
    context.logger.info('logged by the handler')
    return null
  },
  logs: (context, _event, argument) => {
    for (let number = 0; number < Number(argument); number++) {
      context.logger.infoWith('one of many records, each as long as this', { number })
    }
    return null
  },
  print: () => {
    console.log('printed by the handler')
    return null
  },
  size: (_context, _event, argument) => Buffer.alloc(Number(argument), 'x'),
  stream: async function* (_context, _event, argument) {
    for (let number = 0; number < Number(argument); number++) yield `piece ${number}\n`
  },
  'stream-broken': function* () {
    yield 'piece 0\n'
    throw new TypeError('failed on purpose')
  },
  sleep: async (_context, event) => {
    await later(200)
    return event.body
  },
  hang: () => new Promise(() => {}),
  keep: (_context, event) => {
    kept.push(event.body)
    return null
  },
  kept: () => kept.at(-1),
  forget: () => {
    kept.length = 0
    return null
  },
}

exports.handler = (context, event) => {
  if (Array.isArray(event)) {
    const size = String(event.length)
    return event.map((one) => new context.Response(one.body, { 'X-Batch': size }))
  }
  const [word, argument] = event.path.slice(1).split('/')
  return ways[word](context, event, argument)
}
