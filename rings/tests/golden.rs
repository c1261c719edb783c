//! The bytes of the protocol, compared with the committed `docs/abi/golden.txt`.
//!
//! Every value here is fixed, and no two fields of one item have the same, so that a field that
//! moves shows. `UPDATE=1 cargo test -p rings --test golden` writes the file anew: after 1.0 such a
//! change of existing lines is another major version.
#![cfg(not(loom))]

use std::cell::RefCell;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use rings::abi::{
    self, Entry, EventHeader, Extent, HeaderEntry, LogHead, Range, block, content_type, d_word,
    down, down_flag, event_flag, event_kind, init_failed, outcome, place, u_word, up, up_flag,
};
use rings::attach::{Offer, ProcessorHandshake, Step, TriggerOffer, attach_worker, socket_pair};
use rings::header;
use rings::limits::{HANDSHAKE_BYTES_MAX, tags};
use rings::log_ring::{LogMem, LogWord, LogWriter};
use rings::os::{receive_with_fds, send_with_fds};
use rings::slots::Slots;
use rings::sync::Ordering;
use zerocopy::IntoBytes;

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/abi").join(name)
}

/// The text of the file as it is built up.
struct Golden(String);

impl Golden {
    fn section(&mut self, title: &str) {
        writeln!(self.0, "\n# {title}").unwrap();
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        let value = value.into();
        writeln!(self.0, "{name} = {value}").unwrap();
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        writeln!(self.0, "{name}: {} bytes", bytes.len()).unwrap();
        for line in bytes.chunks(32) {
            let words: Vec<String> = line
                .chunks(8)
                .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
                .collect();
            writeln!(self.0, "    {}", words.join(" ")).unwrap();
        }
    }
}

const CLAIM: u64 = 0x0000_0007_0000_0102;

fn down_entries() -> Vec<(&'static str, Entry)> {
    let of = |kind| Entry { kind, ..Entry::default() };
    let at = place(1, 0x0000_1122_3344_5540);
    vec![
        (
            "EVENT",
            Entry {
                flags: down_flag::LINK | down_flag::WANT_LOGS,
                aux: 0x0304,
                value: 0x190,
                claim: CLAIM,
                a: at,
                b: 0x0102_0304_0506_0708,
                c: 0x0010_0001,
                d: 2,
                ..of(down::EVENT)
            },
        ),
        ("BODY_CHUNK", Entry { value: 0x1_0001, claim: CLAIM, a: at, ..of(down::BODY_CHUNK) }),
        ("BODY_END", Entry { aux: 1, claim: CLAIM, ..of(down::BODY_END) }),
        ("CREDIT", Entry { value: 3, claim: CLAIM, ..of(down::CREDIT) }),
        ("CANCEL", Entry { aux: 1, claim: CLAIM, ..of(down::CANCEL) }),
        (
            "RSP_RELEASE",
            Entry {
                value: 6,
                a: block(0, 0x100),
                b: block(0x100, 1),
                c: block(0x400, 0x201),
                d: block(0x1_0000, 0xffff),
                e: block(0x10_0000, 0x8_0000),
                f: block(0x7f_ff00, 0x100),
                ..of(down::RSP_RELEASE)
            },
        ),
        (
            "CALL_RESULT",
            Entry { aux: 200, value: 0x55, claim: CLAIM, a: 9, b: at, ..of(down::CALL_RESULT) },
        ),
        ("MAP_SEG", Entry { value: 2, a: 0x0400_0000, ..of(down::MAP_SEG) }),
        ("UNMAP_SEG", Entry { value: 2, ..of(down::UNMAP_SEG) }),
        ("DRAIN", Entry { aux: 0x0304, ..of(down::DRAIN) }),
        ("STOP", of(down::STOP)),
        ("PING", Entry { value: 0xdead_beef, ..of(down::PING) }),
    ]
}

