//! Every check on what a worker wrote: copy an entry out, then validate the copy.
//!
//! The copy has been made by `memory` before anything here looks at it, so nothing can change under
//! the check. Who owns a claim is the processor's own table; it is checked there.

use crate::abi::{self, Entry, outcome, unblock, up, up_flag};
use crate::error::Violation;
use crate::limits::{ARENA_GRANULE_BYTES, REPLY_HEAD_BYTES_MAX};

/// A block of the response arena, lent to the processor until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Block {
    /// First byte in the arena.
    pub offset: u32,
    /// Bytes used of it.
    pub bytes: u32,
}

/// An answer to an event, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// Who answers.
    pub claim: u64,
    /// HTTP status, 100 to 599 (0 where the outcome has none).
    pub status: u16,
    /// One of [`outcome`].
    pub outcome: u8,
    /// One of [`abi::content_type`].
    pub content_type: u8,
    /// Head and body, in this order; lent.
    pub block: Block,
    /// Bytes of the head at the start of the block.
    pub head_bytes: u32,
    /// Bytes of the body: behind the head, or of the event's own body.
    pub body_bytes: u32,
    /// With a body in the event's own slot: where it starts there.
    pub body_in_event_at: Option<u32>,
    /// The slot of the event is no longer looked at.
    pub released: bool,
    /// The reply continues in pieces; its whole length, if known.
    pub in_pieces: Option<Option<u64>>,
    /// How long the handler ran, in ns, by the worker's word.
    pub run_ns: u32,
    /// Position of the log ring before this answer.
    pub log_position: u32,
    /// For outcome RETRY.
    pub retry_after_ns: u64,
}

/// An entry that came up, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// The user's code is loaded.
    Ready {
        /// Events that may be in flight at once, at least 1.
        concurrency: u32,
    },
    /// It could not be; the text is in the block.
    InitFailed {
        /// One of [`abi::init_failed`].
        reason: u16,
        /// The text.
        block: Block,
    },
    /// See [`Response`].
    Response(Response),
    /// A piece of a reply.
    Chunk {
        /// Whose reply.
        claim: u64,
        /// The bytes.
        block: Block,
    },
    /// The end of a reply in pieces.
    End {
        /// Whose reply.
        claim: u64,
        /// The handler broke off: the client must not take it for whole.
        broken: bool,
        /// Position of the log ring before this end.
        log_position: u32,
    },
    /// Pieces of a streamed request body are no longer looked at.
    BodyTaken {
        /// Whose.
        claim: u64,
        /// How many, the oldest first; never 0.
        pieces: u32,
    },
    /// The slot is no longer looked at.
    RequestReleased {
        /// Whose slot.
        claim: u64,
    },
    /// Not begun: recalled.
    Skipped {
        /// Whose.
        claim: u64,
    },
    /// Answer to a PING.
    Pong(u32),
    /// The drain callback of a trigger has run.
    Drained(u16),
    /// The worker does not know an optional kind.
    Unsupported(u16),
}

/// Which granules of the arena are lent; private to the processor.
#[derive(Debug)]
pub struct Lent {
    bits: Vec<u64>,
    arena_bytes: u32,
    lent_bytes: u32,
}

impl Lent {
    /// Nothing lent.
    pub fn new(arena_bytes: u32) -> Self {
        let granules = arena_bytes.div_ceil(ARENA_GRANULE_BYTES) as usize;
        Self { bits: vec![0; granules.div_ceil(64)], arena_bytes, lent_bytes: 0 }
    }

    /// Bytes lent now, in whole granules.
    pub fn lent_bytes(&self) -> u32 {
        self.lent_bytes
    }

    /// Notes a block as lent, after checking that it lies in the arena, aligned, and is free.
    pub fn lend(&mut self, block: Block) -> Result<(), Violation> {
        if block.bytes == 0 {
            return Ok(());
        }
        let bad = |why| {
            Err(Violation::Block {
                offset: block.offset,
                bytes: block.bytes,
                arena: self.arena_bytes,
                why,
            })
        };
        if !block.offset.is_multiple_of(ARENA_GRANULE_BYTES) {
            return bad("is not aligned");
        }
        match block.offset.checked_add(block.bytes) {
            Some(end) if end <= self.arena_bytes => {}
            _ => return bad("is outside the arena"),
        }
        let granules = granules(block);
        if granules.clone().any(|g| self.bits[g / 64] & (1 << (g % 64)) != 0) {
            return bad("is lent already");
        }
        self.lent_bytes += granules.len() as u32 * ARENA_GRANULE_BYTES;
        for g in granules {
            self.bits[g / 64] |= 1 << (g % 64);
        }
        Ok(())
    }

