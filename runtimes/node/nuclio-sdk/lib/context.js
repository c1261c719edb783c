// `Context` and what it makes: `Response`, requests for another attempt, refusals.
'use strict'

const { Logger } = require('./logger.js')

// An answer that says more than its body, with nuclio's order of arguments.
class Response {
  constructor(body, headers, contentType, statusCode, bodyEncoding) {
    this.body = body
    this.headers = headers ?? {}
    this.content_type = contentType
    this.status_code = statusCode
    this.body_encoding = bodyEncoding
  }
}

// Another attempt is wanted; can be returned or thrown.
class Retry extends Error {
  constructor(after = 0) {
    super(`the handler asked for another attempt after ${after} s`)
    this.name = 'Retry'
    this.after = Number(after) || 0
  }
}

// The event is refused for good; can be returned or thrown.
class Reject extends Error {
  constructor(reason = '') {
    super(String(reason))
    this.name = 'Reject'
  }
}

// What each call of a handler gets: the context of the worker, with the event's own callback.
class Context {
  constructor(about = {}) {
    this.userData = {}
    this.logger = new Logger()
    this.Response = Response
    this.workerId = about.workerId ?? 0
    this.trigger = about.trigger ?? null
    this.functionName = about.functionName ?? ''
    this.functionVersion = about.functionVersion ?? ''
    this.namespace = about.namespace ?? ''
    // Where an answer by callback goes; a test sets its own.
    this.callback ??= () => {}
  }

  retry(options = {}) {
    return new Retry(typeof options === 'number' ? options : options.after)
  }

  reject(reason) {
    return new Reject(reason)
  }
}

module.exports = { Context, Reject, Response, Retry }
