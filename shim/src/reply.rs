//! What a handler answers, and the form in which its headers travel.

use rings::abi::{content_type, outcome};

/// An answer to an event.
#[derive(Debug, Clone)]
pub struct Reply<'a> {
    /// HTTP status; 0 where the outcome has none.
    pub status: u16,
    /// One of [`rings::abi::outcome`].
    pub outcome: u8,
    /// One of [`rings::abi::content_type`]; NONE if the head gives it.
    pub content_type: u8,
    /// Header lines.
    pub head: &'a HeadBlock,
    /// The body.
    pub body: ReplyBody<'a>,
    /// For the outcome RETRY, in nanoseconds.
    pub retry_after_ns: u64,
}

/// Where the body of a reply is.
#[derive(Debug, Clone, Copy)]
pub enum ReplyBody<'a> {
    /// In the worker's own memory; copied once into the arena.
    Bytes(&'a [u8]),
    /// A range of the event's own body; not copied at all.
    InEvent {
        /// First byte.
        offset: u32,
        /// Bytes.
        bytes: u32,
    },
}

static NO_HEAD: HeadBlock = HeadBlock { bytes: Vec::new() };

impl<'a> Reply<'a> {
    /// 200 with a body of text.
    pub fn ok(body: &'a [u8]) -> Self {
        Self {
            status: 200,
            outcome: outcome::OK,
            content_type: content_type::TEXT,
            head: &NO_HEAD,
            body: ReplyBody::Bytes(body),
            retry_after_ns: 0,
        }
    }

    /// 500 with a text that says what the handler raised.
    pub fn error(text: &'a [u8]) -> Self {
        Self { status: 500, outcome: outcome::ERROR, ..Self::ok(text) }
    }
}

/// Header lines as they travel: name length (u16), value length (u32), name, value; little-endian.
#[derive(Debug, Clone, Default)]
pub struct HeadBlock {
    bytes: Vec<u8>,
}

impl HeadBlock {
    /// No lines.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Adds a line; false if the name is longer than a length can say or the head grows too large.
    #[must_use]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> bool {
        let grown = self.bytes.len() + 6 + name.len() + value.len();
        if name.len() > usize::from(u16::MAX)
            || grown > rings::limits::REPLY_HEAD_BYTES_MAX as usize
        {
            return false;
        }
        self.bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        true
    }

    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The lines: name and value of each.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (name_bytes, tail) = rest.split_first_chunk::<2>()?;
            let (value_bytes, tail) = tail.split_first_chunk::<4>()?;
            let name_bytes = usize::from(u16::from_le_bytes(*name_bytes));
            let (name, tail) = tail.split_at_checked(name_bytes)?;
            let (value, tail) = tail.split_at_checked(u32::from_le_bytes(*value_bytes) as usize)?;
            rest = tail;
            Some((name, value))
        })
    }

    /// The encoded lines.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
