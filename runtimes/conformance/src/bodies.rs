//! Bodies that cannot be taken for one another.

/// Bytes that differ from place to place and from seed to seed.
pub fn pattern(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut body = Vec::with_capacity(bytes + 4);
    while body.len() < bytes {
        // xorshift: quick, and no period that a slot's size divides.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(bytes);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_differ() {
        assert_eq!(pattern(7, 1).len(), 7);
        assert_ne!(pattern(64, 1), pattern(64, 2));
        assert_ne!(pattern(512, 1)[..256], pattern(512, 1)[256..]);
    }
}