    /// Notes a lent block as given back.
    pub fn give_back(&mut self, block: Block) {
        if block.bytes == 0 {
            return;
        }
        let granules = granules(block);
        self.lent_bytes -= granules.len() as u32 * ARENA_GRANULE_BYTES;
        for g in granules {
            debug_assert!(self.bits[g / 64] & (1 << (g % 64)) != 0);
            self.bits[g / 64] &= !(1 << (g % 64));
        }
    }
}

fn granules(block: Block) -> std::ops::Range<usize> {
    let first = (block.offset / ARENA_GRANULE_BYTES) as usize;
    first..first + block.bytes.div_ceil(ARENA_GRANULE_BYTES) as usize
}

/// Checks one entry; lends the blocks it names.
pub fn check_up(entry: &Entry, lent: &mut Lent) -> Result<Up, Violation> {
    let kind = entry.kind;
    match kind {
        up::RESPONSE => response(entry, lent).map(Up::Response),
        up::REQ_RELEASE => {
            plain(entry)?;
            Ok(Up::RequestReleased { claim: entry.claim })
        }
        up::SKIPPED => {
            plain(entry)?;
            Ok(Up::Skipped { claim: entry.claim })
        }
        up::BODY_TAKEN => {
            let head = u64::from(entry.flags) | u64::from(entry.aux);
            zero(kind, "operands", head | entry.a | tail_operands(entry))?;
            if entry.value == 0 {
                return Err(Violation::Field { kind, what: "pieces", value: 0 });
            }
            Ok(Up::BodyTaken { claim: entry.claim, pieces: entry.value })
        }
        up::CHUNK => {
            zero(kind, "flags", u64::from(entry.flags))?;
            zero(kind, "operands", u64::from(entry.aux) | tail_operands(entry))?;
            let block = Block { offset: unblock(entry.a).0, bytes: entry.value };
            zero(kind, "a", u64::from(unblock(entry.a).1))?;
            if block.bytes == 0 {
                // On the wire an empty piece would be the end.
                return Err(Violation::Field { kind, what: "bytes", value: 0 });
            }
            lent.lend(block)?;
            Ok(Up::Chunk { claim: entry.claim, block })
        }
        up::END => {
            let head = u64::from(entry.flags) | u64::from(entry.value) | entry.a;
            zero(kind, "operands", head | entry.b | entry.c | entry.e | entry.f)?;
            let Ok(log_position) = u32::try_from(entry.d) else {
                return Err(Violation::Field { kind, what: "log position", value: entry.d });
            };
            Ok(Up::End { claim: entry.claim, broken: entry.aux != 0, log_position })
        }
        up::READY => {
            let operands = u64::from(entry.flags) | u64::from(entry.aux) | entry.claim | entry.a;
            zero(kind, "operands", operands | tail_operands(entry))?;
            Ok(Up::Ready { concurrency: entry.value.max(1) })
        }
        up::INIT_FAILED => {
            let block = Block { offset: unblock(entry.a).0, bytes: entry.value };
            let low = u64::from(unblock(entry.a).1);
            zero(
                kind,
                "operands",
                u64::from(entry.flags) | entry.claim | low | tail_operands(entry),
            )?;
            lent.lend(block)?;
            Ok(Up::InitFailed { reason: entry.aux, block })
        }
        up::PONG => {
            let head = u64::from(entry.flags) | u64::from(entry.aux) | entry.claim;
            zero(kind, "operands", head | entry.a | tail_operands(entry))?;
            Ok(Up::Pong(entry.value))
        }
        up::DRAINED | up::UNSUPPORTED => {
            let head = u64::from(entry.flags) | u64::from(entry.value) | entry.claim;
            zero(kind, "operands", head | entry.a | tail_operands(entry))?;
            let of = entry.aux;
            Ok(if kind == up::DRAINED { Up::Drained(of) } else { Up::Unsupported(of) })
        }
        _ => Err(Violation::Kind(kind)),
    }
}

