// Functions served by the real processor on the Node that runs the tests.
'use strict'

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { after, test } = require('node:test')

const DIST = process.env.NUCLIO_TEST_DIST
const skip = DIST ? false : 'NUCLIO_TEST_DIST names no built programs'
const LIMIT_MS = 30_000
const folders = []
const children = []

after(() => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true })
})

// A function that is served by this Node; its address, and a way to stop it.
async function served(name, code) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nuclio-node-'))
  folders.push(folder)
  fs.mkdirSync(path.join(folder, 'bin'))
  fs.symlinkSync(process.execPath, path.join(folder, 'bin/node'))
  fs.writeFileSync(path.join(folder, name), code)
  const child = spawn(path.join(DIST, 'bin/nuclio'), ['run', name], {
    cwd: folder,
    env: {
      PATH: `${path.join(folder, 'bin')}:${process.env.PATH}`,
      PORT: '0',
      NUCLIO_ADMIN: '127.0.0.1:0',
      NUCLIO_STATE_DIR: path.join(folder, 'state'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  children.push(child)
  const ended = new Promise((resolve) => child.on('exit', resolve))
  let errors = ''
  child.stderr.on('data', (text) => (errors += text))
  const line = await Promise.race([
    new Promise((resolve) => child.stdout.once('data', (text) => resolve(String(text)))),
    ended.then((code) => `ended with ${code}: ${errors}`),
  ])
  const stop = () => {
    child.kill('SIGTERM')
    return ended
  }
  return { line, url: /ready: (http:\S+)/.exec(line)?.[1], stop, errors: () => errors }
}

test('values, promises, callbacks and bodies', { skip, timeout: LIMIT_MS }, async () => {
  const code = `exports.handler = (context, event) => {
    switch (event.path) {
      case '/callback': return void setTimeout(() => context.callback('called'), 3)
      case '/promise': return Promise.resolve({ a: 1 })
      case '/timer': return void setTimeout(() => { throw new Error('in a timer') }, 3)
      case '/rejection': return void Promise.reject(new Error('nobody'))
      default: return event.body
    }
  }`
  const { line, url, stop } = await served('function.js', code)
  assert.match(line, new RegExp(`nodejs ${process.versions.node.replaceAll('.', '\\.')}`))
  const ask = async (way, body) => {
    const reply = await fetch(url + way, body ? { method: 'POST', body } : {})
    return [reply.status, Buffer.from(await reply.arrayBuffer()).toString('latin1')]
  }
  assert.deepEqual(await ask('/callback'), [200, 'called'])
  assert.deepEqual(await ask('/promise'), [200, '{"a":1}'])
  assert.deepEqual(await ask('/timer'), [500, 'Error: in a timer'])
  assert.deepEqual(await ask('/rejection'), [500, 'Error: nobody'])
  for (const size of [1, 1000, 16_384, 70_000, 1 << 20]) {
    const body = Buffer.alloc(size, 'abcdefg')
    const [status, text] = await ask('/', body)
    assert.equal(status, 200)
    assert.ok(text === body.toString('latin1'), `${size} bytes come back`)
  }
  assert.equal(await stop(), 0)
})

test('TypeScript, or a sentence that says what to do', { skip, timeout: LIMIT_MS }, async () => {
  const code = `export const handler = (_: object, event: { path: string }): string => event.path`
  const { line, url, stop } = await served('function.ts', code)
  if (process.features.typescript) {
    assert.equal(await (await fetch(`${url}/typed`)).text(), '/typed')
    assert.equal(await stop(), 0)
  } else {
    assert.match(line, /does not run by itself: use Node 22\.18 or later, or compile it/)
  }
})
