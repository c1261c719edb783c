//! Figures as JSON for programs: one row a worker, and the counters of the data thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Source;
use crate::crossing::{BUCKET_BOUNDS_S, Histogram, Snapshot, WorkerSnapshot};
use crate::workers::board::WorkerRow;

/// `GET /api/workers`
pub async fn workers(State(source): State<Arc<Source>>) -> Json<Value> {
    let snapshot = source.snapshot().await.unwrap_or_default();
    let rows = source.board.read();
    Json(rows.iter().map(|row| worker(row, &snapshot)).collect())
}

fn worker(row: &WorkerRow, snapshot: &Snapshot) -> Value {
    let known = snapshot.workers.iter().find(|worker| worker.id == row.id && row.pid != 0);
    let nothing = WorkerSnapshot::default();
    let figures = known.unwrap_or(&nothing);
    let state = if known.is_some_and(|w| w.draining) { "draining" } else { row.state.name() };
    let uptime_ms = row.started.map_or(0, |at| at.elapsed().as_millis() as u64);
    json!({
        "id": row.id,
        "pid": row.pid,
        "pool": &*row.pool,
        "state": state,
        "generation": row.generation,
        "in_flight": figures.in_flight,
        "handed_ahead": figures.handed_ahead,
        "completed": figures.completed,
        "restarts": row.restarts,
        "last_death": row.last_death,
        "uptime_ms": uptime_ms,
    })
}

/// `GET /api/stats`
pub async fn stats(State(source): State<Arc<Source>>) -> Result<Json<Value>, StatusCode> {
    let snapshot = source.snapshot().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let mut page = figures(&snapshot, source.log.dropped());
    page["function"] = source.function.clone().into();
    page["namespace"] = source.namespace.clone().into();
    page["uptime_ms"] = (source.started.elapsed().as_millis() as u64).into();
    page["open_descriptors"] = open_descriptors().into();
    Ok(Json(page))
}

fn figures(snapshot: &Snapshot, log_dropped: u64) -> Value {
    let slots: BTreeMap<String, Value> = snapshot
        .slots
        .iter()
        .map(|class| {
            (class.slot_bytes.to_string(), json!({ "total": class.total, "used": class.used }))
        })
        .collect();
    let sum = |of: fn(&crate::crossing::TriggerSnapshot) -> u64| -> u64 {
        snapshot.triggers.iter().map(of).sum()
    };
    let counters = &snapshot.counters;
    json!({
        "ready": snapshot.ready,
        "draining": snapshot.draining,
        "slots": slots,
        "connections": snapshot.connections,
        "pending": sum(|trigger| u64::from(trigger.pending)),
        "in_flight": sum(|trigger| u64::from(trigger.in_flight)),
        "counters": {
            "events": counters.events,
            "handled": {
                "success": sum(|trigger| trigger.handled_ok),
                "failure": sum(|trigger| trigger.handled_error),
            },
            "redispatched": counters.redispatched,
            "recalled": counters.recalled,
            "timed_out": counters.timed_out,
            "rejected_full": counters.rejected_full,
            "violations": counters.violations,
            "bells_down": counters.bells_down,
            "bells_up": counters.bells_up,
            "polls": counters.polls,
            "wakeup_rescues": counters.wakeup_rescues,
            "log_dropped": log_dropped,
            "bad_requests": counters.bad_requests,
            "connections_accepted": counters.connections_accepted,
            "connections_cut": counters.connections_cut,
            "redispatch_ns_median_at_most": median_at_most(&counters.redispatch),
            "redispatch_ns_max": counters.redispatch_ns_max,
        },
    })
}

/// The upper bound of the bucket that holds the median; null where there is none.
fn median_at_most(histogram: &Histogram) -> Option<u64> {
    let mut below = 0;
    let bucket = histogram.buckets.iter().position(|count| {
        below += count;
        2 * below >= histogram.count.max(1)
    });
    Some((BUCKET_BOUNDS_S.get(bucket?)? * 1e9) as u64)
}

/// Without the one that is open for counting.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crossing::{SlotClassSnapshot, TriggerSnapshot};
    use crate::workers::board::RowState;

    #[test]
    fn a_row_joins_both_sides() {
        let row = WorkerRow {
            id: 3,
            pid: 42,
            pool: "web".into(),
            state: RowState::Ready,
            generation: 2,
            restarts: 1,
            last_death: Some("exit code 1".into()),
            started: None,
        };
        let mut of_data =
            WorkerSnapshot { id: 3, in_flight: 5, completed: 7, ..Default::default() };
        let snapshot = Snapshot { workers: vec![of_data.clone()], ..Snapshot::default() };
        let page = worker(&row, &snapshot);
        assert_eq!((&page["state"], &page["in_flight"]), (&json!("ready"), &json!(5)));
        assert_eq!((&page["completed"], &page["last_death"]), (&json!(7), &json!("exit code 1")));
        of_data.draining = true;
        let snapshot = Snapshot { workers: vec![of_data], ..Snapshot::default() };
        assert_eq!(worker(&row, &snapshot)["state"], "draining");
        let dead = WorkerRow { pid: 0, state: RowState::Backoff, last_death: None, ..row };
        let page = worker(&dead, &snapshot);
        assert_eq!((&page["state"], &page["last_death"]), (&json!("backoff"), &Value::Null));
    }

    #[test]
    fn a_median_is_told_by_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(median_at_most(&histogram), None);
        (histogram.buckets[0], histogram.buckets[3], histogram.count) = (1, 2, 3);
        assert_eq!(median_at_most(&histogram), Some(1_000_000));
        (histogram.buckets[14], histogram.count) = (9, 12);
        assert_eq!(median_at_most(&histogram), None);
    }

    #[test]
    fn figures_are_summed_over_triggers() {
        let trigger = TriggerSnapshot { pending: 2, handled_ok: 3, ..Default::default() };
        let class = SlotClassSnapshot { slot_bytes: 512, total: 10, used: 1 };
        let snapshot = Snapshot {
            triggers: vec![trigger.clone(), trigger],
            slots: vec![class],
            ..Snapshot::default()
        };
        let page = figures(&snapshot, 9);
        assert_eq!(page["pending"], 4);
        assert_eq!(page["counters"]["handled"]["success"], 6);
        assert_eq!(page["slots"]["512"], json!({ "total": 10, "used": 1 }));
        assert_eq!(page["counters"]["log_dropped"], 9);
    }
}
