//! A worker that dies at any instruction: the processor drains once more and then knows of each
//! event whether it was answered, may have run, or never began.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rings::abi::Entry;
use rings::queue::{Consumer, Mem, Producer, Word};
use rings::sync::Ordering;

use crate::shared::{Bell, End, RingMem, START, check, number, numbered};

/// What is left of a worker's life, in steps that others can see.
#[derive(Clone)]
struct Life(Rc<Cell<u32>>);

impl Life {
    /// One step; false if the worker is dead already.
    fn step(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }

    fn is_over(&self) -> bool {
        self.0.get() == 0
    }
}

/// The rings as the worker writes them: each store is a step of its life, an entry's are two.
struct Mortal {
    mem: RingMem,
    life: Life,
    /// Tail as it reached the memory.
    landed: Rc<Cell<u32>>,
}

impl Mem for Mortal {
    type Index = u32;
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.mem.load(word, order)
    }
    fn store(&self, word: Word, value: u32, order: Ordering) {
        if self.life.step() {
            self.mem.store(word, value, order);
            if word == Word::Tail {
                self.landed.set(value.wrapping_sub(START));
            }
        }
    }
    fn read_entry(&self, place: u32) -> Entry {
        self.mem.read_entry(place)
    }
    fn write_entry(&self, place: u32, entry: &Entry) {
        let half = Entry { c: 0, d: 0, e: 0, f: 0, ..*entry };
        for written in [half, *entry] {
            if self.life.step() {
                self.mem.write_entry(place, &written);
            }
        }
    }
}

struct Worker {
    sq: Consumer<Mortal>,
    cq: Producer<Mortal>,
    life: Life,
    /// Events whose handler was entered.
    ran: Rc<RefCell<Vec<u32>>>,
    bell: Bell,
}

impl Worker {
    /// Works until there is nothing more or life is over.
    fn live(mut self) {
        while let Some((index, entry)) = self.sq.pop().unwrap() {
            let n = number(&entry);
            let runs = self.sq.begin(index);
            if self.life.is_over() {
                return;
            }
            if runs && self.life.step() {
                self.ran.borrow_mut().push(n);
            }
            let mut answer = numbered(n);
            answer.aux = u16::from(runs);
            self.cq.push(&answer).expect("the credit law");
            if self.cq.publish() && self.life.step() {
                self.bell.ring();
            }
            let _ = self.sq.release();
        }
    }
}

/// The processor's table of one worker's events.
struct Table {
    /// By event: true = ran, false = skipped.
    answers: Vec<Option<bool>>,
    /// Events from here on were taken back at once.
    taken_from: u32,
}

impl Table {
    fn drain(&mut self, cq: &mut Consumer<RingMem>) {
        while let Some((_, mut entry)) = cq.pop().unwrap() {
            let runs = std::mem::take(&mut entry.aux) != 0;
            let n = number(&entry);
            assert_eq!(self.answers[n as usize], None, "event {n} was answered twice");
            self.answers[n as usize] = Some(runs);
            let _ = cq.release();
        }
    }

    fn judge(&self, started: u32, ran: &[u32], landed: u32) {
        let answered = self.answers.iter().filter(|a| a.is_some()).count() as u32;
        assert_eq!(answered, landed, "an answer that was published was not seen");
        for (n, answer) in (0u32..).zip(&self.answers) {
            let (ran, taken) = (ran.contains(&n), n >= self.taken_from);
            match answer {
                Some(true) => assert!(ran && !taken, "event {n} ran and was taken back as well"),
                // Not run: moves now, or has moved when it was taken back.
                Some(false) => assert!(!ran),
                None if taken => assert!(!ran, "event {n} ran and was taken back as well"),
                // Never begun: moves, and the attempt does not count.
                None if n >= started => assert!(!ran, "event {n} ran but does not count"),
                // May have run: the verdict table decides.
                None => {}
            }
        }
    }
}

/// `count` events, a worker that lives for `steps`, a processor that may take events back meanwhile.
fn death(count: u32, steps: u32, recalls: bool, preemptions: Option<usize>) {
    check(preemptions, move || {
        let (sq, cq) = (RingMem::new(count), RingMem::new(count));
        let life = Life(Rc::new(Cell::new(steps)));
        let landed = Rc::new(Cell::new(0));
        let mortal = |mem: &RingMem, landed: Rc<Cell<u32>>| Mortal {
            mem: mem.clone(),
            life: life.clone(),
            landed,
        };
        let (bell, ran) = (Bell::default(), Rc::default());
        let worker = Worker {
            sq: Consumer::new(mortal(&sq, Rc::default()), count, START),
            cq: Producer::new(mortal(&cq, landed.clone()), count, START),
            life: life.clone(),
            ran: Rc::clone(&ran),
            bell: bell.clone(),
        };
        let mut tx = Producer::new(sq, count, START);
        let mut rx = Consumer::new(cq, count, START);
        for n in 0..count {
            tx.push(&numbered(n)).unwrap();
        }
        let _ = tx.publish();
        // The end of the process and the bell wake the same poll.
        let end = End::on(bell.clone());
        end.spawn(move || worker.live());
        let taken_from = if recalls { tx.recall().wrapping_sub(START) } else { count };
        let mut table = Table { answers: vec![None; count as usize], taken_from };
        loop {
            let is_dead = end.has_come();
            table.drain(&mut rx);
            if is_dead {
                break;
            }
            if rx.arm() {
                bell.sleep();
            }
        }
        table.judge(tx.started().wrapping_sub(START), &ran.borrow(), landed.get());
    });
}

/// Steps of one event: started, entered, two halves of the answer, tail, bell, head.
const STEPS_AN_EVENT: u32 = 7;

#[test]
fn the_last_drain_leaves_nothing_in_doubt_at_capacity_1() {
    for steps in 0..=STEPS_AN_EVENT {
        death(1, steps, false, None);
        death(1, steps, true, None);
    }
}

#[test]
fn the_last_drain_leaves_nothing_in_doubt_at_capacity_2() {
    for steps in 0..=2 * STEPS_AN_EVENT {
        death(2, steps, false, Some(3));
    }
}

#[test]
fn nor_after_a_recall_at_capacity_2() {
    for steps in 0..=2 * STEPS_AN_EVENT {
        death(2, steps, true, Some(2));
    }
}
