// An event that has to be answered: where its bytes are, who waits for it, what was begun for it.
'use strict'

// Words of a row of the table; the same numbers as in src/drain.rs.
const ROW = {
  WORDS: 16,
  KIND: 0,
  TAG: 1,
  GENERATION: 2,
  HEADER_AT: 3,
  HEADER_BYTES: 4,
  BODY_AT: 5,
  BODY_BYTES: 6,
  TRIGGER: 7,
  WANTED: 8,
  ATTEMPT: 9,
  DEADLINE_LOW: 10,
  DEADLINE_HIGH: 11,
  END: 12,
  BATCH: 13,
  MORE: 14,
}
const NOT_COPIED = 0xffffffff
const NOT_WANTED = 255

class Turn {
  constructor(slab, table, row) {
    this.slab = slab
    this.tag = table[row + ROW.TAG]
    this.generation = table[row + ROW.GENERATION]
    this.at = table[row + ROW.HEADER_AT]
    this.bodyAt = table[row + ROW.BODY_AT]
    this.bodyBytes = table[row + ROW.BODY_BYTES]
    this.trigger = table[row + ROW.TRIGGER]
    this.wanted = table[row + ROW.WANTED]
    this.attempt = table[row + ROW.ATTEMPT]
    this.deadlineLow = table[row + ROW.DEADLINE_LOW]
    this.deadlineHigh = table[row + ROW.DEADLINE_HIGH]
    this.answered = false
    // Its reply goes up in pieces, and has not ended; the head of it has gone up.
    this.streaming = false
    this.hasHead = false
    this.onCancel = null
    // Those that the handler got with it; null outside of a batch.
    this.batch = null
    this.cancelled = false
    this.usesCallback = false
    // Made when somebody asks: an AbortController, unfinished lines of output, a timer.
    this.abort = null
    this.partial = null
    this.silence = null
  }
}

module.exports = { NOT_COPIED, NOT_WANTED, ROW, Turn }
