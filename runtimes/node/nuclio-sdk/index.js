// What handlers meet, for tests without a processor: `new Event({ body: 'x' })`, `new Context()`.
'use strict'

const { Event } = require('./lib/event.js')
const { Context, Response, Retry, Reject } = require('./lib/context.js')

module.exports = { Context, Event, Reject, Response, Retry }
