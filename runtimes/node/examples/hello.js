// The smallest function: a greeting.
//
//   nuclio run hello.js
//   curl 'http://127.0.0.1:8080?name=Ada'
//
// Text is sent as text/plain with status 200; `event.fields` is the query.
exports.handler = (context, event) => `Hello, ${event.fields.name ?? 'world'}!\n`