fn up_entries() -> Vec<(&'static str, Entry)> {
    let of = |kind| Entry { kind, ..Entry::default() };
    let head = u64::from(content_type::JSON) << 8 | u64::from(outcome::OK);
    let (token_a, token_b, token_c) = (0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09, 0x18);
    let response = Entry { aux: 200, claim: CLAIM, d: 0x0001_0020, ..of(up::RESPONSE) };
    vec![
        ("READY", Entry { value: 64, ..of(up::READY) }),
        (
            "INIT_FAILED",
            Entry {
                aux: init_failed::USAGE,
                value: 0x45,
                a: block(0x300, 0),
                ..of(up::INIT_FAILED)
            },
        ),
        (
            "RESPONSE, whole",
            Entry {
                flags: up_flag::HAS_HEAD | up_flag::LAST | up_flag::REQ_RELEASED,
                value: 0x1234,
                a: block(0x500, 0x2c),
                c: 0x0009_c400 << 32 | head,
                ..response
            },
        ),
        (
            "RESPONSE, a range of the event's own body",
            Entry {
                flags: up_flag::BODY_IN_Q | up_flag::LAST,
                value: 0x400,
                b: 0x10,
                c: 0x11 << 32 | head,
                ..response
            },
        ),
        (
            "RESPONSE, the first of several pieces",
            Entry { value: 0x20_0000, a: block(0x20_0000, 0), c: head, e: 0x50_0001, ..response },
        ),
        (
            "RESPONSE, to be tried again",
            Entry {
                flags: up_flag::LAST,
                aux: 0,
                c: u64::from(outcome::RETRY),
                f: 1_500_000_000,
                ..response
            },
        ),
        (
            "CHUNK",
            Entry { value: 0x10_0000, claim: CLAIM, a: block(0x40_0000, 0), ..of(up::CHUNK) },
        ),
        ("END", Entry { aux: 1, claim: CLAIM, ..of(up::END) }),
        ("REQ_RELEASE", Entry { claim: CLAIM, ..of(up::REQ_RELEASE) }),
        ("ACK", Entry { a: token_a, b: token_b, c: token_c, ..of(up::ACK) }),
        ("NACK", Entry { a: token_a, b: token_b, c: token_c, f: 250_000_000, ..of(up::NACK) }),
        ("CALL", Entry { value: 0x66, claim: CLAIM, a: 9, b: block(0x700, 0), ..of(up::CALL) }),
        ("DRAINED", Entry { aux: 0x0304, ..of(up::DRAINED) }),
        ("SKIPPED", Entry { claim: CLAIM, ..of(up::SKIPPED) }),
        ("PONG", Entry { value: 0xdead_beef, ..of(up::PONG) }),
        ("UNSUPPORTED", Entry { aux: 128, ..of(up::UNSUPPORTED) }),
        ("BODY_TAKEN", Entry { value: 2, claim: CLAIM, ..of(up::BODY_TAKEN) }),
    ]
}

/// A request as it lies in its slot: `POST /hook?a=1` with one header line and a body of 4 bytes.
fn event_in_slot() -> Vec<u8> {
    let raw_at = header::raw_offset(1, 1);
    let raw = b"/hooka=1application/json00-trace-01\x81\xa1k\x01x-keyvalue{\"\"}";
    let mut at = raw_at as u32;
    let mut next = |length: u32| {
        at += length;
        Range { offset: at - length, length }
    };
    let mut event = EventHeader {
        kind: event_kind::HTTP,
        method: 3,
        trigger: 0x0304,
        attempt: 1,
        timestamp_ns: 0x1718_1920_2122_2324,
        ack_token: std::array::from_fn(|i| i as u8 + 1),
        flags: event_flag::ID_IN_TOKEN,
        path: next(5),
        query: next(3),
        content_type: next(16),
        traceparent: next(11),
        ext: next(4),
        body_bytes: 4,
        ..Default::default()
    };
    let line = HeaderEntry { name: next(5), value: next(5) };
    let body_at = u64::from(next(4).offset);
    let slot_at = 0x0001_4000;
    let body = Extent { segment: 0, length: 4, offset: slot_at + body_at };
    let mut slot = vec![0; raw_at + raw.len()];
    header::write(&mut slot, &mut event, [line].into_iter(), &[body]);
    slot[raw_at..].copy_from_slice(raw);
    slot
}

/// A header with each field different, as a stream record has it.
fn stream_header() -> EventHeader {
    let range = |n: u32| Range { offset: 0x100 * n, length: n };
    EventHeader {
        kind: event_kind::STREAM,
        method: 0,
        header_count: 2,
        trigger: 5,
        attempt: 3,
        timestamp_ns: 0x1112_1314_1516_1718,
        offset: 0x2122_2324_2526_2728,
        partition: 0x3132_3334,
        shard: 0x4142_4344,
        ack_token: std::array::from_fn(|i| 0x50 + i as u8),
        id: range(1),
        path: range(2),
        query: range(3),
        content_type: range(4),
        key: range(5),
        topic: range(6),
        traceparent: range(7),
        ext: range(8),
        extent_count: 1,
        flags: event_flag::LAST_IN_BATCH,
        body_bytes: 0x0061_6263,
    }
}

/// The bytes of a log ring.
#[derive(Clone, Default)]
struct LogBytes(Rc<RefCell<Vec<u8>>>);

impl LogMem for LogBytes {
    fn load(&self, _: LogWord, _: Ordering) -> u32 {
        0
    }
    fn store(&self, _: LogWord, _: u32, _: Ordering) {}
    fn read(&self, _: usize, _: &mut [u8]) {}
    fn write(&self, place: usize, bytes: &[u8]) {
        let mut all = self.0.borrow_mut();
        let end = all.len().max(place + bytes.len());
        all.resize(end, 0);
        all[place..place + bytes.len()].copy_from_slice(bytes);
    }
}

