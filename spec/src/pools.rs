//! Which triggers a function really has, and which pools of workers serve them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ConfigError;
use crate::function::Function;
use crate::limits::IN_FLIGHT_MAX;
use crate::path::join;
use crate::trigger::{Trigger, TriggerKind, Workers};

/// Name of the HTTP trigger of a function that states none.
pub const DEFAULT_HTTP_TRIGGER: &str = "default-http";

/// A pool of workers and the triggers that share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPool {
    /// `workerAllocatorName`, else the trigger's key.
    pub name: String,
    /// Worker processes.
    pub worker_count: u32,
    /// Keys of the triggers, in their order.
    pub triggers: Vec<String>,
    /// How long a worker may take to finish when it is stopped.
    pub worker_termination_timeout: Duration,
    /// Events in flight in one worker, where the handler is `async`.
    pub max_inflight: u32,
}

impl WorkerPool {
    /// Most events that one worker can have at once: `maxInflight` of an async handler, or on each
    /// thread of a sync one an event or a batch.
    #[must_use]
    pub fn events_at_once(&self, function: &Function) -> u32 {
        let batch_of = |key: &String| {
            let trigger = function.spec.triggers.get(key)?;
            trigger.batch_rule().map(|batch| batch.batch_size)
        };
        let unit = self.triggers.iter().filter_map(batch_of).max().unwrap_or(1);
        let threads = function.spec.runtime_attributes.threads.unwrap_or(1);
        self.max_inflight.max(unit.saturating_mul(threads)).min(IN_FLIGHT_MAX)
    }
}

impl Function {
    /// The triggers to start, by key: those that are not disabled, each with a name, and an HTTP
    /// trigger where the file has none.
    #[must_use]
    pub fn effective_triggers(&self) -> BTreeMap<String, Trigger> {
        let mut triggers: BTreeMap<String, Trigger> = self.spec.triggers.clone();
        if self.lacks_http_trigger() {
            let default = Trigger::new(TriggerKind::Http);
            triggers.entry(DEFAULT_HTTP_TRIGGER.to_string()).or_insert(default);
        }
        triggers.retain(|_, trigger| !trigger.disabled);
        for (key, trigger) in &mut triggers {
            if trigger.name.is_empty() {
                trigger.name.clone_from(key);
            }
        }
        triggers
    }

    /// The pools of workers: one for each trigger, or for each `workerAllocatorName`. `unstated`
    /// sizes the pools whose triggers state no number; `cpus` is what `auto` means.
    #[must_use]
    pub fn worker_pools(&self, unstated: Workers, cpus: u32) -> Vec<WorkerPool> {
        let mut pools: BTreeMap<String, WorkerPool> = BTreeMap::new();
        let mut stated: BTreeMap<String, u32> = BTreeMap::new();
        for (key, trigger) in self.effective_triggers() {
            let name = pool_name(&key, &trigger).to_string();
            let count = trigger.stated_workers().map_or(0, |workers| workers.count(cpus));
            let largest = stated.entry(name.clone()).or_default();
            *largest = count.max(*largest);
            let pool = pools.entry(name.clone()).or_insert_with(|| WorkerPool {
                name,
                worker_count: 0,
                triggers: Vec::new(),
                worker_termination_timeout: trigger.worker_termination_timeout,
                max_inflight: trigger.max_inflight,
            });
            pool.triggers.push(key);
        }
        for (name, pool) in &mut pools {
            pool.worker_count = match stated[name] {
                0 => unstated.count(cpus),
                count => count,
            };
        }
        pools.into_values().collect()
    }

    pub(crate) fn lacks_http_trigger(&self) -> bool {
        !self.spec.disable_default_http_trigger
            && !self.spec.triggers.values().any(|trigger| trigger.kind == TriggerKind::Http)
    }
}

