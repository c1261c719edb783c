// What handlers may give back, chosen by the path; `/ok` is the probe.
const { Readable } = require('node:stream')
const later = (value, ms = 5) => new Promise((resolve) => setTimeout(resolve, ms, value))
const circle = {}
circle.self = circle

const forms = {
  ok: () => 'ok',
  text: () => 'héllo',
  empty: () => '',
  null: () => null,
  buffer: () => Buffer.from([0, 255]),
  bytes: () => new Uint8Array([1, 2]),
  object: () => ({ a: [1, null, true, 1.5, 'é'] }),
  list: () => [1, 2, 3],
  'empty list': () => [],
  number: () => 5,
  zero: () => 0,
  false: () => false,
  pair: () => [201, 'made'],
  'pair of object': () => [202, { a: 1 }],
  'pair of nothing': () => [204, null],
  'no pair': () => [7, 8],
  response: (context) => new context.Response('b'),
  'response called by name': (context) =>
    new context.Response('<p>', { 'X-Own': ['1', '2'] }, 'text/html', 418),
  'response of object': (context) => new context.Response({ a: 1 }),
  'response in base64': (context) =>
    new context.Response('AP8=', {}, 'image/png', 200, 'base64'),
  retry: (context) => context.retry({ after: 5 }),
  reject: (context) => context.reject('no such order'),
  'thrown reject': (context) => {
    throw context.reject('thrown')
  },
  promise: () => later('later'),
  'async nothing': async () => {},
  'async object': async () => ({ a: 1 }),
  'call back': (context) => context.callback('called'),
  'call back later': (context) => void setTimeout(() => context.callback('called later'), 5),
  'call back in async': async (context) => {
    setTimeout(context.callback, 5, 'async callback')
  },
  'call back with response': (context) =>
    context.callback(new context.Response('r', {}, 'text/csv', 203)),
  stream: () => Readable.from(['a', Buffer.from('b')]),
  generator: function* () {
    yield '1\n'
    yield ''
    yield '2\n'
  },
  'async generator': async function* () {
    await later()
    yield 'x'
    await later()
    yield new Uint8Array([0])
  },
  'web stream': () => new Blob(['web']).stream(),
  'response of stream': (context) =>
    new context.Response(Readable.from(['a,', 'b\n']), {}, 'text/csv', 201),
  'empty stream': () => Readable.from([]),
  'pair of stream': () => [204, Readable.from(['never'])],
  'for ever': async function* (_context, event) {
    const { length } = event.body
    try {
      for (;;) {
        yield `${'x'.repeat(1000)}\n`
        await later(1)
      }
    } finally {
      console.log('nobody reads', length)
    }
  },
  // What cannot be sent.
  function: () => () => 1,
  blob: () => new Blob(['a']),
  piece: () => (function* () { yield 1 })(),
  'stream that fails': () => (async function* () { throw new RangeError('no rows') })(),
  map: () => new Map(),
  circle: () => circle,
  bigint: () => ({ a: 1n }),
  'status out of range': (context) => new context.Response('', {}, null, 99),
  'line break': (context) => new context.Response('', { 'X-A': 'a\r\nX-B: b' }),
  'bad name': (context) => new context.Response('', { 'X A': 'a' }),
  'large head': (context) => new context.Response('', { 'X-A': 'a'.repeat(20000) }),
  // What fails.
  throw: () => {
    throw new TypeError('bad order')
  },
  'throw text': () => {
    throw 'just text'
  },
  'throw nothing': () => {
    throw undefined
  },
  'throw hostile': () => {
    throw { get message() { throw new Error('never') } }
  },
  'async throw': async () => {
    await later()
    throw new RangeError('after a while')
  },
  'throw in timer': () => void setTimeout(() => { throw new Error('in a timer') }, 2),
  unhandled: () => void Promise.reject(new Error('nobody handles it')),
  exit: () => process.exit(3),
  'exit in timer': () => void setTimeout(() => process.exit(4), 2),
  // Second answers.
  twice: (context) => {
    context.callback('first')
    context.callback('SECRET')
  },
  'late callback': (context) => {
    setTimeout(() => context.callback('SECRET'), 30)
    return 'first'
  },
  'slow for ever': (_context, event) =>
    new Promise((resolve) => {
      event.signal.addEventListener('abort', () => console.log('aborted', event.signal.reason.name))
    }),
  fields: (_context, event) => ({ ...event.toJSON(), body: event.body.toString() }),
  headers: (_context, event) => ({
    canonical: event.headers['X-Own'],
    lower: event.headers['x-own'],
    all: event.headers.getAll('x-own'),
    proto: Object.keys(event.headers),
  }),
  lines: async (context, event) => {
    console.log('one %d', 1)
    await later()
    process.stdout.write('two-')
    await later()
    process.stdout.write('three\nno line end')
    console.error('to stderr')
    context.logger.infoWith('with', { price: 3 })
    context.logger.debug('not wanted')
    return event.id
  },
}

exports.initContext = async (context) => {
  await later()
  context.userData.made = true
}

exports.handler = function (context, event) {
  const name = decodeURIComponent(event.path.slice(1))
  if (!context.userData.made) return [500, 'initContext was not waited for']
  return forms[name] ? forms[name](context, event) : [404, name]
}
