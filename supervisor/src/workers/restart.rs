//! Decides when a dead worker is replaced.
//!
//! Pure: no clock, no random numbers of its own, no processes.

use std::time::Duration;

/// First pause after a death that counts; doubled for each further one in a row.
const PAUSE_MS_FIRST: u64 = 100;
/// Longest pause: long enough to cost nothing, short enough that a cured cause is noticed.
const PAUSE_MS_MAX: u64 = 30_000;
/// Pauses differ by up to this much either way, so that workers do not all start at once.
const JITTER_PERCENT: u64 = 20;
/// Deaths in a row from which on the worker counts as unable to start.
pub const CRASH_LOOP_DEATHS: u32 = 5;

/// What is known of one death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    pub was_ready: bool,
    /// Events completed since it was ready.
    pub completed: u64,
    /// We ended it because an event ran past its time: that says nothing about starting.
    pub overdue: bool,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Now,
    After(Duration),
    /// After the pause as well, but meanwhile nobody should wait for this worker.
    CrashLoop(Duration),
}

/// The history of one place in a worker pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restart {
    fruitless_in_a_row: u32,
}

impl Restart {
    /// `random` is any number; it only moves the pause within its jitter.
    pub fn next(&mut self, death: Death, random: u32) -> Action {
        if death.overdue {
            return Action::Now;
        }
        if death.was_ready && death.completed > 0 {
            self.fruitless_in_a_row = 0;
            return Action::Now;
        }
        self.fruitless_in_a_row = self.fruitless_in_a_row.saturating_add(1);
        let pause = pause(self.fruitless_in_a_row, random);
        if self.in_crash_loop() { Action::CrashLoop(pause) } else { Action::After(pause) }
    }

    pub fn in_crash_loop(&self) -> bool {
        self.fruitless_in_a_row >= CRASH_LOOP_DEATHS
    }
}

fn pause(fruitless_in_a_row: u32, random: u32) -> Duration {
    let doublings = fruitless_in_a_row.saturating_sub(1).min(16);
    let base_ms = (PAUSE_MS_FIRST << doublings).min(PAUSE_MS_MAX);
    let percent = 100 - JITTER_PERCENT + u64::from(random) % (2 * JITTER_PERCENT + 1);
    Duration::from_millis(base_ms * percent / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE_READY: Death = Death { was_ready: false, completed: 0, overdue: false };
    const IDLE: Death = Death { was_ready: true, completed: 0, overdue: false };
    const AFTER_WORK: Death = Death { was_ready: true, completed: 1, overdue: false };
    const OVERDUE: Death = Death { was_ready: true, completed: 0, overdue: true };
    /// No jitter at all.
    const MIDDLE: u32 = 20;

    fn after(ms: u64) -> Action {
        Action::After(Duration::from_millis(ms))
    }

    fn crash_loop(ms: u64) -> Action {
        Action::CrashLoop(Duration::from_millis(ms))
    }

    #[test]
    fn tables() {
        let tables: [&[(Death, Action)]; 5] = [
            &[(AFTER_WORK, Action::Now), (AFTER_WORK, Action::Now), (AFTER_WORK, Action::Now)],
            &[(OVERDUE, Action::Now); 9],
            &[
                (BEFORE_READY, after(100)),
                (IDLE, after(200)),
                (BEFORE_READY, after(400)),
                (IDLE, after(800)),
                (BEFORE_READY, crash_loop(1600)),
                (BEFORE_READY, crash_loop(3200)),
                (BEFORE_READY, crash_loop(6400)),
                (BEFORE_READY, crash_loop(12_800)),
                (BEFORE_READY, crash_loop(25_600)),
                (BEFORE_READY, crash_loop(30_000)),
                (BEFORE_READY, crash_loop(30_000)),
            ],
            &[(IDLE, after(100)), (AFTER_WORK, Action::Now), (IDLE, after(100))],
            &[(IDLE, after(100)), (OVERDUE, Action::Now), (IDLE, after(200))],
        ];
        for table in tables {
            let mut restart = Restart::default();
            for (step, (death, action)) in table.iter().enumerate() {
                assert_eq!(restart.next(*death, MIDDLE), *action, "step {step} of {table:?}");
            }
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for random in [0, 1, 40, 41, u32::MAX] {
            let ms = pause(1, random).as_millis();
            assert!((80..=120).contains(&ms), "{ms}");
        }
        assert_eq!(pause(u32::MAX, 0), Duration::from_millis(24_000));
    }
}
