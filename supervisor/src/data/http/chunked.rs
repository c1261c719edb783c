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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Body, bytes behind it and whether it ended; or the reject.
    type Outcome = Result<(Vec<u8>, usize, bool), Reject>;

    /// Feeds the pieces one after the other, as a connection does.
    fn decode(pieces: &[&[u8]]) -> Outcome {
        let mut decoder = Chunked::new();
        let mut body = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let mut rest = *piece;
            loop {
                match decoder.next(rest)? {
                    Step::NeedMore { consumed } => {
                        assert_eq!(consumed, rest.len());
                        break;
                    }
                    Step::Data { range } => {
                        assert!(!range.is_empty());
                        body.extend_from_slice(&rest[range.clone()]);
                        rest = &rest[range.end..];
                    }
                    Step::End { consumed } => {
                        assert!(decoder.is_done());
                        let behind: usize = pieces[i + 1..].iter().map(|piece| piece.len()).sum();
                        return Ok((body, rest.len() - consumed + behind, true));
                    }
                }
            }
        }
        Ok((body, 0, false))
    }

    fn ok(body: &[u8], behind: usize) -> Outcome {
        Ok((body.to_vec(), behind, true))
    }

    fn more(body: &[u8]) -> Outcome {
        Ok((body.to_vec(), 0, false))
    }

    #[rustfmt::skip]
    fn corpus() -> Vec<(&'static str, &'static [u8], Outcome)> {
        vec![
            ("empty", b"0\r\n\r\n", ok(b"", 0)),
            ("one", b"5\r\nhello\r\n0\r\n\r\n", ok(b"hello", 0)),
            ("two", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", ok(b"hello world", 0)),
            ("next request behind", b"1\r\na\r\n0\r\n\r\nGET /", ok(b"a", 5)),
            ("capitals", b"A\r\n0123456789\r\n00\r\n\r\n", ok(b"0123456789", 0)),
            ("sixteen digits", b"0000000000000001\r\na\r\n0000000000000000\r\n\r\n", ok(b"a", 0)),
            ("extension", b"1;a=b\r\na\r\n0;x\r\n\r\n", ok(b"a", 0)),
            ("quoted extension", b"1;a=\"b;c\"\r\na\r\n0\r\n\r\n", ok(b"a", 0)),
            ("signed upload", b"3;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\nabc\r\n0\r\n\r\n", ok(b"abc", 0)),
            ("line ends as data", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", ok(b"\r\n\r\n", 0)),
            ("trailers", b"0\r\nA: b\r\nC-D:\r\n\r\n", ok(b"", 0)),
            ("half a size", b"5", more(b"")),
            ("half the data", b"5\r\nhe", more(b"he")),
            ("no last chunk", b"5\r\nhello\r\n", more(b"hello")),
            ("no empty line", b"0\r\n", more(b"")),
            ("largest chunk", b"ffffffffffffffff\r\nabc", more(b"abc")),

            ("seventeen digits", b"00000000000000001\r\na\r\n", Err(Reject::ChunkSize)),
            ("overflow", b"10000000000000000\r\n", Err(Reject::ChunkSize)),
            ("no size", b"\r\n", Err(Reject::ChunkSize)),
            ("extension without size", b";a\r\n", Err(Reject::ChunkSize)),
            ("plus", b"+5\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("minus", b"-5\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("0x", b"0x5\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("underscore", b"1_0\r\n", Err(Reject::ChunkSize)),
            ("not hexadecimal", b"g\r\n", Err(Reject::ChunkSize)),
            ("blank before", b" 5\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("blank behind", b"5 \r\nhello\r\n", Err(Reject::ChunkSize)),
            ("blank before the extension", b"5 ;a\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("bare LF behind the size", b"5\nhello\r\n", Err(Reject::ChunkSize)),
            ("NUL behind the size", b"5\0\r\nhello\r\n", Err(Reject::ChunkSize)),
            ("bare CR behind the size", b"5\rhello\r\n", Err(Reject::ChunkEnd)),
            ("two CR behind the size", b"5\r\r\nhello\r\n", Err(Reject::ChunkEnd)),
            ("bare LF in the extension", b"5;a\nhello\r\n", Err(Reject::ChunkExtension)),
            ("bare CR in the extension", b"5;a\rb\r\nhello\r\n", Err(Reject::ChunkEnd)),
            ("NUL in the extension", b"5;a\0\r\nhello\r\n", Err(Reject::ChunkExtension)),
            ("data too long", b"5\r\nhello!\r\n0\r\n\r\n", Err(Reject::ChunkEnd)),
            ("data too short", b"6\r\nhello\r\n0\r\n\r\n", Err(Reject::ChunkEnd)),
            ("bare LF behind the data", b"5\r\nhello\n0\r\n\r\n", Err(Reject::ChunkEnd)),
            ("bare CR behind the data", b"5\r\nhello\r0\r\n\r\n", Err(Reject::ChunkEnd)),
            ("bare LF behind the last size", b"0\n\n", Err(Reject::ChunkSize)),
            ("bare LF as the end", b"0\r\n\n", Err(Reject::Trailer)),
            ("CR without LF as the end", b"0\r\n\rX", Err(Reject::ChunkEnd)),
            ("folded trailer", b"0\r\nA: b\r\n c\r\n\r\n", Err(Reject::Trailer)),
            ("blank in a trailer name", b"0\r\nA : b\r\n\r\n", Err(Reject::Trailer)),
            ("trailer without name", b"0\r\n: b\r\n\r\n", Err(Reject::Trailer)),
            ("trailer without colon", b"0\r\nabc\r\n\r\n", Err(Reject::Trailer)),
            ("NUL in a trailer", b"0\r\nA: \0\r\n\r\n", Err(Reject::Trailer)),
            ("bare LF in a trailer", b"0\r\nA: b\nC: d\r\n\r\n", Err(Reject::Trailer)),
            ("bare CR in a trailer", b"0\r\nA: b\rC: d\r\n\r\n", Err(Reject::Trailer)),
            ("request as a trailer", b"0\r\nGET / HTTP/1.1\r\n\r\n", Err(Reject::Trailer)),
        ]
    }

    #[test]
    fn corpus_whole_and_at_every_split() {
        for (name, bytes, outcome) in corpus() {
            assert_eq!(decode(&[bytes]), outcome, "{name}");
            for at in 0..=bytes.len() {
                let (a, b) = bytes.split_at(at);
                assert_eq!(decode(&[a, b]), outcome, "{name} at {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(&single), outcome, "{name} byte by byte");
        }
    }

    #[test]
    fn limits() {
        let extension = |len: usize| [&b"1;"[..], &vec![b'x'; len], b"\r\na\r\n0\r\n\r\n"].concat();
        assert_eq!(decode(&[&extension(EXTENSION_BYTES_MAX as usize)]), ok(b"a", 0));
        let long = extension(EXTENSION_BYTES_MAX as usize + 1);
        assert_eq!(decode(&[&long]), Err(Reject::ChunkExtension));
        // The count begins again with each chunk.
        let long = [&b"1;"[..], &[b'x'; 1000], b"\r\na\r\n"].concat();
        assert_eq!(decode(&[&long, &long, b"0\r\n\r\n"]), ok(b"aa", 0));
        // A hundred of them are no body but an attack.
        assert_eq!(decode(&vec![&long[..]; 100]), Err(Reject::ChunkOverhead));
        // Tiny chunks without extensions are only slow.
        assert_eq!(decode(&vec![&b"1\r\na\r\n"[..]; 50_000]).map(|o| o.0.len()), Ok(50_000));

        let trailer = |len: usize| [&b"0\r\nA:"[..], &vec![b'x'; len - 4], b"\r\n\r\n"].concat();
        assert_eq!(decode(&[&trailer(TRAILER_BYTES_MAX as usize)]), ok(b"", 0));
        assert_eq!(decode(&[&trailer(TRAILER_BYTES_MAX as usize + 1)]), Err(Reject::Trailer));
        let lines = [&b"0\r\n"[..], &b"A: b\r\n".repeat(2000), b"\r\n"].concat();
        assert_eq!(decode(&[&lines]), Err(Reject::Trailer));
    }

    #[test]
    fn a_chunk_is_announced_before_its_data() {
        let mut decoder = Chunked::new();
        assert_eq!(decoder.next(b"7fffffff\r\n"), Ok(Step::NeedMore { consumed: 10 }));
        assert_eq!(decoder.announced_bytes(), 0x7fff_ffff);
        assert_eq!(decoder.next(b"abc"), Ok(Step::Data { range: 0..3 }));
        assert_eq!(decoder.announced_bytes(), 0x7fff_fffc);
    }

    #[test]
    fn the_end_stays_the_end() {
        let mut decoder = Chunked::new();
        assert_eq!(decoder.next(b"0\r\n\r\nrest"), Ok(Step::End { consumed: 5 }));
        assert_eq!(decoder.next(b"rest"), Ok(Step::End { consumed: 0 }));
        assert_eq!(decoder.announced_bytes(), 0);
    }

    #[test]
    fn chunk_heads() {
        let head = |bytes| {
            let mut out = Vec::new();
            append_chunk_head(&mut out, bytes);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(head(0), "");
        assert_eq!(head(1), "1\r\n");
        assert_eq!(head(15), "f\r\n");
        assert_eq!(head(16), "10\r\n");
        assert_eq!(head(65536), "10000\r\n");
        assert_eq!(head(u64::MAX), "ffffffffffffffff\r\n");
    }

    fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            append_chunk_head(&mut out, chunk.len() as u64);
            out.extend_from_slice(chunk);
            out.extend_from_slice(CHUNK_TAIL);
        }
        out.extend_from_slice(LAST_CHUNK);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn decoding_undoes_encoding_at_any_split(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            behind in 0usize..5,
        ) {
            let mut bytes = encode(&chunks);
            bytes.extend(std::iter::repeat_n(b'G', behind));
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(&pieces), ok(&chunks.concat(), behind));
        }

        #[test]
        fn nearly_chunks_get_one_outcome(
            picks in proptest::collection::vec(0..14usize, 0..30),
            cut in any::<prop::sample::Index>(),
        ) {
            const PIECES: [&[u8]; 14] = [
                b"0", b"1", b"5", b"a", b"\r\n", b"\r\n", b"\r", b"\n", b";x", b" ", b"hello", b":",
                b"\0", b"5\r\nhello\r\n",
            ];
            let bytes = picks.iter().fold(Vec::new(), |sum, i| [&sum, PIECES[*i]].concat());
            let (a, b) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(decode(&[a, b]), decode(&[&bytes]));
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decode(&single), decode(&[&bytes]));
        }
    }
}
