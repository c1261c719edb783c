//! Bytes that tell whose they are: each block of a body names its request and proves it, so that a
//! few bytes of another one's are not only seen to be wrong but known by their owner.
//!
//! Pure. A block is 16 bytes: request and number of the block, hidden by the run's key, then a word
//! that only who knows the key can make. In text each byte is two digits.

const BLOCK_BYTES: usize = 16;
const TEXT_BLOCK_BYTES: usize = 2 * BLOCK_BYTES;
/// Of a word this much counts the blocks of a body; the rest names the request.
const INDEX_BITS: u32 = 24;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The secret of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    hides: u64,
    proves: u64,
}

impl Canary {
    pub fn of_seed(seed: u64) -> Self {
        Self { hides: mixed(seed ^ 0xca4a_121e), proves: mixed(seed.rotate_left(32) ^ 0x5eed) }
    }

    /// So many bytes of that request.
    pub fn body(self, owner: u64, bytes: usize, as_text: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes + TEXT_BLOCK_BYTES);
        for index in 0.. {
            if body.len() >= bytes {
                break;
            }
            let word = (owner << INDEX_BITS | index) ^ self.hides;
            for byte in [word, self.proof(word)].into_iter().flat_map(u64::to_le_bytes) {
                if as_text {
                    let digit = |number: u8| DIGITS[usize::from(number)];
                    body.extend([digit(byte >> 4), digit(byte & 15)]);
                } else {
                    body.push(byte);
                }
            }
        }
        body.truncate(bytes);
        body
    }

    /// Another request than `owner` of which there are bytes, wherever they stand.
    pub fn stranger(self, owner: u64, bytes: &[u8]) -> Option<u64> {
        let raw = bytes.windows(BLOCK_BYTES).filter_map(|block| self.owner(block.try_into().ok()?));
        let text = bytes.windows(TEXT_BLOCK_BYTES).filter_map(|digits| {
            let mut block = [0; BLOCK_BYTES];
            for (byte, pair) in block.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = digit(pair[0])? << 4 | digit(pair[1])?;
            }
            self.owner(block)
        });
        raw.chain(text).find(|found| *found != owner)
    }

    fn owner(self, block: [u8; BLOCK_BYTES]) -> Option<u64> {
        let both = u128::from_le_bytes(block);
        let (word, proof) = (both as u64, (both >> 64) as u64);
        (proof == self.proof(word)).then_some((word ^ self.hides) >> INDEX_BITS)
    }

    fn proof(self, word: u64) -> u64 {
        mixed(word ^ self.proves)
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The end of SplitMix64.
fn mixed(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether strangers are found at all; what is wrong if not. Run before each run, since a check that
/// never finds anything looks like a run in which all is well.
pub fn self_test() -> Result<(), String> {
    let canary = Canary::of_seed(7);
    for as_text in [false, true] {
        let own = canary.body(1 << 32 | 5, 1000, as_text);
        let other = canary.body(2 << 32 | 6, 1000, as_text);
        let mut mixture = own.clone();
        let piece = 2 * TEXT_BLOCK_BYTES;
        mixture.splice(333..333 + piece, other[500..500 + piece].iter().copied());
        let found = [&own[..], &own[3..], &mixture].map(|b| canary.stranger(1 << 32 | 5, b));
        if found != [None, None, Some(2 << 32 | 6)] {
            return Err(format!("the canaries of this ledger are no good: {found:?}"));
        }
    }
    Ok(())
}