fn log_record() -> Vec<u8> {
    let bytes = LogBytes::default();
    let mut writer = LogWriter::over(bytes.clone(), 4096, 0);
    let head = LogHead {
        claim: CLAIM,
        time_ns: 0x1718_1920_2122_2324,
        level: 2,
        origin: 3,
        ..Default::default()
    };
    writer.append(head, b"message", b"{\"k\":1}");
    let mut all = bytes.0.take();
    all.resize(writer.position() as usize, 0);
    all
}

fn offer(event_memory: [u64; 2]) -> Offer {
    Offer {
        worker_id: 3,
        function: "hello".into(),
        namespace: "default".into(),
        version: "latest".into(),
        description: "says hello".into(),
        handler: "hello:handler".into(),
        code_path: "/opt/hello.py".into(),
        triggers: vec![TriggerOffer { id: 0, kind: "http".into(), name: "default-http".into() }],
        event_timeout_ns: 30_000_000_000,
        log_level: 1,
        settings: [("key".to_owned(), "value".to_owned())].into(),
        ..Default::default()
    }
    .with_sizes(64, 8 << 20, event_memory)
}

/// Hands one packet on, and says what it was.
fn tap(from: &OwnedFd, to: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE_BYTES_MAX];
    let (count, fds) = receive_with_fds(from.as_fd(), &mut bytes).unwrap();
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    send_with_fds(to.as_fd(), &bytes[..count], &fds).unwrap();
    bytes.truncate(count);
    bytes
}

fn blocking_pair() -> (OwnedFd, OwnedFd) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (a, b) = socket_pair().unwrap();
    fcntl(&a, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (a, b)
}

/// A whole handshake, overheard between the two ends.
fn handshake() -> Vec<(&'static str, Vec<u8>)> {
    let slots = Slots::new(8 << 20).unwrap();
    let (to_worker, worker_socket) = blocking_pair();
    let (processor_socket, to_processor) = socket_pair().unwrap();
    let offer = offer(slots.segment_bytes());
    let mut processor = ProcessorHandshake::new(processor_socket, offer, slots.fds());
    let worker = std::thread::spawn(move || attach_worker(worker_socket, "python", "3.13.0"));
    let mut packets = vec![("HELLO", tap(&to_worker, &to_processor))];
    assert!(matches!(processor.step().unwrap(), Step::Wait));
    packets.push(("OFFER", tap(&to_processor, &to_worker)));
    packets.push(("ACCEPT", tap(&to_worker, &to_processor)));
    assert!(matches!(processor.step().unwrap(), Step::Wait));
    packets.push(("DESCRIPTORS", tap(&to_processor, &to_worker)));
    packets.push(("ATTACHED", tap(&to_worker, &to_processor)));
    assert!(matches!(processor.step().unwrap(), Step::Done(_)));
    worker.join().unwrap().unwrap();
    packets
}

fn numbers(golden: &mut Golden) {
    golden.section("Numbers");
    golden.number("ABI_MAJOR", abi::ABI_MAJOR);
    golden.number("ABI_MINOR", abi::ABI_MINOR);
    golden.number("down.OPTIONAL_FROM", down::OPTIONAL_FROM);
    for (name, value) in [
        ("down_flag.LINK", down_flag::LINK),
        ("down_flag.BATCH_MORE", down_flag::BATCH_MORE),
        ("down_flag.LAST", down_flag::LAST),
        ("down_flag.WANT_LOGS", down_flag::WANT_LOGS),
        ("up_flag.REQ_RELEASED", up_flag::REQ_RELEASED),
        ("up_flag.BODY_IN_Q", up_flag::BODY_IN_Q),
        ("up_flag.BODY_IN_FD", up_flag::BODY_IN_FD),
        ("up_flag.HAS_HEAD", up_flag::HAS_HEAD),
        ("up_flag.LAST", up_flag::LAST),
        ("outcome.OK", outcome::OK),
        ("outcome.ERROR", outcome::ERROR),
        ("outcome.RETRY", outcome::RETRY),
        ("outcome.REJECT", outcome::REJECT),
        ("outcome.DEFERRED", outcome::DEFERRED),
        ("content_type.NONE", content_type::NONE),
        ("content_type.TEXT", content_type::TEXT),
        ("content_type.JSON", content_type::JSON),
        ("content_type.BYTES", content_type::BYTES),
        ("content_type.HTML", content_type::HTML),
        ("event_kind.HTTP", event_kind::HTTP),
        ("event_kind.STREAM", event_kind::STREAM),
        ("event_kind.QUEUE", event_kind::QUEUE),
        ("event_kind.SCHEDULE", event_kind::SCHEDULE),
        ("event_kind.POLLING", event_kind::POLLING),
        ("event_kind.ASYNC", event_kind::ASYNC),
    ] {
        golden.number(name, value);
    }
    for (name, value) in [
        ("init_failed.FAILED", init_failed::FAILED),
        ("init_failed.USAGE", init_failed::USAGE),
        ("event_flag.ID_IN_TOKEN", event_flag::ID_IN_TOKEN),
        ("event_flag.BODY_STREAMED", event_flag::BODY_STREAMED),
        ("event_flag.LAST_IN_BATCH", event_flag::LAST_IN_BATCH),
    ] {
        golden.number(name, value);
    }
}

