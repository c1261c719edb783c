//! What each request of a run asks for, and which bytes must come back.
//!
//! Pure: everything follows from the seed and the request's number, so a run can be told again.

use rings::limits::SLOT_CLASS_BYTES;

use crate::canary::Canary;
use crate::kinds::{Helpers, Kind};

/// A small generator of numbers that only have to look random (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Put,
    Post,
}

impl Method {
    pub fn token(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
        }
    }

    /// RFC 9110, 9.2.2: may be sent again when nobody knows what became of it.
    pub fn may_be_repeated(self) -> bool {
        self != Method::Post
    }
}

/// How the handler builds its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Path, newline, body: copied into the worker's memory.
    Copy,
    /// The same with a header line.
    Header,
    /// The event's own body, which the processor sends from the request's slot.
    Echo,
}

/// What the worker does when it has the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Work,
    /// One to five milliseconds.
    Sleep,
    /// Dies in the handler, before the execution is noted.
    DieUnnoted,
    /// Dies in the handler, after the execution was noted.
    DieEarly,
    /// The same, with all work done.
    DieLate,
    /// Stops itself, for ever.
    Stop,
    /// The two below are of programs that a worker keeps or starts for its events.
    /// The program dies and its worker lives.
    Fail,
    /// The program leaves a process behind.
    Leave,
    /// The points below are in the worker's own code, so only the native worker has them.
    /// Dies with the entry taken and the event not begun.
    DieBeforeBegin,
    /// Dies with the event begun and the handler not called.
    DieBegun,
    /// Dies with the reply in the arena and no entry for it.
    DieWritten,
    /// Dies with the reply published and the bell not rung.
    DieSilent,
    /// Dies right after the bell.
    DieRung,
    /// Dies in the middle of a reply in pieces.
    DieMidway,
}

impl Deed {
    pub fn letter(self) -> char {
        match self {
            Deed::Work => 'n',
            Deed::Sleep => 'd',
            Deed::DieUnnoted => 'u',
            Deed::DieEarly => 'k',
            Deed::DieLate => 'l',
            Deed::Stop => 's',
            Deed::Fail => 'x',
            Deed::Leave => 'g',
            Deed::DieBeforeBegin => 'p',
            Deed::DieBegun => 'b',
            Deed::DieWritten => 'w',
            Deed::DieSilent => 't',
            Deed::DieRung => 'r',
            Deed::DieMidway => 'm',
        }
    }

    /// The handler runs and its worker dies without having answered.
    pub fn dies_noted(self) -> bool {
        matches!(self, Deed::DieEarly | Deed::DieLate | Deed::DieWritten | Deed::DieMidway)
    }

    /// The worker dies with the reply published.
    pub fn dies_answered(self) -> bool {
        matches!(self, Deed::DieSilent | Deed::DieRung)
    }

    /// The worker dies, whatever becomes of the event.
    pub fn dies(self) -> bool {
        !matches!(self, Deed::Work | Deed::Sleep | Deed::Stop | Deed::Fail | Deed::Leave)
    }
}

/// Which attempts at an event have its deed; the others just work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    First,
    Every,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub id: u64,
    pub method: Method,
    pub answer: Answer,
    pub deed: Deed,
    pub attempts: Attempts,
    pub body_bytes: usize,
    /// The body is text.
    pub is_text: bool,
    pub canary: Canary,
    /// Which kind of worker it is for: requests of two kinds have no name in common.
    pub kind: Kind,
}

/// All requests of a run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
}

/// One request of so many sleeps. Below one in a hundred: the processor hands ahead by the 99th
/// percentile of the run times.
const SLEEPS_ONE_OF: u64 = 200;
/// Shares of `Traits::deeds_of`. A death costs the start of a worker and a stop a second of one, so
/// they are rare beside those from outside.
const DEATHS_EACH: u64 = 15;
const STOPS: u64 = 5;
const FAILURES: u64 = 15;
const LEAVES: u64 = 15;
/// Bytes before the body in a slot are fewer, so that bodies near a class fall on both sides of it.
const SLOT_HEAD_BYTES_MAX: u64 = 400;
/// Slot classes whose edges are met often; the next is a quarter of a megabyte.
const CLASSES_MET: usize = 4;
const IN_HANDLER: [Deed; 3] = [Deed::DieUnnoted, Deed::DieEarly, Deed::DieLate];
const IN_WORKER: [Deed; 5] =
    [Deed::DieBeforeBegin, Deed::DieBegun, Deed::DieWritten, Deed::DieSilent, Deed::DieRung];

