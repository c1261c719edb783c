//! Slots of the event memory Q: size classes, free lists, generations. Private to the processor.
//!
//! Nothing here is shared: a worker learns of a slot only by the place in an entry. Two segments,
//! so that the small classes stay dense. Last freed is first used, which keeps pages warm; debug
//! builds use first freed and poison, so that a use after the end shows.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::error::RingError;
use crate::limits::{
    EVENT_MEMORY_BYTES_MAX, EVENT_MEMORY_BYTES_MIN, SLOT_CLASS_BYTES, SLOT_CLASSES_SMALL,
};
use crate::memory::{Map, OwnSegment};

/// A reserved slot. A number, not a pointer: only [`Slots`] turns it into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRef {
    class: u8,
    index: u32,
    generation: u32,
}

/// Shares of the event memory per class, in 64ths: mostly one-page events, and bodies of 1 MiB.
const CLASS_SHARE_64THS: [u64; 6] = [2, 6, 8, 6, 6, 36];

const CLASSES: usize = SLOT_CLASS_BYTES.len();
const LARGEST: usize = CLASSES - 1;

#[derive(Debug)]
struct Class {
    bytes: u32,
    base: u64,
    segment: u32,
    /// Free slots; unused for the largest class, which looks for neighbours instead.
    free: VecDeque<u32>,
    generation: Vec<u32>,
    taken: Vec<bool>,
    taken_count: u32,
}

/// The event memory and who has which part of it.
#[derive(Debug)]
pub struct Slots {
    segments: [OwnSegment; 2],
    fds: Arc<[OwnedFd; 2]>,
    classes: Vec<Class>,
    reserved_bytes: u64,
    total_bytes: u64,
}

impl Slots {
    /// Creates both segments; `bytes` is brought into the limits of the protocol. The memory is
    /// sparse: what is never used is never allocated.
    pub fn new(bytes: u64) -> Result<Self, RingError> {
        let bytes = bytes.clamp(EVENT_MEMORY_BYTES_MIN, EVENT_MEMORY_BYTES_MAX);
        let mut bases = [0u64; 2];
        let mut total_bytes = 0;
        let classes: Vec<Class> = (0..CLASSES)
            .map(|class| {
                let slot = SLOT_CLASS_BYTES[class];
                let count = (bytes * CLASS_SHARE_64THS[class] / 64 / u64::from(slot)).max(1);
                let segment = usize::from(class >= SLOT_CLASSES_SMALL);
                let base = bases[segment];
                bases[segment] += count * u64::from(slot);
                total_bytes += count * u64::from(slot);
                Class {
                    bytes: slot,
                    base,
                    segment: segment as u32,
                    free: (0..count as u32).rev().collect(),
                    generation: vec![0; count as usize],
                    taken: vec![false; count as usize],
                    taken_count: 0,
                }
            })
            .collect();
        let (small_fd, small) = OwnSegment::create("nuclio-q-small", bases[0] as usize)?;
        let (large_fd, large) = OwnSegment::create("nuclio-q-large", bases[1] as usize)?;
        let fds = Arc::new([small_fd, large_fd]);
        Ok(Self { segments: [small, large], fds, classes, reserved_bytes: 0, total_bytes })
    }

    /// The two segments' descriptors, to be passed to workers.
    pub fn fds(&self) -> Arc<[OwnedFd; 2]> {
        Arc::clone(&self.fds)
    }

    /// Bytes of the two segments.
    pub fn segment_bytes(&self) -> [u64; 2] {
        [0, 1].map(|i: usize| self.segments[i].map().len() as u64)
    }

    /// Bytes of all slots together.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes of all reserved slots.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// Reserves one slot of at least `bytes`, from the smallest class that has one free.
    pub fn reserve(&mut self, bytes: usize) -> Option<SlotRef> {
        let fits = SLOT_CLASS_BYTES.iter().position(|&c| c as usize >= bytes)?;
        (fits..CLASSES).find_map(|class| {
            if class == LARGEST {
                self.take_run(1).map(|index| self.take(class, index))
            } else {
                let index = self.classes[class].free.pop_back()?;
                Some(self.take(class, index))
            }
        })
    }

    /// Reserves slots for a body of `bytes`: one if it fits a class, else neighbours of the largest
    /// class so that the body is one range, else, in fragmented memory, what is free.
    pub fn reserve_body(&mut self, bytes: usize) -> Option<Vec<SlotRef>> {
        let largest = SLOT_CLASS_BYTES[LARGEST] as usize;
        if bytes <= largest {
            return self.reserve(bytes).map(|slot| vec![slot]);
        }
        let count = bytes.div_ceil(largest);
        if let Some(first) = self.take_run(count) {
            return Some((first..first + count as u32).map(|i| self.take(LARGEST, i)).collect());
        }
        let class = &self.classes[LARGEST];
        if class.taken.len() - (class.taken_count as usize) < count {
            return None;
        }
        let free = class.taken.iter().enumerate().filter(|(_, taken)| !**taken);
        let indices: Vec<u32> = free.map(|(i, _)| i as u32).take(count).collect();
        Some(indices.into_iter().map(|i| self.take(LARGEST, i)).collect())
    }