fn places(golden: &mut Golden) {
    golden.section(
        "Where words lie in a worker's segments, and a layout (see OFFER below for sizes)",
    );
    let layout = offer([0; 2]).layout();
    for (name, at) in [
        ("D.SQ_TAIL", d_word::SQ_TAIL),
        ("D.CQ_HEAD", d_word::CQ_HEAD),
        ("D.CQ_WAKE_AT", d_word::CQ_WAKE_AT),
        ("D.SQ_SPACE_WAKE_AT", d_word::SQ_SPACE_WAKE_AT),
        ("D.LOG_HEAD", d_word::LOG_HEAD),
        ("D.LOG_WAKE_AT", d_word::LOG_WAKE_AT),
        ("D.RECALL", d_word::RECALL),
        ("D.CANCEL", d_word::CANCEL),
        ("U.CQ_TAIL", u_word::CQ_TAIL),
        ("U.SQ_HEAD", u_word::SQ_HEAD),
        ("U.SQ_WAKE_AT", u_word::SQ_WAKE_AT),
        ("U.CQ_SPACE_WAKE_AT", u_word::CQ_SPACE_WAKE_AT),
        ("U.STARTED", u_word::STARTED),
        ("U.LOG_TAIL", u_word::LOG_TAIL),
        ("U.LOG_DROPPED", u_word::LOG_DROPPED),
        ("U.ARENA_WAIT", u_word::ARENA_WAIT),
        ("U.ENTRIES", u_word::ENTRIES),
        ("layout.D.entries", layout.sq_entries()),
        ("layout.D.bytes", layout.d_bytes()),
        ("layout.U.arena", layout.arena()),
        ("layout.U.log", layout.log()),
        ("layout.U.bytes", layout.u_bytes()),
    ] {
        golden.number(name, at as u64);
    }
    assert_eq!(layout.tags, tags(64));
}

fn golden() -> String {
    let mut golden = Golden(
        "# Bytes of the shared-memory protocol, from fixed values. Written and compared by\n\
         # rings/tests/golden.rs, which says what each item stands for; README.md explains them.\n"
            .to_owned(),
    );
    numbers(&mut golden);
    places(&mut golden);
    golden.section("Entries that go down");
    for (name, entry) in down_entries() {
        golden.bytes(name, entry.as_bytes());
    }
    golden.section("Entries that go up");
    for (name, entry) in up_entries() {
        golden.bytes(name, entry.as_bytes());
    }
    golden.section("Events");
    golden.bytes("header of a stream record", stream_header().as_bytes());
    golden.bytes("a request in its slot", &event_in_slot());
    golden.section("A log record");
    golden.bytes("log record", &log_record());
    golden.section("A handshake");
    for (name, packet) in handshake() {
        golden.bytes(name, &packet);
    }
    golden.0
}

#[test]
fn the_bytes_are_those_written_down() {
    let (path, found) = (docs("golden.txt"), golden());
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(&path, &found).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(found.lines()).find(|(written, found)| written != found);
    assert!(
        written == found,
        "docs/abi/golden.txt differs from the code, first in (written, found) {differs:?}; if the \
         protocol is meant to change, UPDATE=1 writes it anew"
    );
}

/// Nothing goes over the rings that the document does not explain.
#[test]
fn the_document_names_every_kind_and_word() {
    let text = std::fs::read_to_string(docs("README.md")).unwrap();
    let kinds = down_entries().into_iter().chain(up_entries()).map(|(name, _)| name.to_owned());
    let mut numbers = Golden(String::new());
    self::numbers(&mut numbers);
    places(&mut numbers);
    let words = numbers.0.lines().filter_map(|line| line.split_once(" = "));
    let words = words.filter_map(|(name, _)| name.rsplit('.').next()).map(str::to_owned);
    for name in kinds.chain(words).filter(|name| !name.contains(char::is_lowercase)) {
        assert!(text.contains(&format!("`{name}`")), "docs/abi/README.md does not name `{name}`");
    }
}
