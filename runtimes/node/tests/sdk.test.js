// The SDK without a processor: events made by hand, headers, answers, errors as text.
'use strict'

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { Context, Event, Response } = require('../nuclio-sdk')
const { answerOf, OUTCOME, TYPE } = require('../nuclio-sdk/lib/answer.js')
const failure = require('../nuclio-sdk/lib/failure.js')
const fields = require('../nuclio-sdk/lib/fields.js')

test('a handler can be called by hand', () => {
  const handler = (context, event) => `Hello, ${event.fields.name ?? 'world'}!`
  assert.equal(handler(new Context(), new Event({ fields: { name: 'Ada' } })), 'Hello, Ada!')
  assert.equal(handler(new Context(), new Event()), 'Hello, world!')
})

test('an event made by hand has bodies, headers and defaults', () => {
  const event = new Event({ body: 'żółw', headers: { 'content-type': 'a/b' } })
  assert.equal(event.body.toString(), 'żółw')
  assert.equal(event.headers['CONTENT-TYPE'], 'a/b')
  assert.equal(event.headers['Content-Type'], 'a/b')
  assert.equal(event.headers.missing, undefined)
  assert.ok('content-type' in event.headers)
  assert.deepEqual(event.headers.getAll('content-type'), ['a/b'])
  assert.equal(event.attempt, 1)
  event.path = '/set'
  assert.equal(event.path, '/set')
  assert.throws(() => new Event({ nothing: 1 }), /no field nothing/)
})

test('names of headers are written as Go does', () => {
  for (const [sent, shown] of [
    ['content-type', 'Content-Type'],
    ['X-REQUEST-id', 'X-Request-Id'],
    ['etag', 'Etag'],
    ['x--y', 'X--Y'],
  ]) {
    assert.equal(fields.canonicalName(sent), shown)
  }
})

test('what is no proper escape stays as it is', () => {
  assert.equal(fields.decoded('/a%20b'), '/a b')
  assert.equal(fields.decoded('/%zz'), '/%zz')
  assert.equal(fields.decoded('/%ff'), '/%ff')
})

test('an own property is made of any name', () => {
  const object = {}
  fields.put(object, '__proto__', 'x')
  assert.deepEqual(Object.keys(object), ['__proto__'])
  assert.equal(Object.getPrototypeOf(object), Object.prototype)
})

test('answers', () => {
  assert.equal(answerOf('a').type, TYPE.TEXT)
  assert.equal(answerOf({ a: 1 }).type, TYPE.JSON)
  assert.equal(answerOf([201, { a: 1 }]).status, 201)
  assert.equal(answerOf([1, 2]).body, '[1,2]')
  const response = new Response('b', { 'X-A': ['1', '2'], 'content-type': 'text/html' })
  const answer = answerOf(response)
  assert.deepEqual([answer.head, answer.type], [['X-A', '1', 'X-A', '2'], TYPE.HTML])
  const retry = answerOf(new Context().retry({ after: 1.5 }))
  assert.deepEqual(
    [retry.outcome, retry.status, retry.head], [OUTCOME.RETRY, 503, ['Retry-After', '2']],
  )
})

test('bytes of memory that other threads may write are copied', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(1)
  const { body } = answerOf(shared)
  shared.fill(2)
  assert.deepEqual([...body], [1, 1, 1, 1])
})

test('errors as text', () => {
  assert.equal(failure.lastLine(new TypeError('bad')), 'TypeError: bad')
  assert.equal(failure.lastLine(new Error('')), 'Error')
  assert.equal(failure.lastLine(null), 'null was thrown')
  const error = new Error('outer', { cause: new RangeError('inner') })
  const text = failure.stack(error)
  assert.match(text, /^Error: outer\n[^]*caused by: RangeError: inner/)
  assert.doesNotMatch(text, /node:internal/)
  const circle = new Error('circle')
  circle.cause = circle
  assert.match(failure.stack(circle), /^Error: circle/)
})

test('the body of an event of one process is memory of its own', () => {
  const { Turn, ROW } = require('../nuclio-sdk/lib/turn.js')
  const memory = new ArrayBuffer(1024)
  const slab = { bytes: Buffer.from(memory), words: new Uint32Array(memory) }
  slab.bytes.write('secret|mine', 512)
  const table = new Uint32Array(ROW.WORDS)
  table[ROW.BODY_AT] = 512 + 7
  table[ROW.BODY_BYTES] = 4
  const { body } = new Event(undefined, new Turn(slab, table, 0))
  assert.equal(body.toString(), 'mine')
  assert.equal(body.buffer.byteLength, 4)
  assert.notEqual(body.buffer, memory)
})
