//! The function: what function.yaml says, as types.
//!
//! Doc comments here are the reference page (`docs/reference/function-yaml.md`); field names are
//! nuclio's. No reading and no checking: `load.rs` and `rules.rs` do that.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::{self, DurationText};
use crate::kubernetes::{KubernetesMetadata, KubernetesSpec};
use crate::size::ByteSize;
use crate::trigger::Trigger;

/// One function: its name, its code, its triggers and how it is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["apiVersion", "kind", "metadata"]))]
pub struct Function {
    /// Version of the format. `nuclio.io/v1` and `nuclio.io/v1beta1` mean the same.
    pub api_version: ApiVersion,
    /// What the file describes.
    pub kind: FunctionKind,
    /// Name, namespace and labels.
    pub metadata: Metadata,
    /// Everything else about the function.
    pub spec: FunctionSpec,
    /// Written by a cluster; accepted in files that came from one, and not used.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub status: Map<String, Value>,
}

/// The `apiVersion` of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum ApiVersion {
    #[default]
    #[serde(rename = "nuclio.io/v1")]
    V1,
    #[serde(rename = "nuclio.io/v1beta1")]
    V1beta1,
}

/// The `kind` of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum FunctionKind {
    #[default]
    Function,
    NuclioFunction,
}

/// Who the function is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct Metadata {
    /// Name of the function: lower-case letters, digits and `-`, at most 63.
    #[schemars(length(min = 1), extend("examples" = ["hello"]))]
    pub name: String,
    /// Namespace; functions of different namespaces do not see each other. Left out: the one
    /// given on the command line, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels to find the function by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for other programs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub kubernetes: KubernetesMetadata,
}

/// How the function is built and run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FunctionSpec {
    /// A text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The handler: `function`, `module:function` or `package.module:function`. Left out: it is
    /// found by name (`handler`), else it is the only function with two parameters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub handler: String,
    /// The language, with a version if one is wanted: `python`, `python:3.13`. Left out: it
    /// follows from the extension of the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub runtime: String,
    /// Environment variables of the workers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Where events come from, by trigger name. Without one of kind `http`, an HTTP trigger
    /// `default-http` with one worker is added.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub triggers: BTreeMap<String, Trigger>,
    /// `true`: no HTTP trigger is added where the file has none.
    #[serde(rename = "disableDefaultHTTPTrigger", skip_serializing_if = "is_false")]
    pub disable_default_http_trigger: bool,
    /// Longest time for one event, from its arrival to its answer. Left out: no limit.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub event_timeout: Option<Duration>,
    /// Where the code is and how an image is made of it.
    #[serde(skip_serializing_if = "is_default")]
    pub build: Build,
    /// Settings of the language.
    #[serde(skip_serializing_if = "is_default")]
    pub runtime_attributes: RuntimeAttributes,
    /// When a worker is replaced by a fresh one, between two events.
    #[serde(skip_serializing_if = "is_default")]
    pub recycle: Recycle,
    /// How far a worker is kept from the rest of the machine.
    pub isolation: Isolation,
    /// What the function may use.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// Where logs go and from which level on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logger_sinks: Vec<LoggerSink>,
    /// `true`: the function is deployed but gets no events.
    #[serde(skip_serializing_if = "is_false")]
    pub disable: bool,
    /// Instances in a cluster, when the number is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Fewest instances in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<u32>,
    /// Most instances in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<u32>,
    #[serde(flatten)]
    pub kubernetes: KubernetesSpec,
}

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["name"]))]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(extend("examples" = ["LOG_LEVEL"]))]
    pub name: String,
    /// Its value. Numbers and booleans need no quotes: the text is taken as written.
    pub value: String,
    /// In a cluster: where the value comes from (a Secret, a ConfigMap, a field of the pod).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub value_from: Map<String, Value>,
}

