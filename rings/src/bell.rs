//! When to ring: the decisions that keep a sleeping side from being forgotten and a busy one from
//! being disturbed.
//!
//! Pure index algebra, generic over the width of an index so that tests can enumerate all states
//! at 8 bits. The store-load fences that make the decisions sound are in `queue`.

/// A free-running ring index; all arithmetic wraps.
pub trait Index: Copy + Eq + Ord {
    /// `self - other`, wrapping.
    fn back_to(self, other: Self) -> Self;
    /// `self + 1`, wrapping.
    fn next(self) -> Self;
}

macro_rules! index {
    ($($t:ty),*) => {$(impl Index for $t {
        fn back_to(self, other: Self) -> Self { self.wrapping_sub(other) }
        fn next(self) -> Self { self.wrapping_add(1) }
    })*};
}
index!(u8, u32);

/// True if the other side went to sleep at a position that this publication has passed.
///
/// `old` is the published index at the last decision, `new` the one published now, and `wake_at`
/// the index at which the sleeper said it saw nothing more. True exactly when
/// `old <= wake_at < new` on the circle, so each sleep gets one ring.
pub fn must_ring<I: Index>(old: I, new: I, wake_at: I) -> bool {
    new.back_to(wake_at.next()) < new.back_to(old)
}

/// True if entry `n` was taken back by a recall that covered the entries before `recall`.
///
/// Only entries within one capacity before `recall` count, so that a recall long past says nothing
/// about new entries. The comparison is unsigned on purpose: a signed one skips half the circle.
pub fn is_recalled<I: Index>(recall: I, n: I, capacity: I) -> bool {
    recall.back_to(n.next()) < capacity
}

/// True if `tail` can be the producer's index when the consumer's is `head`.
pub fn is_reachable<I: Index>(tail: I, head: I, capacity: I) -> bool {
    tail.back_to(head) <= capacity
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Walks forward from `from` and says whether `to` comes within `steps` steps (exclusive).
    fn within(from: u8, to: u8, steps: u8) -> bool {
        (0..steps).any(|i| from.wrapping_add(i) == to)
    }

    #[test]
    fn ring_decision_agrees_with_walking_for_every_state_at_8_bits() {
        for old in 0..=255u8 {
            for published in 0..=255u8 {
                let new = old.wrapping_add(published);
                for wake_at in 0..=255u8 {
                    assert_eq!(must_ring(old, new, wake_at), within(old, wake_at, published));
                }
            }
        }
    }

    #[test]
    fn recall_decision_agrees_with_walking_for_every_state_at_8_bits() {
        for capacity in [1u8, 2, 4, 64, 128] {
            for recall in 0..=255u8 {
                for n in 0..=255u8 {
                    let oldest = recall.wrapping_sub(capacity);
                    assert_eq!(is_recalled(recall, n, capacity), within(oldest, n, capacity));
                }
            }
        }
    }

    /// Past two wraps of the index with `recall` kept up as `queue` does, nothing is skipped.
    #[test]
    fn without_a_recall_nothing_is_skipped_over_two_wraps() {
        let capacity = 16u8;
        let (mut recall, mut restored_at) = (0u8, 0u8);
        for step in 0..600u32 {
            let n = step as u8;
            assert!(!is_recalled(recall, n, capacity), "entry {step}");
            if n.wrapping_sub(restored_at) >= 64 {
                recall = n;
                restored_at = n;
            }
        }
    }

    #[test]
    fn reachability_agrees_with_walking_for_every_state_at_8_bits() {
        for capacity in [1u8, 2, 128] {
            for tail in 0..=255u8 {
                for head in 0..=255u8 {
                    let walked =
                        within(head, tail, capacity) || head.wrapping_add(capacity) == tail;
                    assert_eq!(is_reachable(tail, head, capacity), walked);
                }
            }
        }
    }
}
