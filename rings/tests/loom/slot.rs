//! Memory that entries speak of: an event's slot and a reply's block are written again only after
//! the entry that gives them back was seen.

use std::rc::Rc;

use rings::queue::{Consumer, Producer};

use crate::shared::{Bell, End, RingMem, check, number, numbered, ring};

/// Kinds of entries, told apart by `aux`.
const ANSWER: u16 = 1;
const RELEASE: u16 = 2;

/// A slot or a block; the checker reports a write that is not ordered after the last read.
type Piece = Rc<loom::cell::Cell<u32>>;

/// One end's two rings and bells.
struct Side {
    tx: Producer<RingMem>,
    rx: Consumer<RingMem>,
    their_bell: Bell,
    our_bell: Bell,
}

impl Side {
    fn send(&mut self, n: u32, kind: u16) {
        let mut entry = numbered(n);
        entry.aux = kind;
        while self.tx.push(&entry).is_none() {
            self.tx.refresh().unwrap();
            assert!(self.tx.room() > 0, "the credit law");
        }
        if self.tx.publish() {
            self.their_bell.ring();
        }
    }

    /// The next entry: its number and kind.
    fn receive(&mut self) -> (u32, u16) {
        loop {
            if let Some((_, mut entry)) = self.rx.pop().unwrap() {
                let kind = std::mem::take(&mut entry.aux);
                let _ = self.rx.release();
                return (number(&entry), kind);
            }
            if self.rx.arm() {
                self.our_bell.sleep();
            }
        }
    }
}

fn sides(down: u32, up: u32) -> (Side, Side) {
    let ((sq_tx, sq_rx), (cq_tx, cq_rx)) = (ring(down), ring(up));
    let (processor, worker) = (Bell::default(), Bell::default());
    (
        Side { tx: sq_tx, rx: cq_rx, their_bell: worker.clone(), our_bell: processor.clone() },
        Side { tx: cq_tx, rx: sq_rx, their_bell: processor, our_bell: worker },
    )
}

/// A handler keeps looking at its event after it has answered. The slot is used for the next event
/// only when the release has come, though the answer came before.
#[test]
fn a_slot_is_not_written_before_its_release_was_seen() {
    check(Some(2), || {
        let (mut processor, mut worker) = sides(1, 2);
        let slot: Piece = Rc::new(loom::cell::Cell::new(0));
        let slot_there = slot.clone();
        let end = End::on(processor.our_bell.clone());
        end.spawn(move || {
            for _ in 0..2 {
                let (n, _) = worker.receive();
                assert_eq!(slot_there.get(), n, "the slot of event {n} shows another event");
                worker.send(n, ANSWER);
                assert_eq!(slot_there.get(), n, "the slot of event {n} changed while it was held");
                worker.send(n, RELEASE);
            }
        });
        for n in 1..=2 {
            slot.set(n);
            processor.send(n, 0);
            assert_eq!(processor.receive(), (n, ANSWER));
            assert_eq!(processor.receive(), (n, RELEASE));
        }
        end.wait();
    });
}

/// A reply's block goes to the client straight from the worker's memory. The worker writes the next
/// reply there only when the processor has given the block back.
#[test]
fn a_block_is_not_written_before_it_was_given_back() {
    check(Some(3), || {
        let (mut processor, mut worker) = sides(2, 1);
        let block: Piece = Rc::new(loom::cell::Cell::new(0));
        let block_there = block.clone();
        let end = End::on(processor.our_bell.clone());
        end.spawn(move || {
            for n in 1..=2 {
                block_there.set(n);
                worker.send(n, ANSWER);
                assert_eq!(worker.receive(), (n, RELEASE));
            }
        });
        for n in 1..=2 {
            assert_eq!(processor.receive(), (n, ANSWER));
            assert_eq!(block.get(), n, "reply {n} was sent with other bytes");
            processor.send(n, RELEASE);
        }
        end.wait();
    });
}
