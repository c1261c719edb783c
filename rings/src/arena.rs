//! Blocks of the response arena: a buddy allocator, private to the worker that writes the arena.
//!
//! Power-of-two blocks of the granule; all state is in the worker's own memory, none is shared.

use crate::limits::ARENA_GRANULE_BYTES;

/// The allocator. Free blocks of each order are kept in a stack, last freed first used, so that
/// warm pages are used again.
#[derive(Debug)]
pub struct Arena {
    /// Stacks of offsets by order; order 0 is one granule.
    free: Vec<Vec<u32>>,
    /// Order of the allocated block that starts at a granule, or of the free one; see `state`.
    order: Vec<u8>,
    state: Vec<State>,
    /// Recently freed small blocks, not joined with their buddies: joining and splitting again for
    /// each small reply would cost more than the reply.
    warm: [Vec<u32>; WARM_ORDERS],
}

/// Orders with a warm stack: blocks up to 64 KiB.
const WARM_ORDERS: usize = 9;
/// Blocks a warm stack keeps; the rest is joined.
const WARM_BLOCKS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Inside,
    Free,
    Warm,
    Taken,
}

impl Arena {
    /// All free; `bytes` is a multiple of the granule.
    pub fn new(bytes: u32) -> Self {
        let granules = (bytes / ARENA_GRANULE_BYTES) as usize;
        let orders = usize::BITS as usize - granules.leading_zeros() as usize;
        let mut arena = Self {
            free: vec![Vec::new(); orders],
            order: vec![0; granules],
            state: vec![State::Inside; granules],
            warm: Default::default(),
        };
        let mut at = 0;
        for order in (0..orders).rev() {
            if granules & (1 << order) != 0 {
                arena.put(at, order);
                at += 1 << order;
            }
        }
        arena
    }

    /// A block of at least `bytes`; its offset, or `None` if no block is free. `bytes` = 0 needs no
    /// block and gets offset 0.
    pub fn take(&mut self, bytes: u32) -> Option<u32> {
        if bytes == 0 {
            return Some(0);
        }
        let wanted = order_of(bytes);
        if let Some(at) = self.warm.get_mut(wanted).and_then(Vec::pop) {
            self.state[at as usize] = State::Taken;
            return Some(at * ARENA_GRANULE_BYTES);
        }
        self.split(wanted).or_else(|| {
            self.join_warm();
            self.split(wanted)
        })
    }

    fn split(&mut self, wanted: usize) -> Option<u32> {
        let mut order = (wanted..self.free.len()).find(|&o| !self.free[o].is_empty())?;
        let at = self.free[order].pop()? as usize;
        while order > wanted {
            order -= 1;
            self.put(at + (1 << order), order);
        }
        self.order[at] = wanted as u8;
        self.state[at] = State::Taken;
        Some(at as u32 * ARENA_GRANULE_BYTES)
    }

    fn join_warm(&mut self) {
        for order in 0..WARM_ORDERS {
            while let Some(at) = self.warm[order].pop() {
                self.join(at as usize);
            }
        }
    }

    /// Gives a block back by its offset; false if no block was taken there.
    pub fn give(&mut self, offset: u32) -> bool {
        let at = (offset / ARENA_GRANULE_BYTES) as usize;
        if !offset.is_multiple_of(ARENA_GRANULE_BYTES) || self.state.get(at) != Some(&State::Taken)
        {
            return false;
        }
        match self.warm.get_mut(self.order[at] as usize) {
            Some(warm) if warm.len() < WARM_BLOCKS_MAX => {
                warm.push(at as u32);
                self.state[at] = State::Warm;
            }
            _ => self.join(at),
        }
        true
    }

    fn join(&mut self, mut at: usize) {
        let mut order = self.order[at] as usize;
        loop {
            let buddy = at ^ (1 << order);
            let joinable = order + 1 < self.free.len()
                && self.state.get(buddy) == Some(&State::Free)
                && self.order[buddy] as usize == order;
            if !joinable {
                break;
            }
            let place = self.free[order].iter().rposition(|&o| o as usize == buddy);
            let Some(place) = place else { break };
            self.free[order].swap_remove(place);
            self.state[buddy] = State::Inside;
            self.state[at] = State::Inside;
            at = at.min(buddy);
            order += 1;
        }
        self.put(at, order);
    }

    fn put(&mut self, at: usize, order: usize) {
        self.order[at] = order as u8;
        self.state[at] = State::Free;
        self.free[order].push(at as u32);
    }
}

fn order_of(bytes: u32) -> usize {
    bytes.div_ceil(ARENA_GRANULE_BYTES).next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_arena_can_be_taken_and_taken_again() {
        let mut arena = Arena::new(8 << 20);
        for _ in 0..3 {
            let whole = arena.take(8 << 20).unwrap();
            assert_eq!((whole, arena.take(1)), (0, None));
            assert!(arena.give(whole));
        }
    }

    #[test]
    fn an_offset_that_was_not_taken_is_not_given_back() {
        let mut arena = Arena::new(1 << 20);
        let at = arena.take(300).unwrap();
        assert!(
            !arena.give(at + 256) && arena.give(at) && !arena.give(at) && !arena.give(u32::MAX)
        );
    }

    proptest! {
        /// Taken blocks never overlap and the arena is whole again at the end.
        #[test]
        fn blocks_do_not_overlap(sizes in proptest::collection::vec(1u32..70_000, 1..80)) {
            let total = 3 * 256 * 1024;
            let mut arena = Arena::new(total);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (i, size) in sizes.iter().enumerate() {
                if let Some(at) = arena.take(*size) {
                    prop_assert!(at + size <= total);
                    prop_assert!(held.iter().all(|(o, s)| at + size <= *o || o + s <= at));
                    held.push((at, *size));
                }
                if i % 3 == 2 && !held.is_empty() {
                    prop_assert!(arena.give(held.swap_remove(i % held.len()).0));
                }
            }
            for (at, _) in held { prop_assert!(arena.give(at)); }
            prop_assert!(arena.take(512 * 1024).is_some() && arena.take(256 * 1024).is_some());
        }
    }
}
