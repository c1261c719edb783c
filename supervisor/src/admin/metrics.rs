//! `GET /metrics`: one snapshot as Prometheus text.
//!
//! nuclio's names where it has one for the figure, ours otherwise. Nothing is counted here.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::Source;
use crate::crossing::{BUCKET_BOUNDS_S, Counters, Histogram, Snapshot, TriggerSnapshot};
use crate::workers::board::{RowState, WorkerRow};

/// `GET /metrics`
pub async fn page(State(source): State<Arc<Source>>) -> Response {
    let Some(snapshot) = source.snapshot().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the data thread does not answer\n")
            .into_response();
    };
    let figures = Figures {
        function: source.function.clone(),
        namespace: source.namespace.clone(),
        snapshot: *snapshot,
        rows: source.board.read(),
        log_dropped: source.log.dropped(),
    };
    match text(figures) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Debug)]
struct Figures {
    function: String,
    namespace: String,
    snapshot: Snapshot,
    rows: Vec<WorkerRow>,
    log_dropped: u64,
}

fn text(figures: Figures) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_handled(&mut encoder)?;
        self.encode_triggers(&mut encoder)?;
        self.encode_workers(&mut encoder)?;
        self.encode_memory(&mut encoder)?;
        self.encode_counters(&mut encoder)
    }
}

impl Figures {
    fn labels<'a>(&'a self, trigger: &'a TriggerSnapshot) -> Labels<'a> {
        vec![
            ("function", &self.function),
            ("namespace", &self.namespace),
            ("trigger", &trigger.name),
            ("trigger_kind", &trigger.kind),
        ]
    }

