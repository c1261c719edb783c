//! The log ring: records come out whole and in order, none is lost but those counted as dropped,
//! and a sleeping reader is rung.

use std::rc::Rc;

use loom::sync::atomic::{AtomicU32, Ordering};
use rings::abi::LogHead;
use rings::log_ring::{LogMem, LogReader, LogWord, LogWriter};

use crate::shared::{Bell, End, check};

/// Two records without a message, or one with a message.
const CAPACITY: u32 = 64;
/// Records are padded to this, and so are the checker's cells.
const GRANULE: usize = 8;
/// The first record ends where the 32-bit circle does.
const START: u32 = 0u32.wrapping_sub(32);

#[derive(Clone)]
struct Ring(Rc<Cells>);

struct Cells {
    words: [AtomicU32; 4],
    bytes: Vec<loom::cell::Cell<[u8; GRANULE]>>,
}

impl LogMem for Ring {
    fn load(&self, word: LogWord, order: Ordering) -> u32 {
        self.0.words[word as usize].load(order)
    }
    fn store(&self, word: LogWord, value: u32, order: Ordering) {
        self.0.words[word as usize].store(value, order);
    }
    fn read(&self, place: usize, out: &mut [u8]) {
        for (at, byte) in (place..).zip(out) {
            *byte = self.0.bytes[at / GRANULE].get()[at % GRANULE];
        }
    }
    fn write(&self, place: usize, bytes: &[u8]) {
        for (at, byte) in (place..).zip(bytes) {
            let cell = &self.0.bytes[at / GRANULE];
            let mut granule = cell.get();
            granule[at % GRANULE] = *byte;
            cell.set(granule);
        }
    }
}

fn ring() -> (LogWriter<Ring>, LogReader<Ring>) {
    let cells = Cells {
        words: std::array::from_fn(|word| {
            AtomicU32::new(if word == LogWord::Dropped as usize { 0 } else { START })
        }),
        bytes: (0..CAPACITY as usize / GRANULE).map(|_| Default::default()).collect(),
    };
    let ring = Ring(Rc::new(cells));
    (LogWriter::over(ring.clone(), CAPACITY, START), LogReader::over(ring, CAPACITY, START))
}

fn write(writer: &mut LogWriter<Ring>, n: u64, message: &[u8]) -> bool {
    writer.append(LogHead { claim: n, time_ns: !n, ..Default::default() }, message, b"")
}

/// Takes what is there; returns the records' numbers.
fn take(reader: &mut LogReader<Ring>, message: &[u8], taken: &mut Vec<u64>) {
    while let Some(record) = reader.pop().unwrap() {
        assert_eq!(record.head.time_ns, !record.head.claim, "a torn record");
        assert_eq!(record.message, message);
        taken.push(record.head.claim);
    }
}

/// The reader sleeps whenever it finds nothing.
#[test]
fn a_sleeping_reader_is_rung() {
    check(None, || {
        let (mut writer, mut reader) = ring();
        let bell = Bell::default();
        let end = End::on(Bell::default());
        let bell_there = bell.clone();
        end.spawn(move || {
            for n in 0..2 {
                if write(&mut writer, n, b"") {
                    bell_there.ring();
                }
            }
        });
        let mut taken = Vec::new();
        while taken.len() < 2 {
            take(&mut reader, b"", &mut taken);
            if taken.len() < 2 && reader.arm() {
                bell.sleep();
            }
        }
        assert_eq!(taken, [0, 1]);
        assert_eq!(reader.newly_dropped(), 0);
    });
}

/// Nobody sleeps; records reuse the bytes of earlier ones and wrap around the end of the ring.
#[test]
fn records_are_whole_in_order_or_counted() {
    const MESSAGE: &[u8] = b"12345";
    check(None, || {
        let (mut writer, mut reader) = ring();
        let end = End::on(Bell::default());
        end.spawn(move || {
            for n in 0..3 {
                write(&mut writer, n, MESSAGE);
            }
        });
        let mut taken = Vec::new();
        take(&mut reader, MESSAGE, &mut taken);
        take(&mut reader, MESSAGE, &mut taken);
        end.wait();
        take(&mut reader, MESSAGE, &mut taken);
        assert!(taken.is_sorted() && taken.first() == Some(&0));
        assert_eq!(taken.len() as u32 + reader.newly_dropped(), 3);
    });
}
