//! When to ring: the decisions that keep a sleeping side from being forgotten and a busy one from
//! being disturbed.
//!
//! Pure index algebra, generic over the width of an index so that tests can enumerate all states
//! at 8 bits. The store-load fences that make the decisions sound are in `queue`.

/// A free-running ring index; all arithmetic wraps.
pub trait Index: Copy + Eq + Ord + std::fmt::Debug {
    /// A quarter of the circle that the indices run on.
    const QUARTER: Self;
    /// A number of entries; it must fit.
    fn of(entries: u32) -> Self;
    /// The index as a number.
    fn number(self) -> u32;
    /// `self - other`, wrapping.
    fn back_to(self, other: Self) -> Self;
    /// `self + 1`, wrapping.
    fn next(self) -> Self;
}

macro_rules! index {
    ($($t:ty),*) => {$(impl Index for $t {
        const QUARTER: Self = <$t>::MAX / 4 + 1;
        fn of(entries: u32) -> Self {
            Self::try_from(entries).expect("a capacity is smaller than the circle")
        }
        fn number(self) -> u32 { self.into() }
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
/// A quarter of the circle before `recall` counts: less than all, so that a recall long past says
/// nothing about new entries; more than one capacity, since an entry may be put aside by the
/// consumer and begin long after its place was used again. The comparison is unsigned on purpose: a
/// signed one skips half the circle.
pub fn is_recalled<I: Index>(recall: I, n: I) -> bool {
    recall.back_to(n.next()) < I::QUARTER
}

/// True if `tail` can be the producer's index when the consumer's is `head`.
pub fn is_reachable<I: Index>(tail: I, head: I, capacity: I) -> bool {
    tail.back_to(head) <= capacity
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Walks the whole circle from `from` on and asks for each `steps` at which it has arrived:
    /// `claim(steps, at)` must be true exactly for the places `at` passed so far.
    fn agrees_with_walking(from: u8, claim: impl Fn(u8, u8) -> bool) {
        let mut passed = [false; 256];
        for steps in 0..=255u8 {
            for at in 0..=255u8 {
                let says = claim(steps, at);
                assert_eq!(says, passed[usize::from(at)], "from {from}, {steps} steps, at {at}");
            }
            passed[usize::from(from.wrapping_add(steps))] = true;
        }
    }

    #[test]
    fn ring_decision_agrees_with_walking_for_every_state_at_8_bits() {
        for old in 0..=255u8 {
            agrees_with_walking(old, |published, wake_at| {
                must_ring(old, old.wrapping_add(published), wake_at)
            });
        }
    }

    #[test]
    fn recall_decision_agrees_with_walking_for_every_state_at_8_bits() {
        for recall in 0..=255u8 {
            let recalled: Vec<u8> = (1..=64).map(|back| recall.wrapping_sub(back)).collect();
            for n in 0..=255u8 {
                assert_eq!(is_recalled(recall, n), recalled.contains(&n), "{recall} {n}");
            }
        }
    }

    #[test]
    fn reachability_agrees_with_walking_for_every_state_at_8_bits() {
        for head in 0..=255u8 {
            agrees_with_walking(head, |steps, tail| {
                // The places passed after `capacity + 1` steps are those within the capacity.
                steps > 0 && is_reachable(tail, head, steps - 1)
            });
        }
    }
}