    fn encode_handled(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "nuclio_processor_handled_events",
            "Events that a handler has answered or failed",
            None,
            MetricType::Counter,
        )?;
        for trigger in &self.snapshot.triggers {
            let by_result = [("success", trigger.handled_ok), ("failure", trigger.handled_error)];
            for (result, count) in by_result {
                let mut labels = self.labels(trigger);
                labels.push(("result", result));
                member(&mut family, &labels, &ConstCounter::new(count))?;
            }
        }
        Ok(())
    }

    fn encode_triggers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let triggers = &self.snapshot.triggers;
        type Take = fn(&TriggerSnapshot) -> &Histogram;
        let histograms: [(&str, &str, Take); 2] = [
            ("nuclio_event_duration_seconds", "From arrival to answer", |t| &t.duration),
            ("nuclio_event_wait_seconds", "From arrival until a worker had it", |t| &t.wait),
        ];
        for (name, help, histogram) in histograms {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for trigger in triggers {
                member(&mut family, &self.labels(trigger), &Buckets(histogram(trigger)))?;
            }
        }
        type Count = fn(&TriggerSnapshot) -> u32;
        let gauges: [(&str, &str, Count); 2] = [
            ("nuclio_events_in_flight", "Events that workers have", |t| t.in_flight),
            ("nuclio_events_pending", "Events that wait for a worker", |t| t.pending),
        ];
        for (name, help, count) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for trigger in triggers {
                let value = ConstGauge::new(i64::from(count(trigger)));
                member(&mut family, &self.labels(trigger), &value)?;
            }
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let mut family =
            encoder.encode_descriptor("nuclio_workers", "Workers by state", None, gauge)?;
        for state in RowState::ALL {
            let count = self.rows.iter().filter(|row| row.state == state).count();
            let labels = [("state", state.name())];
            member(&mut family, &labels, &ConstGauge::new(count as i64))?;
        }
        let restarts: u64 = self.rows.iter().map(|row| row.restarts).sum();
        counter(encoder, "nuclio_worker_restarts", "Workers replaced after a death", restarts)
    }

    fn encode_memory(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = MetricType::Gauge;
        let mut family = encoder.encode_descriptor(
            "nuclio_slots",
            "Pieces of event memory by size and use",
            None,
            gauge,
        )?;
        for class in &self.snapshot.slots {
            let bytes = class.slot_bytes.to_string();
            for (state, count) in [("used", class.used), ("total", class.total)] {
                let labels = [("slot_bytes", bytes.as_str()), ("state", state)];
                member(&mut family, &labels, &ConstGauge::new(i64::from(count)))?;
            }
        }
        let connections = ConstGauge::new(self.snapshot.connections as i64);
        let metric = encoder.encode_descriptor(
            "nuclio_connections",
            "Open connections of clients",
            None,
            gauge,
        )?;
        connections.encode(metric)
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let c: &Counters = &self.snapshot.counters;
        let log_dropped = self.log_dropped;
        let counters = [
            ("nuclio_events", "Events taken in", c.events),
            ("nuclio_events_redispatched", "Events given to another worker", c.redispatched),
            ("nuclio_events_recalled", "Events taken back before they began", c.recalled),
            ("nuclio_events_timed_out", "Events that ran past eventTimeout", c.timed_out),
            (
                "nuclio_events_rejected",
                "Events refused for want of room or worker",
                c.rejected_full,
            ),
            ("nuclio_protocol_violations", "Workers ended for a broken ring", c.violations),
            ("nuclio_bells_down", "Wake-ups of workers", c.bells_down),
            ("nuclio_bells_up", "Wake-ups by workers", c.bells_up),
            ("nuclio_polls", "Turns of the data thread", c.polls),
            ("nuclio_wakeup_rescues", "Events found by the clock only", c.wakeup_rescues),
            ("nuclio_log_records_dropped", "Log records left out", log_dropped),
            ("nuclio_bad_requests", "Requests that no handler saw", c.bad_requests),
            ("nuclio_connections_accepted", "Connections accepted", c.connections_accepted),
            ("nuclio_connections_cut", "Connections closed by a limit", c.connections_cut),
        ];
        for (name, help, value) in counters {
            counter(encoder, name, help, value)?;
        }
        let mut family = encoder.encode_descriptor(
            "nuclio_http_responses",
            "Replies by class of status",
            None,
            MetricType::Counter,
        )?;
        for (class, count) in c.responses_by_class.iter().enumerate().skip(1) {
            let class = format!("{class}xx");
            member(&mut family, &[("class", class.as_str())], &ConstCounter::new(*count))?;
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let value = ConstCounter::new(value);
    value.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn member(
    family: &mut MetricEncoder<'_>,
    labels: &[(&'static str, &str)],
    value: &impl EncodeMetric,
) -> fmt::Result {
    value.encode(family.encode_family(&labels)?)
}

/// The data thread's histogram in the shape that the encoder wants: counts up to each bound.
struct Buckets<'a>(&'a Histogram);

impl EncodeMetric for Buckets<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BUCKET_BOUNDS_S.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.0.buckets).collect();
        let sum = self.0.sum_ns as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, self.0.count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Buckets<'_> {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nuclio_names_and_ours() {
        let mut duration = Histogram { sum_ns: 1_500_000_000, count: 3, ..Default::default() };
        duration.buckets[0] = 2;
        duration.buckets[BUCKET_BOUNDS_S.len()] = 1;
        let trigger = TriggerSnapshot {
            name: "web".into(),
            kind: "http".into(),
            handled_ok: 3,
            handled_error: 1,
            duration,
            ..TriggerSnapshot::default()
        };
        let mut snapshot = Snapshot { triggers: vec![trigger], ..Snapshot::default() };
        snapshot.counters.responses_by_class[2] = 3;
        let figures = Figures {
            function: "hello".into(),
            namespace: "default".into(),
            snapshot,
            rows: Vec::new(),
            log_dropped: 5,
        };
        let text = text(figures).unwrap();
        let of_trigger =
            r#"function="hello",namespace="default",trigger="web",trigger_kind="http""#;
        for line in [
            &format!(r#"nuclio_processor_handled_events_total{{{of_trigger},result="success"}} 3"#),
            &format!(r#"nuclio_event_duration_seconds_bucket{{{of_trigger},le="0.0001"}} 2"#),
            &format!(r#"nuclio_event_duration_seconds_bucket{{{of_trigger},le="+Inf"}} 3"#),
            &format!(r#"nuclio_event_duration_seconds_sum{{{of_trigger}}} 1.5"#),
            "nuclio_log_records_dropped_total 5",
            r#"nuclio_http_responses_total{class="2xx"} 3"#,
            r#"nuclio_workers{state="ready"} 0"#,
            "# TYPE nuclio_event_wait_seconds histogram",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