fn response(entry: &Entry, lent: &mut Lent) -> Result<Response, Violation> {
    let field = |what, value| Err(Violation::Field { kind: up::RESPONSE, what, value });
    let known = up_flag::REQ_RELEASED | up_flag::BODY_IN_Q | up_flag::HAS_HEAD | up_flag::LAST;
    if entry.flags & !known != 0 {
        return field("flags", u64::from(entry.flags));
    }
    let (offset, head_bytes) = unblock(entry.a);
    let has = |flag: u8| entry.flags & flag != 0;
    if head_bytes > REPLY_HEAD_BYTES_MAX || has(up_flag::HAS_HEAD) != (head_bytes > 0) {
        return field("head bytes", u64::from(head_bytes));
    }
    let outcome = entry.c as u8;
    if !(outcome::OK..=outcome::DEFERRED).contains(&outcome) {
        return field("outcome", u64::from(outcome));
    }
    let content_type = (entry.c >> 8) as u8;
    if content_type > abi::content_type::HTML || (entry.c >> 16) as u16 != 0 {
        return field("content type", entry.c & 0xffff_ff00);
    }
    if entry.aux != 0 && !(100..=599).contains(&entry.aux) {
        return field("status", u64::from(entry.aux));
    }
    let in_block = if has(up_flag::BODY_IN_Q) { 0 } else { entry.value };
    let Some(bytes) = head_bytes.checked_add(in_block) else {
        return field("body bytes", u64::from(entry.value));
    };
    let body_in_event_at = match (has(up_flag::BODY_IN_Q), u32::try_from(entry.b)) {
        (true, Ok(at)) => Some(at),
        (false, Ok(0)) => None,
        _ => return field("b", entry.b),
    };
    if entry.d > u64::from(u32::MAX) {
        return field("log position", entry.d);
    }
    if has(up_flag::LAST) && entry.e != 0 {
        return field("whole length of a reply in one piece", entry.e);
    }
    let in_pieces =
        (!has(up_flag::LAST)).then(|| (entry.e != abi::UNKNOWN_LENGTH).then_some(entry.e));
    if in_pieces == Some(None) && (entry.value != 0 || has(up_flag::BODY_IN_Q)) {
        return field("body bytes in the head of a stream", u64::from(entry.value));
    }
    let block = Block { offset, bytes };
    lent.lend(block)?;
    Ok(Response {
        claim: entry.claim,
        status: entry.aux,
        outcome,
        content_type,
        block,
        head_bytes,
        body_bytes: entry.value,
        body_in_event_at,
        released: has(up_flag::REQ_RELEASED),
        in_pieces,
        run_ns: (entry.c >> 32) as u32,
        log_position: entry.d as u32,
        retry_after_ns: entry.f,
    })
}

/// All operands but the claim are zero.
fn plain(entry: &Entry) -> Result<(), Violation> {
    let head = u64::from(entry.flags) | u64::from(entry.aux) | u64::from(entry.value);
    zero(entry.kind, "operands", head | entry.a | tail_operands(entry))
}

fn tail_operands(entry: &Entry) -> u64 {
    entry.b | entry.c | entry.d | entry.e | entry.f
}

