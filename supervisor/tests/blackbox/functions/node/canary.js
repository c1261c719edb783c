// Answers with what it was sent, after a while, and keeps everything to see that it never changes.
const { createHash } = require('node:crypto')
const KEPT_MAX = 400
const kept = []
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')

exports.handler = async (context, event) => {
  if (event.path === '/ok') return 'ok'
  if (event.path === '/check') {
    for (const { body, was, event, name } of kept) {
      if (digest(body) !== was) return [500, `a kept body of ${body.length} bytes changed`]
      if (event.headers['X-Name'] !== name) return [500, 'a header of a kept event changed']
    }
    return `${kept.length}`
  }
  if (event.path === '/kill') process.kill(process.pid, 'SIGKILL')
  const { body } = event
  if (kept.length < KEPT_MAX && body.length < 100_000) {
    kept.push({ body, was: digest(body), event, name: event.fields.name })
  }
  await new Promise((resolve) => setTimeout(resolve, body.length % 7))
  return new context.Response(body, { 'X-Name': event.fields.name })
}
