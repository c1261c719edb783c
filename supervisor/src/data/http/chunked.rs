//! Takes a chunked body apart where it lies, and frames the pieces of a chunked reply.
//!
//! Pure and incremental: never copies, keeps no bytes, gives the same data and the same verdict
//! however the input is cut. `httparse::parse_chunk_size` is not used: it wants the whole size line
//! at once, lets an extension have any length and any byte, and allows blanks behind the size.

use std::ops::Range;

use super::parse::{Reject, is_token_byte};

/// Sixteen hexadecimal digits are all of a `u64`; leading zeros count.
const SIZE_DIGITS_MAX: u8 = 16;
/// Bytes of extension a chunk may carry. Nobody reads them; signed uploads need some 100.
const EXTENSION_BYTES_MAX: u16 = 1024;
/// Bytes of the trailer section, which is checked and dropped.
const TRAILER_BYTES_MAX: u16 = 8 * 1024;
/// Size-line bytes a body may have beyond what its data pays for: without it, a client could make
/// the data thread read a thousand bytes of extension for each byte of body.
const OVERHEAD_BYTES_MAX: u64 = 16 * 1024;
/// What each chunk pays for: a size line without extension, and as much again as its data.
const OVERHEAD_FREE_BYTES: u64 = SIZE_DIGITS_MAX as u64 + 2;

/// What the decoder found in the input given to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing but framing: `consumed` bytes (all of them) are done with, more must come.
    NeedMore { consumed: usize },
    /// Body bytes, never an empty range. Everything before `range.end` is done with.
    Data { range: Range<usize> },
    /// The body is over. The next request begins at `consumed`.
    End { consumed: usize },
}

/// Decoder of one chunked body.
#[derive(Debug, Clone, Default)]
pub struct Chunked {
    state: State,
    /// Of the size being read, then data bytes still to come.
    left: u64,
    digits: u8,
    /// Bytes of the current extension, then of the trailer section.
    counted: u16,
    /// See `OVERHEAD_BYTES_MAX`.
    overhead: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunked {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the current chunk that have been announced and not yet been seen: lets the caller
    /// refuse a body that will be too large before it arrives.
    pub fn announced_bytes(&self) -> u64 {
        if self.state == State::Data { self.left } else { 0 }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Goes on with `input`, which begins where the last step ended. Call it again with the rest
    /// after `Data`; after `End` it answers `End { consumed: 0 }` for ever.
    pub fn next(&mut self, input: &[u8]) -> Result<Step, Reject> {
        let mut at = 0;
        loop {
            if self.state == State::Done {
                return Ok(Step::End { consumed: at });
            }
            let Some(&byte) = input.get(at) else {
                return Ok(Step::NeedMore { consumed: at });
            };
            if self.state == State::Data {
                let room = (input.len() - at) as u64;
                let taken = room.min(self.left);
                self.left -= taken;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Step::Data { range: at..at + taken as usize });
            }
            self.frame(byte)?;
            at += 1;
        }
    }

    /// One byte of framing.
    fn frame(&mut self, byte: u8) -> Result<(), Reject> {
        self.state = match self.state {
            State::Size => return self.size_digit(byte),
            State::Extension if byte == b'\r' => State::SizeLf,
            State::Extension => {
                count(&mut self.counted, EXTENSION_BYTES_MAX, Reject::ChunkExtension)?;
                text(byte, Reject::ChunkExtension)?;
                State::Extension
            }
            State::SizeLf => {
                expect(byte, b'\n')?;
                self.size_is_known()?
            }
            State::DataCr => {
                expect(byte, b'\r')?;
                State::DataLf
            }
            State::DataLf => {
                expect(byte, b'\n')?;
                (self.left, self.digits, self.counted) = (0, 0, 0);
                State::Size
            }
            State::LastLf => {
                expect(byte, b'\n')?;
                State::Done
            }
            State::TrailerStart if byte == b'\r' => State::LastLf,
            _ => self.trailer_byte(byte)?,
        };
        Ok(())
    }

    fn size_digit(&mut self, byte: u8) -> Result<(), Reject> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' | b';' if self.digits > 0 => {
                self.state = if byte == b'\r' { State::SizeLf } else { State::Extension };
                return Ok(());
            }
            _ => return Err(Reject::ChunkSize),
        };
        if self.digits == SIZE_DIGITS_MAX {
            return Err(Reject::ChunkSize);
        }
        self.digits += 1;
        self.left = self.left << 4 | digit as u64;
        Ok(())
    }

    fn size_is_known(&mut self) -> Result<State, Reject> {
        // The size line, and CR LF behind the data.
        let spent = self.digits as u64 + self.counted as u64 + 4;
        self.overhead =
            (self.overhead + spent).saturating_sub(OVERHEAD_FREE_BYTES).saturating_sub(self.left);
        if self.overhead > OVERHEAD_BYTES_MAX {
            return Err(Reject::ChunkOverhead);
        }
        if self.left > 0 {
            return Ok(State::Data);
        }
        self.counted = 0;
        Ok(State::TrailerStart)
    }

    /// A trailer line is a header line; it is held to the same rules and then forgotten.
    fn trailer_byte(&mut self, byte: u8) -> Result<State, Reject> {
        count(&mut self.counted, TRAILER_BYTES_MAX, Reject::Trailer)?;
        match self.state {
            State::TrailerName if byte == b':' => Ok(State::TrailerValue),
            State::TrailerStart | State::TrailerName if is_token_byte(byte) => {
                Ok(State::TrailerName)
            }
            State::TrailerValue if byte == b'\r' => Ok(State::TrailerLf),
            State::TrailerValue => text(byte, Reject::Trailer).map(|()| State::TrailerValue),
            State::TrailerLf if byte == b'\n' => Ok(State::TrailerStart),
            _ => Err(Reject::Trailer),
        }
    }
}

/// Behind the data of each chunk of a reply.
pub const CHUNK_TAIL: &[u8] = b"\r\n";
/// Ends a chunked reply; no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the size line in front of `data_bytes` bytes of a reply. Zero appends nothing: an empty
/// chunk would end the reply.
pub fn append_chunk_head(out: &mut Vec<u8>, data_bytes: u64) {
    if data_bytes == 0 {
        return;
    }
    let digits = (64 - data_bytes.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let nibble = (data_bytes >> (4 * digit)) as usize & 15;
        out.push(b"0123456789abcdef"[nibble]);
    }
    out.extend_from_slice(b"\r\n");
}

fn expect(byte: u8, wanted: u8) -> Result<(), Reject> {
    if byte == wanted { Ok(()) } else { Err(Reject::ChunkEnd) }
}

fn count(counted: &mut u16, max: u16, reject: Reject) -> Result<(), Reject> {
    *counted += 1;
    if *counted > max { Err(reject) } else { Ok(()) }
}

/// Tab, visible ASCII, blanks and bytes above ASCII; no other control byte.
fn text(byte: u8, reject: Reject) -> Result<(), Reject> {
    if byte == b'\t' || byte >= b' ' && byte != 0x7f { Ok(()) } else { Err(reject) }
}
