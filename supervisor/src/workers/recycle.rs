//! Recycling: a worker that has answered many events, is old or has grown is replaced between two
//! events. First the fresh one is ready, then the worn one gets no more events: there is no gap.
//!
//! In each pool one fresh worker is started at a time, so that the pool is never cold as a whole.

use std::time::{Duration, Instant};

use spec::Recycle;

use super::pool::{Fate, Phase, Pool, Worker};
use super::restart::{Action, Death, Restart};
use crate::crossing::{ToData, WorkerId};
use crate::log::now_ns;

/// Limits of events and age differ by up to this much either way, so that workers that were started
/// together do not all become worn together.
const JITTER_PERCENT: u64 = 10;
/// Memory is looked at this often: a leak is slow, and a look costs a system call or three.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A worker that is above its memory as soon as it is ready would be replaced again and again; it is
/// left alone for this long.
const FRESH_AND_LARGE_PAUSE: Duration = Duration::from_secs(60);
/// A shorter age than this would keep a processor busy with starts.
const AGE_MIN: Duration = Duration::from_secs(1);

/// How worn one worker is.
#[derive(Debug, Default)]
pub(super) struct Wear {
    /// Why it is to be replaced.
    why: Option<String>,
    too_old_at: Option<Instant>,
    memory_counts_from: Option<Instant>,
}

/// What is known beside the workers themselves.
pub(super) struct Recycler {
    plan: Recycle,
    look_at: Option<Instant>,
    warned: bool,
    pools: Vec<Pace>,
}

/// After a fresh worker could not be started in a pool, the next one waits, by `restart.rs`.
#[derive(Default, Clone)]
struct Pace {
    restart: Restart,
    not_before: Option<Instant>,
}

impl Recycler {
    pub(super) fn new(plan: Recycle, pools: usize) -> Recycler {
        Recycler { plan, look_at: None, warned: false, pools: vec![Pace::default(); pools] }
    }

    /// Events after which this worker says that it is worn.
    pub(super) fn events(&self, id: WorkerId) -> u64 {
        self.plan.events.map_or(u64::MAX, |events| jittered(events, random(id)))
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.look_at.into_iter().chain(self.pools.iter().filter_map(|pace| pace.not_before)).min()
    }
}

impl Wear {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.too_old_at
    }
}

