//! Publish and take, reuse of places, sleeping for entries and for room.

use rings::queue::{Consumer, Producer};

use crate::shared::{Bell, End, RingMem, START, check, number, numbered, ring};

/// Pushes as many of `0..count` as find room without waiting; how many.
fn push_some(tx: &mut Producer<RingMem>, count: u32) -> u32 {
    for n in 0..count {
        if tx.room() == 0 {
            tx.refresh().unwrap();
        }
        if tx.push(&numbered(n)).is_none() {
            return n;
        }
        let _ = tx.publish();
    }
    count
}

/// Takes what is there; the next expected number moves on.
fn take_some(rx: &mut Consumer<RingMem>, next: &mut u32) {
    while let Some((index, entry)) = rx.pop().unwrap() {
        assert_eq!((index, number(&entry)), (START.wrapping_add(*next), *next));
        *next += 1;
        let _ = rx.release();
    }
}

/// No side ever sleeps: only Release and Acquire keep entries whole and places from being reused
/// too early.
fn payload(capacity: u32, count: u32, looks: u32) {
    check(None, move || {
        let (mut tx, mut rx) = ring(capacity);
        let end = End::on(Bell::default());
        let pushed = std::rc::Rc::new(std::cell::Cell::new(0));
        let pushed_there = pushed.clone();
        end.spawn(move || pushed_there.set(push_some(&mut tx, count)));
        let mut next = 0;
        for _ in 0..looks {
            take_some(&mut rx, &mut next);
        }
        end.wait();
        take_some(&mut rx, &mut next);
        assert_eq!(next, pushed.get(), "an entry was lost");
    });
}

#[test]
fn entries_are_whole_and_in_order_at_capacity_1() {
    payload(1, 3, 2);
}

#[test]
fn entries_are_whole_and_in_order_at_capacity_2() {
    payload(2, 3, 2);
}

/// Entries pushed together are seen together.
#[test]
fn a_batch_is_published_by_one_tail() {
    check(None, || {
        let (mut tx, mut rx) = ring(2);
        let end = End::on(Bell::default());
        end.spawn(move || {
            tx.push(&numbered(0)).unwrap();
            tx.push(&numbered(1)).unwrap();
            let _ = tx.publish();
        });
        if let Some((_, first)) = rx.pop().unwrap() {
            let (_, second) = rx.pop().unwrap().expect("the whole batch");
            assert_eq!((number(&first), number(&second)), (0, 1));
        }
        end.wait();
    });
}

/// A producer that waits for room and a consumer that waits for entries: neither sleeps for ever.
/// Where everything fits, only the consumer ever sleeps.
fn sleepers(capacity: u32, count: u32, preemptions: Option<usize>) {
    check(preemptions, move || {
        let (mut tx, mut rx) = ring(capacity);
        let (entries, room) = (Bell::default(), Bell::default());
        let end = End::on(room.clone());
        let (entries_there, room_there) = (entries.clone(), room.clone());
        // The consumer runs apart, so that the bell for room and the end are the main thread's.
        end.spawn(move || {
            let mut next = 0;
            while next < count {
                if let Some((_, entry)) = rx.pop().unwrap() {
                    assert_eq!(number(&entry), next);
                    next += 1;
                    if rx.release() {
                        room_there.ring();
                    }
                } else if rx.arm() {
                    entries_there.sleep();
                }
            }
        });
        for n in 0..count {
            while tx.push(&numbered(n)).is_none() {
                if tx.arm_for_room().unwrap() {
                    room.sleep();
                }
            }
            if tx.publish() {
                entries.ring();
            }
        }
        end.wait();
    });
}

#[test]
fn a_sleeping_consumer_is_rung_at_capacity_1() {
    sleepers(1, 1, None);
}

#[test]
fn a_sleeping_consumer_is_rung_at_capacity_2() {
    sleepers(2, 2, None);
}

#[test]
fn a_producer_waiting_for_room_is_rung_at_capacity_1() {
    sleepers(1, 2, Some(4));
}

#[test]
fn a_producer_waiting_for_room_is_rung_at_capacity_2() {
    sleepers(2, 3, Some(3));
}