    /// First index of `count` free neighbours of the largest class.
    fn take_run(&self, count: usize) -> Option<u32> {
        let mut run = 0;
        for (i, taken) in self.classes[LARGEST].taken.iter().enumerate() {
            run = if *taken { 0 } else { run + 1 };
            if run == count {
                return Some((i + 1 - count) as u32);
            }
        }
        None
    }

    fn take(&mut self, class: usize, index: u32) -> SlotRef {
        let c = &mut self.classes[class];
        debug_assert!(!c.taken[index as usize]);
        c.taken[index as usize] = true;
        c.taken_count += 1;
        self.reserved_bytes += u64::from(c.bytes);
        SlotRef { class: class as u8, index, generation: c.generation[index as usize] }
    }

    /// Gives a slot back. A slot given back twice, or of another generation, is a bug of ours.
    pub fn release(&mut self, slot: SlotRef) {
        self.poison(slot);
        let c = &mut self.classes[slot.class as usize];
        let i = slot.index as usize;
        assert!(c.taken[i] && c.generation[i] == slot.generation, "slot released twice");
        c.taken[i] = false;
        c.taken_count -= 1;
        c.generation[i] = c.generation[i].wrapping_add(1);
        self.reserved_bytes -= u64::from(c.bytes);
        if (slot.class as usize) < LARGEST {
            if cfg!(debug_assertions) {
                c.free.push_front(slot.index);
            } else {
                c.free.push_back(slot.index);
            }
        }
    }

    /// In debug builds a freed slot's start is overwritten, so that a stale view shows.
    fn poison(&mut self, slot: SlotRef) {
        if cfg!(debug_assertions) {
            let bytes = self.bytes_mut(slot);
            let n = bytes.len().min(4096);
            bytes[..n].fill(0xdb);
        }
    }

    /// The slot's bytes, to be written before it is published.
    pub fn bytes_mut(&mut self, slot: SlotRef) -> &mut [u8] {
        let (segment, offset, bytes) = self.place(slot);
        self.segments[segment as usize].bytes_mut(offset, bytes)
    }

    /// The slot's bytes.
    pub fn bytes(&self, slot: SlotRef) -> &[u8] {
        let (segment, offset, bytes) = self.place(slot);
        self.segments[segment as usize].bytes(offset, bytes)
    }

    /// Where a slot lies: segment, first byte, bytes.
    pub fn place(&self, slot: SlotRef) -> (u32, u64, u32) {
        let c = &self.classes[slot.class as usize];
        (c.segment, c.base + u64::from(slot.index) * u64::from(c.bytes), c.bytes)
    }

    /// One of the two maps, for sending straight from it.
    pub fn map(&self, segment: u32) -> &Map {
        self.segments[segment as usize].map()
    }

    /// Slot bytes, total and reserved counts of every class.
    pub fn usage(&self) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        self.classes.iter().map(|c| (c.bytes, c.taken.len() as u32, c.taken_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_body_of_several_mebibytes_is_one_range() {
        let mut slots = Slots::new(64 << 20).unwrap();
        let body = slots.reserve_body(5 << 20).unwrap();
        let places: Vec<_> = body.iter().map(|s| slots.place(*s)).collect();
        assert!(places.windows(2).all(|p| p[0].1 + u64::from(p[0].2) == p[1].1));
        assert_eq!(body.len(), 5);
    }

    #[test]
    fn fragmented_memory_still_holds_a_body() {
        let mut slots = Slots::new(16 << 20).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| slots.reserve(1 << 20)).collect();
        for slot in all.iter().step_by(2) {
            slots.release(*slot);
        }
        let body = slots.reserve_body(3 << 20).unwrap();
        assert_eq!(body.len(), 3);
        assert!(slots.reserve_body(9 << 20).is_none());
    }

    #[test]
    #[should_panic(expected = "slot released twice")]
    fn a_second_release_is_a_bug_of_ours() {
        let mut slots = Slots::new(8 << 20).unwrap();
        let slot = slots.reserve(100).unwrap();
        slots.release(slot);
        slots.release(slot);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against a naive model: reserved slots never overlap, and all comes back.
        #[test]
        fn slots_never_overlap(ops in proptest::collection::vec((1usize..3_000_000, any::<bool>()), 1..60)) {
            let mut slots = Slots::new(16 << 20).unwrap();
            let mut held: Vec<(SlotRef, u8)> = Vec::new();
            for (n, (bytes, free)) in ops.into_iter().enumerate() {
                if free && !held.is_empty() {
                    let (slot, canary) = held.swap_remove(bytes % held.len());
                    prop_assert!(slots.bytes(slot).iter().take(64).all(|b| *b == canary));
                    slots.release(slot);
                } else if let Some(body) = slots.reserve_body(bytes) {
                    let room: usize = body.iter().map(|s| slots.place(*s).2 as usize).sum();
                    prop_assert!(room >= bytes);
                    for slot in body {
                        slots.bytes_mut(slot)[..64].fill(n as u8);
                        held.push((slot, n as u8));
                    }
                }
            }
            let bytes: u64 = held.iter().map(|(s, _)| u64::from(slots.place(*s).2)).sum();
            prop_assert_eq!(slots.reserved_bytes(), bytes);
            for (slot, _) in held { slots.release(slot); }
            prop_assert_eq!(slots.usage().map(|u| u.2).sum::<u32>(), 0);
        }
    }
}
