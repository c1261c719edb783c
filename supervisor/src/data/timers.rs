//! Timers as queues: all timers of one queue have the same length, so the first is due first.
//!
//! Entries are never removed in the middle. Who is named by one says whether it still counts; so
//! each owner has at most one entry in a queue, and the queue is bounded by the owners.

use std::collections::VecDeque;

/// What an owner says about its entry at the head of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The owner is gone or no longer waits.
    No,
    /// It waits until then; at the same time or later than the entry.
    Until(u64),
}

/// Timers of one length.
#[derive(Debug)]
pub struct TimerQueue<T> {
    entries: VecDeque<(u64, T)>,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new() }
    }
}

impl<T: Copy> TimerQueue<T> {
    /// Adds an entry; `due_ns` must not be before that of the last one by more than the clock's
    /// grain.
    pub fn push(&mut self, due_ns: u64, owner: T) {
        self.entries.push_back((due_ns, owner));
    }

    /// The next owner that is due at `now_ns`. Entries that no longer count are dropped, those that
    /// wait longer go to the back, each at most once in a call.
    pub fn pop_due(&mut self, now_ns: u64, mut claimed: impl FnMut(T) -> Claimed) -> Option<T> {
        for _ in 0..self.entries.len() {
            let Some((due_ns, owner)) = self.entries.front().copied() else { break };
            match claimed(owner) {
                Claimed::No => {
                    self.entries.pop_front();
                }
                Claimed::Until(later_ns) if later_ns > due_ns => {
                    self.entries.pop_front();
                    self.entries.push_back((later_ns, owner));
                }
                Claimed::Until(_) if due_ns <= now_ns => {
                    self.entries.pop_front();
                    return Some(owner);
                }
                Claimed::Until(_) => return None,
            }
        }
        None
    }

    /// When the first entry is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.entries.front().map(|(due_ns, _)| *due_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_still_waits_comes_due() {
        let mut queue = TimerQueue::default();
        for owner in 0..4u32 {
            queue.push(100 + u64::from(owner), owner);
        }
        let claimed = |owner| match owner {
            0 => Claimed::No,
            1 => Claimed::Until(500),
            other => Claimed::Until(100 + u64::from(other)),
        };
        assert_eq!(queue.pop_due(101, claimed), None);
        assert_eq!(queue.next_due_ns(), Some(102));
        assert_eq!(queue.pop_due(103, claimed), Some(2));
        assert_eq!(queue.pop_due(103, claimed), Some(3));
        assert_eq!(queue.pop_due(499, claimed), None);
        assert_eq!(queue.pop_due(500, claimed), Some(1));
        assert_eq!((queue.pop_due(900, claimed), queue.next_due_ns()), (None, None));
    }
}
