//! Both ends of the rings in two real processes: this test binary runs itself again as the worker.
//!
//! Handshake, events and replies of every size, releases, recall, logs, a full ring, a worker
//! killed at any moment, a processor that goes away, and what the kernel refuses a worker.
#![cfg(not(loom))]

#[path = "two_processes/processor.rs"]
mod processor;
#[path = "two_processes/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::io::Read;

use processor::Processor;
use rings::abi::{Entry, down};
use rings::check::Up;
#[cfg(feature = "portable")]
use rings::error::Violation;
use rings::limits::SLOT_CLASS_BYTES;
use worker::Role;

/// The worker's main function: run by [`Processor::start`], passes at once in an ordinary test run.
#[test]
fn the_other_process() {
    if let Some(role) = Role::of_this_process() {
        worker::run(role);
    }
}

/// Body sizes around every border: of the slot classes with and without the header in the slot, of
/// the largest body that comes in one slot, of a reply that goes in pieces.
fn sizes() -> Vec<usize> {
    let mut sizes = vec![0, 1, 3 << 20, (5 << 20) + 1];
    for class in SLOT_CLASS_BYTES {
        let class = class as usize;
        let inline = class.saturating_sub(processor::HEADER_BYTES);
        sizes.extend([class - 1, class, class + 1, inline - 1, inline, inline + 1]);
    }
    sizes
}

#[test]
fn bodies_of_every_size_come_back_and_all_memory_with_them() {
    let mut p = Processor::start(Role::Echo);
    for (n, bytes) in (0u32..).zip(sizes()) {
        let body = processor::body(n, bytes);
        p.send(n, &body);
        let reply = p.reply(n);
        assert_eq!(reply.status, 200, "{bytes} bytes");
        assert!(reply.body == body, "{bytes} bytes came back changed");
        assert_eq!(reply.head, processor::path(n).as_bytes());
    }
    p.wait_for_releases();
    assert_eq!(p.slots.usage().map(|(_, _, taken)| taken).sum::<u32>(), 0);
    assert_eq!(p.end.lent_bytes(), 0);
    // The worker needs its whole arena for this one, so each block must have come back.
    p.send(worker::NEEDS_ALL, b"");
    assert_eq!(p.reply(worker::NEEDS_ALL).status, 200);
    p.stop();
}

#[test]
fn many_events_at_once_are_each_answered_once() {
    let mut p = Processor::start(Role::Echo);
    let (mut sent, mut replies) = (0u32, BTreeMap::new());
    while replies.len() < 5000 {
        while sent < 5000 && sent - (replies.len() as u32) < 100 {
            p.push(sent, &processor::body(sent, sent as usize % 3000));
            sent += 1;
        }
        p.end.publish().unwrap();
        for (n, reply) in p.wait_for_replies() {
            assert!(reply.body == processor::body(n, n as usize % 3000), "event {n}");
            assert!(replies.insert(n, reply.status).is_none(), "event {n} was answered twice");
        }
    }
    p.stop();
}

#[test]
fn log_records_come_before_the_reply_they_belong_to() {
    let mut p = Processor::start(Role::Echo);
    for n in 0..200 {
        p.send(n, b"x");
        let reply = p.reply(n);
        let mut messages = Vec::new();
        while let Some(record) = p.end.next_log().unwrap() {
            assert_eq!(record.head.claim, processor::claim(n));
            messages.push(String::from_utf8(record.message).unwrap());
            assert_eq!(record.fields, b"{}");
        }
        assert_eq!(messages, [format!("event {n}")]);
        assert_eq!(p.end.log_position(), reply.log_position);
    }
    assert_eq!(p.end.newly_dropped_logs(), 0);
    p.stop();
}

#[test]
fn what_is_recalled_comes_back_and_does_not_run() {
    let mut p = Processor::start(Role::Waiting);
    for n in 0..4 {
        p.push(n, b"");
    }
    p.end.publish().unwrap();
    // The handler of event 0 has been entered and waits for a PING.
    assert_eq!(p.next_up(), Up::Pong(0));
    assert_eq!(p.end.recall(), 1, "only the first has begun");
    p.end.push_control(Entry { kind: down::PING, ..Default::default() }).unwrap();
    p.end.publish().unwrap();
    assert!(matches!(p.next_up(), Up::Response(r) if r.claim == processor::claim(0)));
    for n in 1..4 {
        assert_eq!(p.next_up(), Up::Skipped { claim: processor::claim(n) });
    }
    // What is published after a recall runs as ever.
    p.send(4, b"");
    assert_eq!(p.next_up(), Up::Pong(4));
    p.end.push_control(Entry { kind: down::PING, ..Default::default() }).unwrap();
    p.end.publish().unwrap();
    assert!(matches!(p.next_up(), Up::Response(r) if r.claim == processor::claim(4)));
    p.stop();
}

