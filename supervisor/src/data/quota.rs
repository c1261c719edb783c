//! Divides a bounded resource between triggers: each owns half of an equal share, the rest is
//! common. So a trigger with a backlog cannot take what another needs to go on.
//!
//! Pure arithmetic.

/// A resource of `total` units.
#[derive(Debug)]
pub struct Quota {
    own: u64,
    common: u64,
    common_used: u64,
    used: Vec<u64>,
}

impl Quota {
    /// `total` units for so many triggers, at least one.
    pub fn new(total: u64, triggers: usize) -> Self {
        let count = triggers.max(1) as u64;
        let own = total / (2 * count);
        Self { own, common: total - own * count, common_used: 0, used: vec![0; triggers.max(1)] }
    }

    /// Takes `units` for a trigger; false, and nothing taken, if its own and the common part have
    /// no room.
    #[must_use]
    pub fn take(&mut self, trigger: usize, units: u64) -> bool {
        let used = self.used[trigger];
        let over = |used: u64| used.saturating_sub(self.own);
        let needed = over(used + units) - over(used);
        if needed > self.common - self.common_used {
            return false;
        }
        self.common_used += needed;
        self.used[trigger] += units;
        true
    }

    /// Gives back what was taken.
    pub fn give(&mut self, trigger: usize, units: u64) {
        let used = self.used[trigger];
        debug_assert!(units <= used);
        let over = |used: u64| used.saturating_sub(self.own);
        self.common_used -= over(used) - over(used - units);
        self.used[trigger] = used - units;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trigger_may_have_all() {
        let mut quota = Quota::new(4096, 1);
        assert!(quota.take(0, 4096) && !quota.take(0, 1));
        quota.give(0, 1);
        assert!(quota.take(0, 1));
    }

    #[test]
    fn a_greedy_trigger_leaves_the_others_their_own_half() {
        let mut quota = Quota::new(400, 2);
        while quota.take(0, 1) {}
        assert_eq!(quota.used[0], 300);
        assert!(quota.take(1, 100) && !quota.take(1, 1));
        quota.give(0, 250);
        assert!(quota.take(1, 150));
    }
}