fn zero(kind: u8, what: &'static str, value: u64) -> Result<(), Violation> {
    if value == 0 { Ok(()) } else { Err(Violation::Field { kind, what, value }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_block_is_lent_once() {
        let mut lent = Lent::new(4096);
        let block = Block { offset: 512, bytes: 300 };
        lent.lend(block).unwrap();
        assert_eq!(lent.lent_bytes(), 512);
        let overlapping = Block { offset: 768, bytes: 1 };
        assert!(matches!(
            lent.lend(overlapping),
            Err(Violation::Block { why: "is lent already", .. })
        ));
        lent.give_back(block);
        lent.lend(overlapping).unwrap();
    }

    #[test]
    fn blocks_outside_or_askew_are_refused() {
        let mut lent = Lent::new(4096);
        for (offset, bytes) in
            [(4096, 1), (3840, 257), (100, 1), (u32::MAX - 255, 256), (0, u32::MAX)]
        {
            assert!(lent.lend(Block { offset, bytes }).is_err(), "{offset} {bytes}");
        }
        assert_eq!(lent.lent_bytes(), 0);
    }

    #[test]
    fn streams_begin_with_a_head_only_and_have_no_empty_pieces() {
        let head = Entry {
            kind: up::RESPONSE,
            aux: 200,
            c: u64::from(outcome::OK),
            e: abi::UNKNOWN_LENGTH,
            ..Default::default()
        };
        let checked = |entry: &Entry| check_up(entry, &mut Lent::new(4096));
        assert!(matches!(checked(&head), Ok(Up::Response(r)) if r.in_pieces == Some(None)));
        let with_body = Entry { value: 1, ..head };
        assert!(matches!(checked(&with_body), Err(Violation::Field { .. })));
        let in_event = Entry { flags: up_flag::BODY_IN_Q, ..head };
        assert!(matches!(checked(&in_event), Err(Violation::Field { .. })));
        let empty = Entry { kind: up::CHUNK, ..Default::default() };
        assert!(matches!(checked(&empty), Err(Violation::Field { what: "bytes", .. })));
    }

    /// One correct entry of each kind, and the fields that each may use.
    #[test]
    fn a_bit_in_a_field_that_a_kind_does_not_use_is_refused() {
        let used: [(u8, &[usize]); 10] = [
            (up::READY, &[4]),
            (up::INIT_FAILED, &[2, 4, 20]),
            (up::CHUNK, &[4, 8, 20]),
            (up::END, &[2, 8, 40]),
            (up::REQ_RELEASE, &[8]),
            (up::SKIPPED, &[8]),
            (up::PONG, &[4]),
            (up::DRAINED, &[2]),
            (up::UNSUPPORTED, &[2]),
            (up::BODY_TAKEN, &[4, 8]),
        ];
        for (kind, used) in used {
            // An empty piece, or none, is refused for itself.
            let value = u32::from(matches!(kind, up::CHUNK | up::BODY_TAKEN));
            let plain = Entry { kind, value, ..Default::default() };
            assert!(check_up(&plain, &mut Lent::new(4096)).is_ok(), "kind {kind}");
            for at in [1, 2, 4, 8, 16, 20, 24, 32, 40, 48, 56] {
                let mut bytes: [u8; 64] = zerocopy::transmute!(plain);
                // The second byte, so that a block's offset stays aligned.
                bytes[if at == 1 { 1 } else { at + 1 }] = 1;
                let entry: Entry = zerocopy::transmute!(bytes);
                let taken = check_up(&entry, &mut Lent::new(4096)).is_ok();
                assert_eq!(taken, used.contains(&at), "kind {kind}, byte {at}");
            }
        }
    }

    proptest! {
        /// Whatever a worker writes, the check answers and never lends outside the arena.
        #[test]
        fn any_entry_is_answered(bytes in proptest::array::uniform32(any::<u16>()), kind in 0u8..20) {
            use zerocopy::FromBytes;
            let raw: Vec<u8> = bytes.iter().flat_map(|b| b.to_le_bytes()).collect();
            let mut entry = Entry::read_from_bytes(&raw).unwrap();
            entry.kind = kind;
            let mut lent = Lent::new(1 << 20);
            if let Ok(Up::Response(r)) = check_up(&entry, &mut lent) {
                prop_assert!(u64::from(r.block.offset) + u64::from(r.block.bytes) <= 1 << 20);
            }
        }

        /// Lending and giving back keeps the count of lent bytes equal to a naive model's.
        #[test]
        fn lent_bytes_agree_with_a_naive_model(ops in proptest::collection::vec((0u32..64, 1u32..2000), 1..60)) {
            let mut lent = Lent::new(16 * 1024);
            let mut held: Vec<Block> = Vec::new();
            for (granule, bytes) in ops {
                let block = Block { offset: granule * ARENA_GRANULE_BYTES, bytes };
                let free = held.iter().all(|h| granules(*h).all(|g| !granules(block).contains(&g)));
                let fits = block.offset + block.bytes <= 16 * 1024;
                prop_assert_eq!(lent.lend(block).is_ok(), free && fits);
                if free && fits { held.push(block); }
                if held.len() > 4 { let b = held.remove(0); lent.give_back(b); }
            }
            let sum: usize = held.iter().map(|h| granules(*h).len()).sum();
            prop_assert_eq!(lent.lent_bytes() as usize, sum * ARENA_GRANULE_BYTES as usize);
        }
    }
}
