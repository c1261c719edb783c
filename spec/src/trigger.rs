//! A trigger: the entry of an event source in function.yaml.
//!
//! Common fields and the kinds there are. What a kind's own `attributes` mean belongs to its own
//! file (`http.rs`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use crate::duration::{self, DurationText};
use crate::function::{Secret, is_default, is_false};
use crate::http::HttpAttributes;
use crate::limits::{ATTEMPTS_MAX, BATCH_EVENTS_MAX, IN_FLIGHT_MAX, WORKERS_MAX};

/// Where events come from and how they are delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
#[schemars(!remote, extend("required" = ["kind"]), transform = attributes_by_kind)]
pub struct Trigger {
    /// The event source.
    pub kind: TriggerKind,
    /// A name for people and for `event.trigger.name`. Left out: the key in `triggers`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// nuclio's word for the class of the source; accepted, not used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// `true`: the trigger is not started.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// Worker processes: a number, or `auto` for one per CPU. Left out: `--workers`, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_workers: Option<Workers>,
    /// Older name of `numWorkers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("deprecated" = true))]
    pub max_workers: Option<Workers>,
    /// Triggers that state the same name share one pool of workers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub worker_allocator_name: String,
    /// How long a worker may take to finish when it is stopped.
    #[serde(with = "duration::required")]
    #[schemars(with = "DurationText")]
    pub worker_termination_timeout: Duration,
    /// How long an event waits for a free worker, in milliseconds; 0 does not wait.
    #[schemars(range(max = 4_294_967_295_u64))]
    pub worker_availability_timeout_milliseconds: u64,
    /// Events in flight in one worker, where the handler is `async`.
    #[schemars(range(min = 1, max = IN_FLIGHT_MAX))]
    pub max_inflight: u32,

    /// How often one event is tried before it is given up.
    #[schemars(range(min = 1, max = ATTEMPTS_MAX))]
    pub max_attempts: u32,
    /// How long to wait between two attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub retry: Retry,
    /// Where events go that were given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// What happens after the last attempt: the event goes to `deadLetter`, or its partition
    /// stops (`halt`).
    pub on_exhausted: OnExhausted,
    /// `true`: an event may run twice, so it is repeated after a crash whatever its method.
    #[serde(skip_serializing_if = "is_false")]
    pub idempotent: bool,
    /// Which events wait for each other: those of one partition, those of one key, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// Several events in one call of the handler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// `true`: the handler starts before the whole request body has arrived, and `eventTimeout` counts
    /// from the request's head. Never given to a second worker. Not with `batch`.
    #[serde(skip_serializing_if = "is_false")]
    pub stream_requests: bool,
    /// What the caller sees of an exception.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,

    /// Settings of the kind. `${NAME}` in a value is replaced by the environment variable.
    pub attributes: Attributes,
    /// Address of the source. `${NAME}` is replaced by the environment variable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Paths of the source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Name to log in with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Password to log in with. `${NAME}` is replaced by the environment variable.
    #[serde(skip_serializing_if = "is_default")]
    pub password: Secret,
    /// Secret of the source. `${NAME}` is replaced by the environment variable.
    #[serde(skip_serializing_if = "is_default")]
    pub secret: Secret,
    /// Partitions to read, where they are listed by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Partition>,
    /// Notes for other programs.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
    /// Whether the handler acknowledges events itself.
    pub explicit_ack_mode: ExplicitAckMode,
    /// How long a rebalance waits for those acknowledgements.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub wait_explicit_ack_during_rebalance_timeout: Option<Duration>,
    /// nuclio's switch for several events in flight; here an `async` handler is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TriggerMode>,
    /// nuclio's settings of that mode; here `maxInflight`.
    #[serde(rename = "async", skip_serializing_if = "Map::is_empty")]
    pub async_settings: Map<String, Value>,
    /// Left over from an early nuclio; not used.
    #[serde(rename = "total_tasks", skip_serializing_if = "Option::is_none")]
    pub total_tasks: Option<u64>,
    /// Left over from an early nuclio; not used.
    #[serde(rename = "max_task_allocation", skip_serializing_if = "Option::is_none")]
    pub max_task_allocation: Option<u64>,
}

