// Many events in flight; notes each execution, then does as the path says, as deeds.py does.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { setTimeout: later } = require('node:timers/promises')

const { pid } = process
const notes = fs.openSync(path.join(process.env.LEDGER_NOTES, `${pid}.notes`), 'a', 0o600)
const record = Buffer.alloc(24)

// One system call, so that a note is there or not there.
function note(id, attempt) {
  record.writeBigUInt64LE(id, 0)
  record.writeBigUInt64LE(process.hrtime.bigint(), 8)
  record.writeUInt32LE(pid, 16)
  record.writeUInt32LE(attempt, 20)
  fs.writeSync(notes, record)
}

exports.handler = async (context, event) => {
  const asked = event.path
  const id = BigInt(`0x${asked.slice(1, 17)}`)
  const [answer, letter, attempts] = asked.slice(18)
  const deed = event.attempt > 1 && attempts !== '2' ? 'n' : letter
  if (deed === 'u') process.kill(pid, 'SIGKILL')
  note(id, event.attempt)
  if (deed === 'k') process.kill(pid, 'SIGKILL')
  if (deed === 's') process.kill(pid, 'SIGSTOP')
  if (deed === 'd') await later(1 + Number(id % 5n))
  const { body } = event
  const reply = answer === 'e' ? body : Buffer.concat([Buffer.from(`${asked}\n`), body])
  if (deed === 'l') process.kill(pid, 'SIGKILL')
  return answer === 'h' ? new context.Response(reply, { 'X-Ledger': asked }) : reply
}
