//! Whether the processor lives, and whether it can take events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::Source;
use crate::crossing::Snapshot;

/// 200 while the data thread answers.
pub async fn livez(State(source): State<Arc<Source>>) -> (StatusCode, &'static str) {
    match source.snapshot().await {
        Some(_) => (StatusCode::OK, "ok\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the data thread does not answer\n"),
    }
}

/// 200 while a worker is ready and the processor is not on its way out.
pub async fn readyz(State(source): State<Arc<Source>>) -> (StatusCode, &'static str) {
    readiness(source.snapshot().await.as_deref())
}

fn readiness(snapshot: Option<&Snapshot>) -> (StatusCode, &'static str) {
    let not_yet = StatusCode::SERVICE_UNAVAILABLE;
    match snapshot {
        None => (not_yet, "the data thread does not answer\n"),
        Some(snapshot) if snapshot.draining => (not_yet, "draining\n"),
        Some(snapshot) if !snapshot.ready => (not_yet, "no worker is ready\n"),
        Some(_) => (StatusCode::OK, "ok\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_by_state() {
        let snapshot = |ready, draining| Snapshot { ready, draining, ..Snapshot::default() };
        assert_eq!(readiness(Some(&snapshot(true, false))).0, StatusCode::OK);
        for unready in [snapshot(false, false), snapshot(true, true), snapshot(false, true)] {
            assert_eq!(readiness(Some(&unready)).0, StatusCode::SERVICE_UNAVAILABLE);
        }
        assert_eq!(readiness(None).0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
