//! Ping-pong of one cache line: the asking and the answering side, both spinning.
//!
//! The floor below every ring. No entry, no bell, no check.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::shared_line::SharedLines;

const PING: usize = 0;
const PONG: usize = 1;
/// Far above any round trip, so that the clock is read only when something is wrong.
const SPINS_BETWEEN_CLOCKS: u32 = 1 << 20;
/// A side that hears nothing for so long gives up: nobody may spin for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Spins, and fails when the other side stays silent.
#[derive(Default)]
pub struct Spin {
    count: u32,
    silent_since: Option<Instant>,
}

impl Spin {
    /// One more look has found nothing.
    pub fn again(&mut self) -> Result<()> {
        std::hint::spin_loop();
        self.count += 1;
        if self.count < SPINS_BETWEEN_CLOCKS {
            return Ok(());
        }
        self.count = 0;
        let silence = self.silent_since.get_or_insert_with(Instant::now).elapsed();
        ensure!(silence < PATIENCE, "the other process has been silent for {silence:?}");
        Ok(())
    }
}

/// The side that asks.
pub struct Asker<'a> {
    lines: &'a SharedLines,
    last: u64,
}

impl<'a> Asker<'a> {
    pub fn new(lines: &'a SharedLines) -> Self {
        Self { lines, last: 0 }
    }

    /// Asks `rounds` times; nanoseconds of one round trip, the mean.
    pub fn time_batch(&mut self, rounds: u32) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..rounds {
            self.last += 1;
            self.lines.word(PING).store(self.last, Ordering::Release);
            wait_for_change(self.lines.word(PONG), self.last - 1)?;
        }
        Ok(start.elapsed().as_nanos() as f64 / f64::from(rounds))
    }
}

/// The side that answers.
pub struct Answerer<'a> {
    lines: &'a SharedLines,
    seen: u64,
}

impl<'a> Answerer<'a> {
    pub fn new(lines: &'a SharedLines) -> Self {
        Self { lines, seen: 0 }
    }

    /// Answers the next `rounds` questions.
    pub fn answer(&mut self, rounds: u32) -> Result<()> {
        for _ in 0..rounds {
            self.seen = wait_for_change(self.lines.word(PING), self.seen)?;
            self.lines.word(PONG).store(self.seen, Ordering::Release);
        }
        Ok(())
    }
}

fn wait_for_change(word: &AtomicU64, old: u64) -> Result<u64> {
    let mut spin = Spin::default();
    loop {
        let value = word.load(Ordering::Acquire);
        if value != old {
            return Ok(value);
        }
        spin.again()?;
    }
}