impl Plan {
    pub fn asked(&self, id: u64) -> Asked {
        let mut random = Random::new(self.seed ^ id.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let method = match random.below(100) {
            0..45 => Method::Get,
            45..60 => Method::Put,
            _ => Method::Post,
        };
        let deed = self.deed(&mut random);
        let traits = self.kind.traits();
        let every = random.below(4) == 0 || !traits.tells_attempt;
        let attempts = if every { Attempts::Every } else { Attempts::First };
        let body_bytes = if method == Method::Get { 0 } else { body_bytes(&mut random) };
        let answer = match random.below(8) {
            0 if traits.has_headers => Answer::Header,
            1..4 if body_bytes > 0 => Answer::Echo,
            _ => Answer::Copy,
        };
        let is_text = random.below(4) == 0;
        let (canary, kind) = (Canary::of_seed(self.seed), self.kind);
        Asked { id, method, answer, deed, attempts, body_bytes, is_text, canary, kind }
    }

    /// An ordinary request, as those that only look whether all is well again.
    pub fn plain(&self, id: u64) -> Asked {
        Asked { canary: Canary::of_seed(self.seed), kind: self.kind, ..Asked::plain(id) }
    }

    fn deed(&self, random: &mut Random) -> Deed {
        if random.below(SLEEPS_ONE_OF) == 0 {
            return Deed::Sleep;
        }
        let traits = self.kind.traits();
        let mut number = random.below(traits.deeds_of);
        let mut is_in = |share: u64| {
            let hit = number < share;
            number = number.wrapping_sub(share);
            hit
        };
        if is_in(STOPS) {
            return Deed::Stop;
        }
        if traits.helpers != Helpers::None {
            if is_in(FAILURES) {
                return Deed::Fail;
            }
            if is_in(LEAVES) {
                return Deed::Leave;
            }
        }
        let native: &[Deed] = if self.kind == Kind::Native { &IN_WORKER } else { &[] };
        let found = IN_HANDLER.iter().chain(native).find(|_| is_in(DEATHS_EACH));
        found.copied().unwrap_or(Deed::Work)
    }
}

/// From nothing to some hundred KiB, each slot class's edge now and then.
fn body_bytes(random: &mut Random) -> usize {
    let near = |class: usize, random: &mut Random| {
        u64::from(SLOT_CLASS_BYTES[class]) + 16 - random.below(SLOT_HEAD_BYTES_MAX)
    };
    let bytes = match random.below(1000) {
        // Over 16 KiB a body has slots of its own, over 64 KiB several pages of one.
        0..4 => 65_537 + random.below(40_000),
        4..20 => 16_385 + random.below(16_000),
        20..100 => 600 + random.below(8000),
        100..115 => near(random.below(CLASSES_MET as u64) as usize, random),
        115 => near(CLASSES_MET, random),
        116..136 => random.below(17),
        _ => 16 + random.below(200),
    };
    bytes as usize
}

impl Asked {
    /// An ordinary request, as those that only look whether all is well again.
    pub fn plain(id: u64) -> Self {
        Self {
            id,
            method: if id.is_multiple_of(2) { Method::Get } else { Method::Post },
            answer: Answer::Copy,
            deed: Deed::Work,
            attempts: Attempts::First,
            body_bytes: if id.is_multiple_of(2) { 0 } else { 64 },
            is_text: false,
            canary: Canary::of_seed(0),
            kind: Kind::Native,
        }
    }

    /// Its name among the requests of all kinds.
    pub fn owner(&self) -> u64 {
        owner(self.kind, self.id)
    }

    pub fn path(&self) -> String {
        let answer = match self.answer {
            Answer::Copy => 'c',
            Answer::Header => 'h',
            Answer::Echo => 'e',
        };
        let attempts = if self.attempts == Attempts::First { '1' } else { '2' };
        format!("/{:016x}/{answer}{}{attempts}", self.id, self.deed.letter())
    }

    /// The request's body: bytes that no other request has.
    pub fn body(&self) -> Vec<u8> {
        self.canary.body(self.owner(), self.body_bytes, self.is_text)
    }

    pub fn write_request(&self, out: &mut Vec<u8>) {
        let (method, path) = (self.method.token(), self.path());
        out.extend_from_slice(format!("{method} {path} HTTP/1.1\r\nHost: ledger\r\n").as_bytes());
        if self.method != Method::Get {
            let length = self.body_bytes;
            let lines =
                format!("Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n");
            out.extend_from_slice(lines.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body());
    }

    /// The body of its reply with status 200.
    pub fn reply(&self) -> Vec<u8> {
        if self.answer == Answer::Echo {
            return self.body();
        }
        let mut reply = self.path().into_bytes();
        reply.push(b'\n');
        reply.extend_from_slice(&self.body());
        reply
    }
}

/// The number of a request is its own kind's.
const OWNER_ID_BITS: u32 = 32;

fn owner(kind: Kind, id: u64) -> u64 {
    kind.number() << OWNER_ID_BITS | id
}

/// The name of a request for people, such as `node 17`.
pub fn name_of(owner: u64) -> String {
    let kind = Kind::numbered(owner >> OWNER_ID_BITS).map_or("?", |kind| kind.traits().name);
    format!("{kind} {}", owner & ((1 << OWNER_ID_BITS) - 1))
}
