//! What the checker itself can tell apart: without this, a model that passes would mean little.
//!
//! Two threads each store a word and then look at the other's. With a fence between store and load
//! on both sides one of them must see the other; without either fence both may miss. The checker
//! must show exactly that, since sleeping and recall rest on it.
//!
//! It over-approximates one thing: after two sequentially consistent fences it also takes all plain
//! memory before the first as visible after the second. The language promises that only where an
//! atomic load has read a store. So each place where an entry is read or overwritten is behind an
//! Acquire load of its own, which a model without any sleeping (`queue::payload`) proves to matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32 as Count, Ordering::SeqCst};

use loom::sync::atomic::{AtomicU32, Ordering::Relaxed, fence};

use crate::shared::{Bell, End, check};

/// How often both threads missed the other's store, over all executions.
fn missed_by_both(fences: [bool; 2]) -> u32 {
    let missed = Arc::new(Count::new(0));
    let counted = Arc::clone(&missed);
    check(None, move || {
        let words = std::rc::Rc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let (end, theirs) = (End::on(Bell::default()), words.clone());
        let seen = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen_there = seen.clone();
        end.spawn(move || seen_there.set(store_then_load(&theirs[0], &theirs[1], fences[0])));
        let here = store_then_load(&words[1], &words[0], fences[1]);
        end.wait();
        if here == 0 && seen.get() == 0 {
            counted.fetch_add(1, SeqCst);
        }
    });
    missed.load(SeqCst)
}

fn store_then_load(ours: &AtomicU32, other: &AtomicU32, fenced: bool) -> u32 {
    ours.store(1, Relaxed);
    if fenced {
        fence(loom::sync::atomic::Ordering::SeqCst);
    }
    other.load(Relaxed)
}

#[test]
fn with_both_fences_one_side_sees_the_other() {
    assert_eq!(missed_by_both([true, true]), 0);
}

#[test]
fn without_either_fence_both_may_miss() {
    assert!(missed_by_both([false, true]) > 0);
    assert!(missed_by_both([true, false]) > 0);
    assert!(missed_by_both([false, false]) > 0);
}
