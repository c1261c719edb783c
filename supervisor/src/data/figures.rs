//! Counters and estimates of the data thread: private cells, one increment an event.
//!
//! Pure; read by the admin side through a snapshot.

use crate::crossing::{BUCKET_BOUNDS_S, Histogram};

const BOUNDS_NS: [u64; BUCKET_BOUNDS_S.len()] = {
    let mut bounds = [0; BUCKET_BOUNDS_S.len()];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = (BUCKET_BOUNDS_S[i] * 1e9) as u64;
        i += 1;
    }
    bounds
};

/// Notes one duration.
pub fn observe(histogram: &mut Histogram, ns: u64) {
    let bucket = BOUNDS_NS.partition_point(|&bound| bound < ns);
    histogram.buckets[bucket] += 1;
    histogram.sum_ns += ns;
    histogram.count += 1;
}

/// A running estimate of the 99th percentile: up by much when exceeded, down by little otherwise,
/// so that it rests where one of a hundred exceeds it.
#[derive(Debug, Clone, Copy, Default)]
pub struct P99 {
    ns: f32,
}

impl P99 {
    /// Share of the estimate by which one observation above it raises it.
    const STEP: f32 = 0.1;
    /// Durations below are noise of the clock.
    const NS_MIN: f32 = 100.0;

    /// Notes one duration.
    pub fn observe(&mut self, ns: u32) {
        let ns = ns as f32;
        if self.ns == 0.0 {
            self.ns = ns.max(Self::NS_MIN);
        } else if ns > self.ns {
            self.ns = (self.ns * (1.0 + Self::STEP * 0.99)).min(ns.max(self.ns));
        } else {
            self.ns = (self.ns * (1.0 - Self::STEP * 0.01)).max(Self::NS_MIN);
        }
    }

    /// The estimate; `None` before the first observation.
    pub fn ns(&self) -> Option<u64> {
        (self.ns > 0.0).then_some(self.ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_of_its_bound() {
        let mut h = Histogram::default();
        for ns in [1, 100_000, 100_001, 10_000_000_000, 10_000_000_001] {
            observe(&mut h, ns);
        }
        assert_eq!((h.buckets[0], h.buckets[1], h.buckets[13], h.buckets[14]), (2, 1, 1, 1));
    }

    #[test]
    fn the_estimate_comes_near_the_99th_percentile() {
        let mut p99 = P99::default();
        for i in 0..100_000u32 {
            // 2 % take 50 us, the others up to 1 us.
            p99.observe(if i % 50 == 0 { 50_000 } else { i.wrapping_mul(2_654_435_761) % 1000 });
        }
        let ns = p99.ns().unwrap();
        assert!((10_000..=50_000).contains(&ns), "{ns}");
        for i in 0..100_000u32 {
            p99.observe(i.wrapping_mul(2_654_435_761) % 1000);
        }
        let ns = p99.ns().unwrap();
        assert!((700..=1100).contains(&ns), "{ns}");
    }
}