impl Pool {
    /// A worker of the data thread's has answered as many events as it may.
    pub(super) fn has_answered_enough(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.wear.why = Some("it has answered enough events (spec.recycle.events)".into());
        }
    }

    /// A worker has become ready: its clock starts, and the one it was started for may go.
    pub(super) fn begin_wear(&mut self, id: WorkerId) {
        let now = Instant::now();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let plan = &self.recycler.plan;
        worker.wear.too_old_at = plan.age.map(|age| {
            let ns = u64::try_from(age.max(AGE_MIN).as_nanos()).unwrap_or(u64::MAX);
            now + Duration::from_nanos(jittered(ns, random(id)))
        });
        if let Some(limit) = plan.memory.map(|size| size.0) {
            self.recycler.look_at.get_or_insert(now + LOOK_EVERY);
            let fresh = memory_of(worker.pid).unwrap_or(0);
            if fresh > limit {
                worker.wear.memory_counts_from = Some(now + FRESH_AND_LARGE_PAUSE);
                self.warn_of_large_start(fresh);
            }
        }
        self.relieve(id);
    }

    fn warn_of_large_start(&mut self, fresh: u64) {
        if !std::mem::replace(&mut self.recycler.warned, true) {
            let pause = FRESH_AND_LARGE_PAUSE.as_secs();
            self.links.log.warn(format!(
                "spec.recycle.memory is less than a fresh worker needs ({} Mi): each is replaced \
                 every {pause} s; write more",
                fresh >> 20
            ));
        }
    }

    /// Two serve in one place: the one that was there before gets no more events.
    fn relieve(&mut self, id: WorkerId) {
        let Some(fresh) = self.workers.get(&id) else { return };
        let (seat, generation) = (fresh.seat, fresh.generation);
        let is_worn = |(other, w): &(&WorkerId, &mut Worker)| {
            let is_same_place = w.seat == seat && w.generation == generation && **other != id;
            is_same_place && w.is_ready() && w.fate == Fate::Open
        };
        let mut worn = Vec::new();
        for (other, worker) in self.workers.iter_mut().filter(is_worn) {
            worker.fate = Fate::Retired;
            worn.push(*other);
        }
        for other in worn {
            self.tell_data(ToData::RetireWorker { id: other });
            self.recycler.pools[self.seats[seat].pool] = Pace::default();
            self.links.log.debug(format!("worker {id} serves in the place of worker {other}"));
        }
    }

    /// A worker ended before it was ready; if it was to relieve another, the next try waits.
    pub(super) fn relief_failed(&mut self, seat: usize) {
        if !self.workers.values().any(|w| w.seat == seat && serves(w)) {
            return;
        }
        let pace = &mut self.recycler.pools[self.seats[seat].pool];
        let death = Death { was_ready: false, completed: 0, overdue: false };
        if let Action::After(pause) | Action::CrashLoop(pause) =
            pace.restart.next(death, now_ns() as u32)
        {
            pace.not_before = Some(Instant::now() + pause);
        }
    }

    pub(super) fn run_recycling(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            if worker.wear.too_old_at.is_some_and(|at| at <= now) {
                worker.wear.too_old_at = None;
                let why = "it is old enough (spec.recycle.age)".to_string();
                worker.wear.why.get_or_insert(why);
            }
        }
        if self.recycler.look_at.is_some_and(|at| at <= now) {
            self.recycler.look_at = Some(now + LOOK_EVERY);
            self.look_at_memory(now);
        }
        for pace in &mut self.recycler.pools {
            pace.not_before = pace.not_before.filter(|at| *at > now);
        }
        if self.phase == Phase::Serving && self.reload.is_none() && self.exit.is_none() {
            for pool in 0..self.config.pools.len() {
                self.recycle_one(pool);
            }
        }
    }

    fn look_at_memory(&mut self, now: Instant) {
        let Some(limit) = self.recycler.plan.memory.map(|size| size.0) else { return };
        let unworn = |w: &&mut Worker| serves(w) && w.wear.why.is_none();
        for worker in self.workers.values_mut().filter(unworn) {
            let counts = worker.wear.memory_counts_from.is_none_or(|from| from <= now);
            if let Some(bytes) = memory_of(worker.pid).filter(|bytes| counts && *bytes > limit) {
                let why = format!("it uses {} Mi (spec.recycle.memory)", bytes >> 20);
                worker.wear.why = Some(why);
            }
        }
    }

    /// Starts a fresh worker for the most worn place of a pool, if the pool is whole otherwise.
    fn recycle_one(&mut self, pool: usize) {
        let is_here = |w: &Worker| self.seats[w.seat].pool == pool;
        let is_worn = |w: &&Worker| is_here(w) && serves(w) && w.wear.why.is_some();
        let Some(worn) = self.workers.values().find(is_worn) else { return };
        if self.recycler.pools[pool].not_before.is_some() || !self.is_whole(pool) {
            return;
        }
        let seat = worn.seat;
        let why = worn.wear.why.clone().unwrap_or_default();
        let pid = worn.pid;
        self.links.log.info(format!("the worker with pid {pid} is replaced: {why}"));
        self.spawn_into(seat, self.serving);
    }

    /// Whether nothing is being started in a pool, and not too many replaced workers still finish
    /// their events: a pool never has more than twice its processes.
    fn is_whole(&self, pool: usize) -> bool {
        let mut seats = self.seats.iter().enumerate().filter(|(_, seat)| seat.pool == pool);
        if seats.any(|(index, seat)| seat.due.is_some() || self.zygote.owes(index)) {
            return false;
        }
        let mine = || self.workers.values().filter(|w| self.seats[w.seat].pool == pool);
        let places = self.config.pools[pool].worker_count as usize;
        let serving = mine().filter(|w| serves(w)).count();
        serving == places && mine().count() < 2 * places
    }
}

fn serves(worker: &Worker) -> bool {
    worker.is_ready() && worker.fate == Fate::Open
}

/// Resident bytes, without the event memory that a worker shares with the processor.
fn memory_of(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(resident(&status))
}

fn resident(status: &str) -> u64 {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("RssAnon:") + kib("RssFile:")) << 10
}

/// Clock and number of the worker are random enough for a jitter.
fn random(id: WorkerId) -> u64 {
    now_ns() ^ u64::from(id)
}

fn jittered(limit: u64, random: u64) -> u64 {
    let percent = 100 - JITTER_PERCENT + random % (2 * JITTER_PERCENT + 1);
    let scaled = u128::from(limit) * u128::from(percent) / 100;
    u64::try_from(scaled).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        for random in [0, 10, 20, 21, u64::MAX] {
            let limit = jittered(1000, random);
            assert!((900..=1100).contains(&limit), "{limit}");
        }
        assert_eq!((jittered(1, 0), jittered(u64::MAX, 20)), (1, u64::MAX));
    }

    #[test]
    fn shared_memory_is_not_counted() {
        let status = "Name:\tx\nRssAnon:\t    2048 kB\nRssFile:\t 1024 kB\nRssShmem:\t 9999 kB\n";
        assert_eq!(resident(status), 3 << 20);
        assert!(memory_of(std::process::id() as i32).unwrap() > 0);
        assert_eq!(memory_of(-1), None);
    }
}
