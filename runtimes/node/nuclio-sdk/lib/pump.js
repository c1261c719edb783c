// Sends a reply piece by piece, as fast as its client reads.
//
// The first piece is asked for before the head goes up: a stream that fails at once is a 500. One
// that fails later, or whose client has left, is broken off, so that nobody takes it for whole.
'use strict'

const { pieceOf } = require('./answer.js')
const fields = require('./fields.js')

const NO_ROOM = 3
const LATE = 2
// HEAD is method 2 in docs/abi.
const HEAD = 2
const NO_BODY = new Set([204, 205, 304])

// `room` gives a promise of the next look at the ring; true if the whole stream went up. Throws what
// the stream threw, with `turn.hasHead` set if its head was sent. `failed` hears what it throws
// when it is ended early.
async function pump(addon, turn, answer, room, failed) {
  const { pieces } = answer
  const isBodiless = NO_BODY.has(answer.status) || fields.byte(turn, 1) === HEAD
  let isOver = false
  try {
    for (;;) {
      const { done, value } = await next(turn, pieces)
      if (turn.cancelled) return false
      isOver = done === true
      const bytes = isOver ? null : pieceOf(value)
      if (!turn.hasHead && !(await begin(addon, turn, answer, room))) return false
      if (isOver || isBodiless) return true
      if (!(await send(addon, turn, bytes, room))) return false
    }
  } finally {
    // Its code gets to know that nobody wants more, and frees what it holds.
    if (!isOver) Promise.resolve(pieces.return?.()).catch(failed)
  }
}

// The next piece, or nothing more once the event is cancelled: a stream that waits for something that
// never comes must not keep it.
function next(turn, pieces) {
  return new Promise((resolve, reject) => {
    turn.onCancel = () => resolve({ done: true })
    Promise.resolve(pieces.next()).then(resolve, reject)
  })
}

async function begin(addon, turn, answer, room) {
  const { tag, generation } = turn
  const { status, type, head } = answer
  for (;;) {
    const result = addon.streamBegin(tag, generation, status, type, head)
    if (result === LATE) return false
    if (result !== NO_ROOM) break
    await room()
    if (turn.cancelled) return false
  }
  turn.hasHead = true
  return true
}

// False if the client left before all of it was taken.
async function send(addon, turn, bytes, room) {
  let at = 0
  while (at < bytes.length) {
    const sent = addon.streamPiece(turn.tag, turn.generation, bytes, at)
    if (sent === 0) await room()
    if (turn.cancelled) return false
    at += sent
  }
  return true
}

module.exports = { pump }