/// The event sources that function.yaml can name, built into this processor or not.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[schemars(inline)]
pub enum TriggerKind {
    #[default]
    #[serde(rename = "http")]
    Http,
    #[serde(rename = "cron")]
    Cron,
    #[serde(rename = "kafka-cluster")]
    KafkaCluster,
    #[serde(rename = "rabbit-mq")]
    RabbitMq,
    #[serde(rename = "nats")]
    Nats,
    #[serde(rename = "mqtt")]
    Mqtt,
    #[serde(rename = "kinesis")]
    Kinesis,
    #[serde(rename = "eventhub")]
    EventHub,
    #[serde(rename = "pubsub")]
    PubSub,
    #[serde(rename = "v3ioStream")]
    V3ioStream,
    #[serde(rename = "v3ioItemPoller")]
    V3ioItemPoller,
    #[serde(rename = "iotCoreMqtt")]
    IotCoreMqtt,
    #[serde(rename = "kickstart")]
    Kickstart,
}

/// A number of worker processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    Count(u32),
    /// One for each CPU that the processor may use.
    Auto,
}

/// Settings of a trigger's kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Attributes {
    Http(Box<HttpAttributes>),
    /// Those of a kind whose settings are read where it is built.
    Kept(Map<String, Value>),
}

/// How long to wait between two attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Retry {
    /// Wait before the second attempt; it doubles with every further one.
    #[serde(with = "duration::required")]
    #[schemars(with = "DurationText")]
    pub backoff: Duration,
    /// Longest wait.
    #[serde(with = "duration::required")]
    #[schemars(with = "DurationText")]
    pub max: Duration,
}

/// Where events go that were given up. Further keys belong to the kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["kind"]))]
pub struct DeadLetter {
    /// What the place is, such as `file`.
    #[schemars(extend("examples" = ["file"]))]
    pub kind: String,
    /// Keys of that place.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// What happens after the last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum OnExhausted {
    #[default]
    DeadLetter,
    Halt,
}

/// Which events wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Ordering {
    Partition,
    Key,
    None,
}

/// Several events in one call of the handler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Batch {
    /// Whether events come in batches.
    pub mode: BatchMode,
    /// Most events in one batch.
    #[schemars(range(min = 1, max = BATCH_EVENTS_MAX))]
    pub batch_size: u32,
    /// Longest wait for a batch to fill.
    #[serde(with = "duration::required")]
    #[schemars(with = "DurationText")]
    pub timeout: Duration,
    /// A batch is closed when no event came for this long.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub quiet_period: Option<Duration>,
}

/// Whether events come in batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum BatchMode {
    #[default]
    Disable,
    Enable,
}

/// What the caller sees of an exception.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum ErrorDetail {
    None,
    #[default]
    Message,
    Traceback,
}

/// Whether the handler acknowledges events itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum ExplicitAckMode {
    Enable,
    #[default]
    Disable,
    ExplicitOnly,
}

/// nuclio's switch for several events in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum TriggerMode {
    Sync,
    Async,
}

/// One partition that is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["id"]))]
pub struct Partition {
    /// Its number.
    pub id: u32,
    /// Where to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

impl Trigger {
    /// How events are collected, where they are.
    #[must_use]
    pub fn batch_rule(&self) -> Option<&Batch> {
        self.batch.as_ref().filter(|batch| batch.mode == BatchMode::Enable)
    }

    /// A trigger of this kind with every setting at its default.
    #[must_use]
    pub fn new(kind: TriggerKind) -> Self {
        Self { kind, attributes: Attributes::default_of(kind), ..Self::default() }
    }

    /// The settings of an HTTP trigger; `None` for any other kind.
    #[must_use]
    pub fn http(&self) -> Option<&HttpAttributes> {
        match &self.attributes {
            Attributes::Http(attributes) => Some(attributes),
            Attributes::Kept(_) => None,
        }
    }

    /// The same, to change them.
    pub fn http_mut(&mut self) -> Option<&mut HttpAttributes> {
        match &mut self.attributes {
            Attributes::Http(attributes) => Some(attributes),
            Attributes::Kept(_) => None,
        }
    }

    /// The stated number of workers, under either of its names.
    #[must_use]
    pub fn stated_workers(&self) -> Option<Workers> {
        self.num_workers.or(self.max_workers)
    }