/// More control entries than the ring has places, none of which the worker answers: what had no
/// room follows when the worker has made some, though nothing else wakes the processor.
#[test]
fn entries_that_found_no_room_follow_by_themselves() {
    let mut p = Processor::start(Role::Echo);
    let count = 5 * p.layout.sq_capacity;
    for _ in 0..count {
        p.end.cancel(processor::claim(7), 0).unwrap();
    }
    p.end.push_control(Entry { kind: down::PING, value: 7, ..Default::default() }).unwrap();
    p.end.publish().unwrap();
    assert_eq!(p.next_up(), Up::Pong(7));
    p.stop();
}

#[test]
fn the_worker_ends_when_the_processor_is_gone() {
    let mut p = Processor::start(Role::Echo);
    p.send(1, b"alive");
    assert_eq!(p.reply(1).status, 200);
    let Processor { end, mut child, .. } = p;
    drop(end);
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_kernel_refuses_a_worker_to_write_what_is_the_processors() {
    let (mut child, mut handshake, _slots) = processor::spawn(Role::Intruder);
    // The worker leaves after its attempts instead of saying ATTACHED.
    let end = processor::shake(&mut handshake);
    assert!(end.is_none(), "the intruder attached");
    assert!(child.wait().unwrap().success(), "something was writable");
}

/// A worker that cuts its own segment short costs itself; its neighbour does not notice.
#[cfg(feature = "portable")]
#[test]
fn a_worker_that_cuts_its_segment_is_found_out() {
    let mut neighbour = Processor::start(Role::Echo);
    let (mut child, mut handshake, _slots) = processor::spawn(Role::Cutter);
    let mut end = processor::shake(&mut handshake).expect("it says ATTACHED");
    assert_eq!(end.next_up(), Err(Violation::Cut));
    neighbour.send(1, b"alive");
    assert_eq!(neighbour.reply(1).body, b"alive");
    neighbour.stop();
    drop(end);
    assert!(child.wait().unwrap().success());
}

/// What the handler of SIGBUS is not for still ends the process.
#[cfg(feature = "portable")]
#[test]
fn a_bus_error_of_our_own_is_no_workers_doing() {
    use std::os::unix::process::ExitStatusExt;
    let (mut child, _handshake, _slots) = processor::spawn(Role::Stray);
    assert_eq!(child.wait().unwrap().signal(), Some(nix::libc::SIGBUS));
}

/// What a killed worker's handlers did, by its own ledger.
#[derive(Default)]
struct Ledger {
    entered: Vec<u32>,
    answered: Vec<u32>,
}

impl Ledger {
    fn read(mut from: impl Read) -> Self {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        let mut ledger = Self::default();
        for record in bytes.chunks_exact(4) {
            let n = u32::from_le_bytes(record.try_into().unwrap());
            match n & worker::ANSWERED {
                0 => ledger.entered.push(n),
                _ => ledger.answered.push(n & !worker::ANSWERED),
            }
        }
        ledger
    }
}

/// Kills a worker when it has answered `answers` events, or soon after; nothing may be in doubt but
/// the one event that it was working on.
fn kill_after(answers: usize, spins: u32) {
    let mut p = Processor::start(Role::Ledger);
    let (mut indices, mut replies) = (Vec::new(), BTreeMap::new());
    let keep = |p: &mut Processor, replies: &mut BTreeMap<u32, ()>| {
        for (n, reply) in p.take_replies() {
            assert!(reply.body == processor::body(n, 300), "event {n}");
            assert!(replies.insert(n, ()).is_none(), "event {n} was answered twice");
        }
    };
    while replies.len() < answers {
        while indices.len() - replies.len() < 60 {
            let n = indices.len() as u32;
            indices.push(p.push(n, &processor::body(n, 300)));
        }
        p.end.publish().unwrap();
        p.wait();
        keep(&mut p, &mut replies);
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    p.child.kill().unwrap();
    p.child.wait().unwrap();
    let ledger = Ledger::read(p.child.stderr.take().unwrap());
    keep(&mut p, &mut replies);
    let started = p.end.started();
    for n in &ledger.answered {
        assert!(replies.contains_key(n), "the answer to event {n} was published and is lost");
    }
    let mut in_doubt = 0;
    for (n, index) in (0u32..).zip(indices) {
        let begun = index < started;
        let (entered, answered) = (ledger.entered.contains(&n), replies.contains_key(&n));
        assert!(begun || !(entered || answered), "event {n} ran, though not started");
        assert!(entered || !answered, "event {n} was answered, but never ran");
        in_doubt += u32::from(begun && !answered);
    }
    assert!(in_doubt <= 1, "{in_doubt} events are in doubt");
}

#[test]
fn a_killed_worker_takes_at_most_one_event_with_it() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..30 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (answers, spins) = ((random >> 33) % 400, (random >> 20) % 20_000);
        println!("round {round}: killed after {answers} answers and {spins} spins");
        kill_after(answers as usize, spins as u32);
    }
}
