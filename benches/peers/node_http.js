// node:http and nothing else: hello on GET, the body back on POST.
'use strict'

const { createServer } = require('node:http')

const HELLO = { 'Content-Type': 'text/plain', 'Content-Length': 5 }

createServer((request, response) => {
  if (request.method !== 'POST') {
    response.writeHead(200, HELLO)
    response.end('hello')
    return
  }
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const body = parts.length === 1 ? parts[0] : Buffer.concat(parts)
    const type = 'application/octet-stream'
    response.writeHead(200, { 'Content-Type': type, 'Content-Length': body.length })
    response.end(body)
  })
}).listen(Number(process.argv[2]), '127.0.0.1')
