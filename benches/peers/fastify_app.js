// fastify without a logger: hello on GET, the body back on POST.
'use strict'

const app = require('fastify')({ logger: false, bodyLimit: 4 * 1024 * 1024 })

app.removeAllContentTypeParsers()
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
app.get('/', (_request, reply) => reply.type('text/plain').send('hello'))
app.post('/', (request, reply) => reply.type('application/octet-stream').send(request.body))
app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