    /// How long an event waits for a free worker.
    #[must_use]
    pub fn worker_availability_timeout(&self) -> Duration {
        Duration::from_millis(self.worker_availability_timeout_milliseconds)
    }
}

impl Default for Trigger {
    fn default() -> Self {
        Self {
            kind: TriggerKind::Http,
            name: String::new(),
            class: String::new(),
            disabled: false,
            num_workers: None,
            max_workers: None,
            worker_allocator_name: String::new(),
            worker_termination_timeout: Duration::from_secs(10),
            worker_availability_timeout_milliseconds: 10_000,
            max_inflight: 64,
            max_attempts: 3,
            retry: Retry::default(),
            dead_letter: None,
            on_exhausted: OnExhausted::default(),
            idempotent: false,
            ordering: None,
            batch: None,
            stream_requests: false,
            error_detail: None,
            attributes: Attributes::default_of(TriggerKind::Http),
            url: String::new(),
            paths: Vec::new(),
            username: String::new(),
            password: Secret::default(),
            secret: Secret::default(),
            partitions: Vec::new(),
            annotations: Map::new(),
            explicit_ack_mode: ExplicitAckMode::default(),
            wait_explicit_ack_during_rebalance_timeout: None,
            mode: None,
            async_settings: Map::new(),
            total_tasks: None,
            max_task_allocation: None,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { backoff: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            mode: BatchMode::Disable,
            batch_size: 10,
            timeout: Duration::from_secs(1),
            quiet_period: None,
        }
    }
}

impl TriggerKind {
    /// Every kind, in the order in which they are listed for people.
    pub const ALL: [Self; 13] = [
        Self::Http,
        Self::Cron,
        Self::KafkaCluster,
        Self::RabbitMq,
        Self::Nats,
        Self::Mqtt,
        Self::Kinesis,
        Self::EventHub,
        Self::PubSub,
        Self::V3ioStream,
        Self::V3ioItemPoller,
        Self::IotCoreMqtt,
        Self::Kickstart,
    ];

    /// The word in function.yaml.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Cron => "cron",
            Self::KafkaCluster => "kafka-cluster",
            Self::RabbitMq => "rabbit-mq",
            Self::Nats => "nats",
            Self::Mqtt => "mqtt",
            Self::Kinesis => "kinesis",
            Self::EventHub => "eventhub",
            Self::PubSub => "pubsub",
            Self::V3ioStream => "v3ioStream",
            Self::V3ioItemPoller => "v3ioItemPoller",
            Self::IotCoreMqtt => "iotCoreMqtt",
            Self::Kickstart => "kickstart",
        }
    }
}

impl fmt::Display for TriggerKind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.as_str())
    }
}

impl Workers {
    /// The number, where the processor may use `cpus` CPUs.
    #[must_use]
    pub fn count(self, cpus: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Auto => cpus.clamp(1, WORKERS_MAX),
        }
    }
}

impl std::str::FromStr for Workers {
    type Err = String;

    /// Reads what function.yaml, `--workers` and `NUCLIO_WORKERS` say.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(count @ 1..=WORKERS_MAX) => Ok(Self::Count(count)),
            _ => Err(format!("write a number from 1 to {WORKERS_MAX}, or auto")),
        }
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(to, "{count}"),
            Self::Auto => to.write_str("auto"),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => to.serialize_u32(*count),
            Self::Auto => to.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u32),
            Text(String),
        }
        let text = match Given::deserialize(from)? {
            Given::Number(count) => count.to_string(),
            Given::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Workers {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": WORKERS_MAX },
            { "type": "string", "enum": ["auto"] },
        ]})
    }
}

impl Attributes {
    fn default_of(kind: TriggerKind) -> Self {
        match kind {
            TriggerKind::Http => Self::Http(Box::default()),
            _ => Self::Kept(Map::new()),
        }
    }
}

impl JsonSchema for Attributes {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Attributes".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // The settings of the built kinds must be in the schema, though only
        // `attributes_by_kind` refers to them.
        generator.subschema_for::<HttpAttributes>();
        json_schema!({ "type": "object" })
    }
}

/// Adds to the schema of a trigger which `attributes` belong to which `kind`.
fn attributes_by_kind(schema: &mut Schema) {
    let http = json!({
        "if": { "properties": { "kind": { "const": "http" } } },
        "then": { "properties": { "attributes": { "$ref": "#/$defs/HttpAttributes" } } },
    });
    schema.insert("allOf".into(), json!([http]));
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Map::deserialize(from).map(Self::Kept)
    }
}

// `remote = "Self"` gives the derived code under another name, so that reading a trigger can end
// with giving its attributes the type of its kind.
impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut trigger = Self::deserialize(from)?;
        // Attributes that were read are always `Kept`; `Http` here means that there were none.
        trigger.attributes = match (trigger.kind, trigger.attributes) {
            (TriggerKind::Http, Attributes::Kept(kept)) => {
                let typed = serde_json::from_value(Value::Object(kept));
                Attributes::Http(typed.map_err(de::Error::custom)?)
            }
            (TriggerKind::Http, typed @ Attributes::Http(_)) => typed,
            (_, kept @ Attributes::Kept(_)) => kept,
            (kind, Attributes::Http(_)) => Attributes::default_of(kind),
        };
        Ok(trigger)
    }
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, to)
    }
}