/// Triggers that share a pool must want the same workers.
pub(crate) fn check_shared_pools(function: &Function) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let triggers = &function.spec.triggers;
    let mut firsts: BTreeMap<&str, (&str, &Trigger)> = BTreeMap::new();
    for (key, trigger) in triggers {
        let allocator = trigger.worker_allocator_name.as_str();
        if allocator.is_empty() {
            continue;
        }
        let path = join("spec.triggers", key);
        let owner = triggers.get(allocator).filter(|owner| {
            owner.worker_allocator_name.is_empty() || owner.worker_allocator_name == *key
        });
        if owner.is_some() && allocator != key {
            let problem =
                format!("{allocator:?} is the name of another trigger, with its own pool");
            let hint = format!("give trigger {allocator} the same workerAllocatorName");
            errors.push(ConfigError::new(format!("{path}.workerAllocatorName"), problem, hint));
        }
        let &mut (first_key, first) = firsts.entry(allocator).or_insert((key, trigger));
        for (field, here, there) in runtime_settings(trigger, first) {
            if here != there {
                let problem = format!(
                    "{here} differs from {there} of trigger {first_key}, which shares the workers \
                     of {allocator}"
                );
                let hint = "write the same in both, or give each its own pool";
                errors.push(ConfigError::new(format!("{path}.{field}"), problem, hint));
            }
        }
    }
    errors
}

fn pool_name<'a>(key: &'a str, trigger: &'a Trigger) -> &'a str {
    match trigger.worker_allocator_name.as_str() {
        "" => key,
        allocator => allocator,
    }
}

/// The settings of a trigger that a worker process is started with, of two triggers.
fn runtime_settings(here: &Trigger, there: &Trigger) -> [(&'static str, String, String); 3] {
    let timeout = |trigger: &Trigger| crate::format_duration(trigger.worker_termination_timeout);
    let mode = |trigger: &Trigger| format!("{:?}", trigger.explicit_ack_mode);
    [
        ("maxInflight", here.max_inflight.to_string(), there.max_inflight.to_string()),
        ("workerTerminationTimeout", timeout(here), timeout(there)),
        ("explicitAckMode", mode(here), mode(there)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LoadOptions;

    fn function(spec: &str) -> Function {
        let text = format!(
            "apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {{name: f}}\nspec:\n{spec}"
        );
        crate::load(&text, &LoadOptions::default()).unwrap().function
    }

    fn pools(spec: &str) -> Vec<(String, u32, String)> {
        let pools = function(spec).worker_pools(Workers::Count(1), 6);
        pools
            .into_iter()
            .map(|pool| (pool.name, pool.worker_count, pool.triggers.join(" ")))
            .collect()
    }

    #[test]
    fn an_http_trigger_is_added_unless_unwanted() {
        let triggers = function("  {}\n").effective_triggers();
        let added = &triggers[DEFAULT_HTTP_TRIGGER];
        assert_eq!((added.name.as_str(), added.kind), ("default-http", TriggerKind::Http));
        assert!(added.http().is_some());
        assert!(function("  disableDefaultHTTPTrigger: true\n").effective_triggers().is_empty());
        let triggers = function("  triggers: {c: {kind: cron}}\n").effective_triggers();
        assert_eq!(triggers.keys().collect::<Vec<_>>(), ["c", "default-http"]);
        let disabled = "  triggers: {w: {kind: http, disabled: true}}\n";
        assert!(function(disabled).effective_triggers().is_empty());
        let named = function("  triggers: {w: {kind: http, name: front}}\n").effective_triggers();
        assert_eq!(named["w"].name, "front");
    }

    #[test]
    fn each_trigger_has_its_pool_or_shares_one() {
        assert_eq!(pools("  {}\n"), [("default-http".into(), 1, "default-http".into())]);
        let spec = "  triggers:
    a: {kind: http, numWorkers: auto}
    b: {kind: cron, maxWorkers: 2}
    c: {kind: nats, workerAllocatorName: p}
    d: {kind: mqtt, workerAllocatorName: p, numWorkers: 3}
    e: {kind: mqtt, workerAllocatorName: p, numWorkers: 2}
    f: {kind: mqtt, disabled: true}
";
        let wanted = [("a", 6, "a"), ("b", 2, "b"), ("p", 3, "c d e")];
        let wanted = wanted.map(|(name, count, keys)| (name.to_string(), count, keys.to_string()));
        assert_eq!(pools(spec), wanted);
    }

    #[test]
    fn the_command_line_sizes_what_is_not_stated() {
        let function = function("  triggers: {w: {kind: http}, c: {kind: cron, numWorkers: 2}}\n");
        let count = |unstated| {
            let pools = function.worker_pools(unstated, 6);
            pools.into_iter().map(|pool| pool.worker_count).collect::<Vec<_>>()
        };
        assert_eq!(count(Workers::Count(4)), [2, 4]);
        assert_eq!(count(Workers::Auto), [2, 6]);
    }
}
