//! What every language asks of an event: its method, a header by name, where a reply lies in it.

use crate::event::Event;

/// Methods by their number in `docs/abi/`, from 1 on.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"];

impl Event {
    /// The method's name; empty for an event that has none.
    pub fn method(&self) -> &[u8] {
        let header = self.header();
        if let Some(name) = METHODS.get(usize::from(header.method).wrapping_sub(1)) {
            return name;
        }
        match extra(self.view().get(header.ext), "method") {
            Some(Extra::Text(token)) => token,
            _ => b"",
        }
    }

    /// The first value of the header with this name, in whatever case.
    pub fn header_value(&self, name: &[u8]) -> Option<&[u8]> {
        self.view().lines().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|line| line.1)
    }

    /// Offset and length, if these bytes are a part of the event's own body: such a reply need not
    /// be copied.
    pub fn place_in_body(&self, bytes: &[u8]) -> Option<(u32, u32)> {
        let body = self.body_range()?.as_ptr_range();
        let part = bytes.as_ptr_range();
        if bytes.is_empty() || part.start < body.start || part.end > body.end {
            return None;
        }
        let offset = part.start as usize - body.start as usize;
        Some((u32::try_from(offset).ok()?, u32::try_from(bytes.len()).ok()?))
    }
}

/// Why a line cannot be a header of a reply; the processor would not send it.
pub fn header_fault(name: &[u8], value: &[u8]) -> Option<&'static str> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) {
        return Some("a header's name is empty or has characters that names cannot have");
    }
    let breaks = value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    breaks.then_some("a header's value has a line break or a NUL")
}

/// A text or a number out of an event's `ext`.
#[derive(Debug, PartialEq, Eq)]
pub enum Extra<'a> {
    /// Text or binary.
    Text(&'a [u8]),
    /// A whole number, not negative.
    Number(u64),
}

/// Looks `name` up in the MessagePack map `ext`; values that are neither text nor a whole number end
/// the search.
pub fn extra<'a>(ext: &'a [u8], name: &str) -> Option<Extra<'a>> {
    let mut rest = Reader(ext);
    let pairs = match rest.byte()? {
        head @ 0x80..=0x8f => usize::from(head & 15),
        0xde => rest.number(2)? as usize,
        _ => return None,
    };
    for _ in 0..pairs {
        let key = rest.value()?;
        let value = rest.value()?;
        if key == Extra::Text(name.as_bytes()) {
            return Some(value);
        }
    }
    None
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn value(&mut self) -> Option<Extra<'a>> {
        let length = match self.byte()? {
            small @ 0x00..=0x7f => return Some(Extra::Number(u64::from(small))),
            size @ 0xcc..=0xcf => return Some(Extra::Number(self.number(1 << (size - 0xcc))?)),
            short @ 0xa0..=0xbf => usize::from(short & 31),
            size @ 0xd9..=0xdb => self.number(1 << (size - 0xd9))? as usize,
            size @ 0xc4..=0xc6 => self.number(1 << (size - 0xc4))? as usize,
            _ => return None,
        };
        self.take(length).map(Extra::Text)
    }
}