/// Where the code is and how an image is made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Build {
    /// File or folder with the code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The code itself, base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub function_source_code: String,
    /// Path of a function.yaml inside the code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub function_config_path: String,
    /// Folder for work in progress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub temp_dir: String,
    /// Registry that the image is pushed to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registry: String,
    /// Name of the image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Image that the function's image starts from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_image: String,
    /// Registry of the base image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub base_image_registry: String,
    /// nuclio's image with processor and wrapper; accepted, not used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub onbuild_image: String,
    /// `true`: base images are not pulled again.
    #[serde(skip_serializing_if = "is_false")]
    pub no_base_images_pull: bool,
    /// `true`: nothing of an earlier build is used again.
    #[serde(skip_serializing_if = "is_false")]
    pub no_cache: bool,
    /// `true`: work in progress is left in place.
    #[serde(skip_serializing_if = "is_false")]
    pub no_cleanup: bool,
    /// `true`: the build needs no network.
    #[serde(skip_serializing_if = "is_false")]
    pub offline: bool,
    /// Commands to run while the image is built.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Lines of a Dockerfile, by place: `preCopy`, `postCopy`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub directives: BTreeMap<String, Vec<Directive>>,
    /// Dependencies of the code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// Settings of the language for the build.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub runtime_attributes: Map<String, Value>,
    /// Where the code comes from: `image`, `sourceCode`, `archive`, `github`, `git`, `s3`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code_entry_type: String,
    /// Settings of that place.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub code_entry_attributes: Map<String, Value>,
    /// Longest time for a build, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_timeout_seconds: Option<u64>,
    /// Whether an image is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<BuildMode>,
    /// Build arguments.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Flags for the program that builds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Service account of a build in a cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub builder_service_account: String,
    /// More files for the image: path here, path in the image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub added_paths: BTreeMap<String, String>,
    /// Scripts to run while the image is built.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub script_paths: Vec<String>,
}

/// One line of a Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["kind"]))]
pub struct Directive {
    /// The instruction, such as `RUN`.
    #[schemars(extend("examples" = ["RUN"]))]
    pub kind: String,
    /// What follows it.
    pub value: String,
}

/// Whether an image is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum BuildMode {
    NeverBuild,
    AlwaysBuild,
}

/// Settings of the language. Further keys belong to the language and are given to it as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RuntimeAttributes {
    /// How events run in a worker; the language's page says which modes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Threads that run handlers in one worker, where the language can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<u32>,
    /// Modules to load before the code, once for all workers where the language can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preload: Vec<String>,
    /// Keys of the language itself, such as `arguments` of the shell.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// When a worker is replaced by a fresh one, between two events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Recycle {
    /// After this many events.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub events: Option<u64>,
    /// After this time.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DurationText>")]
    pub age: Option<Duration>,
    /// When it uses more memory than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
}

/// How far a worker is kept from the rest of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Isolation {
    #[default]
    Standard,
    Strict,
}

/// What the function may use. Left out: the processor's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// Memory of one worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Events that wait for a worker, over all triggers (4096).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pending: Option<u32>,
    /// Memory for events, shared by the processor and its workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_memory: Option<ByteSize>,
    /// Memory of one worker for its replies (8 MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_arena: Option<ByteSize>,
    /// Replies that slow clients have not read yet, all together (64 MiB).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_buffer_max: Option<ByteSize>,
}

/// Where logs go and from which level on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LoggerSink {
    /// Lowest level that is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Name of a sink of the platform.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sink: String,
}

/// Weight of a log line.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// A text that must not be shown: its `Debug` form hides it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("writeOnly" = true))]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(hidden)" })
    }
}

impl FunctionSpec {
    /// The language without its version: `python` of `python:3.13`.
    #[must_use]
    pub fn runtime_name(&self) -> &str {
        self.runtime.split_once(':').map_or(self.runtime.as_str(), |(name, _)| name)
    }

    /// The wanted version of the language: `3.13` of `python:3.13`.
    #[must_use]
    pub fn runtime_version(&self) -> Option<&str> {
        self.runtime.split_once(':').map(|(_, version)| version).filter(|text| !text.is_empty())
    }

    /// The lowest level that any of `loggerSinks` asks for.
    #[must_use]
    pub fn log_level(&self) -> Option<LogLevel> {
        self.logger_sinks.iter().filter_map(|sink| sink.level).min()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
