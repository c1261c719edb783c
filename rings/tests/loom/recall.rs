//! Recall against begin: an entry that is taken back never runs, and no other is skipped.

use std::cell::Cell;
use std::rc::Rc;

use rings::queue::{Consumer, Producer};

use crate::shared::{Bell, End, RingMem, START, check, number, numbered, ring};

/// What became of an entry, on the worker's side.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Ran,
    Skipped,
}

/// The processor: publishes `count` entries, takes back what it can and publishes one more if there
/// is room. Returns how many of the first `count` it was told may have begun.
fn hand_down_and_recall(tx: &mut Producer<RingMem>, count: u32) -> u32 {
    for n in 0..count {
        tx.push(&numbered(n)).unwrap();
    }
    let _ = tx.publish();
    let begun = tx.recall().wrapping_sub(START);
    assert!(begun <= count, "started is beyond what was published");
    if tx.push(&numbered(count)).is_some() {
        let _ = tx.publish();
    }
    begun
}

struct Worker {
    rx: Consumer<RingMem>,
    /// Entries taken and not begun, as a worker has them that waits for something else.
    aside: Vec<u32>,
    puts_aside: bool,
    fates: Vec<Fate>,
}

impl Worker {
    fn work(&mut self) {
        while let Some((index, entry)) = self.rx.pop().unwrap() {
            assert_eq!(index, START.wrapping_add(number(&entry)));
            let _ = self.rx.release();
            self.aside.push(index);
            if !self.puts_aside {
                self.begin_all();
            }
        }
    }

    fn begin_all(&mut self) {
        for index in std::mem::take(&mut self.aside) {
            let fate = if self.rx.begin(index) { Fate::Ran } else { Fate::Skipped };
            self.fates.push(fate);
        }
    }
}

fn recall(capacity: u32, count: u32, puts_aside: bool) {
    check(None, move || {
        let (mut tx, rx) = ring(capacity);
        let end = End::on(Bell::default());
        let begun = Rc::new(Cell::new(0));
        let begun_there = begun.clone();
        end.spawn(move || begun_there.set(hand_down_and_recall(&mut tx, count)));
        let mut worker = Worker { rx, aside: Vec::new(), puts_aside, fates: Vec::new() };
        worker.work();
        worker.begin_all();
        worker.work();
        worker.begin_all();
        let certain = worker.fates.len();
        end.wait();
        worker.work();
        worker.begin_all();
        let (fates, begun) = (worker.fates, begun.get() as usize);
        let count = count as usize;
        assert!(fates.len() >= count, "an entry was lost");
        for (n, fate) in fates.iter().enumerate() {
            if n >= count {
                assert_eq!(*fate, Fate::Ran, "entry {n} was never recalled");
            } else if n >= begun {
                assert_eq!(*fate, Fate::Skipped, "entry {n} was taken back and ran as well");
            } else if n >= certain {
                assert_eq!(*fate, Fate::Skipped, "entry {n} began after the recall");
            }
        }
        // An entry before `begun` either ran or comes back skipped: one of the two by the loop above.
    });
}

#[test]
fn an_entry_runs_or_is_taken_back_at_capacity_1() {
    recall(1, 1, false);
}

#[test]
fn an_entry_runs_or_is_taken_back_at_capacity_2() {
    recall(2, 2, false);
}

#[test]
fn an_entry_published_after_a_recall_runs() {
    recall(2, 1, false);
}

#[test]
fn an_entry_put_aside_is_taken_back_too() {
    recall(1, 1, true);
    recall(2, 2, true);
}
