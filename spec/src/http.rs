//! `attributes` of a trigger of kind `http`, with nuclio's names and defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::function::is_false;
use crate::limits::REQUEST_BODY_BYTES_MAX;
use crate::trigger::TriggerMode;

/// Settings of the HTTP trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HttpAttributes {
    /// Port of the host or of the node, where a container or a cluster publishes one. What the
    /// processor itself listens on is `--port`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Bytes read at once; nuclio's bound of a request's head.
    #[schemars(range(min = 1))]
    pub read_buffer_size: u32,
    /// Largest request body in bytes; a larger one is answered 413 before it is read.
    #[schemars(range(min = 1, max = REQUEST_BODY_BYTES_MAX))]
    pub max_request_body_size: u64,
    /// Who may call from a browser.
    pub cors: Cors,
    /// nuclio's switch for smaller buffers; accepted, not needed.
    #[serde(skip_serializing_if = "is_false")]
    pub reduce_memory_usage: bool,
    /// nuclio's switch for several events in flight; here an `async` handler is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TriggerMode>,
    /// `true`: a container's port is not published on the host.
    #[serde(skip_serializing_if = "is_false")]
    pub disable_port_publishing: bool,
    /// Type of the Service in a cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_type: String,
    /// Routes of the cluster's ingress, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ingresses: BTreeMap<String, Ingress>,
}

/// Who may call from a browser (cross-origin resource sharing).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Cors {
    /// `true`: the headers are sent and preflight requests are answered.
    pub enabled: bool,
    /// Origins that may call; `*` is every origin.
    pub allow_origins: Vec<String>,
    /// Methods that may be used.
    pub allow_methods: Vec<String>,
    /// Request headers that may be sent.
    pub allow_headers: Vec<String>,
    /// `true`: cookies and credentials may be sent.
    pub allow_credentials: bool,
    /// Reply headers that the page may read.
    pub expose_headers: Vec<String>,
    /// Method of a preflight request.
    pub preflight_request_method: String,
    /// How long a browser may remember the answer to a preflight request; -1 says nothing.
    #[schemars(range(min = -1, max = 31_536_000))]
    pub preflight_max_age_seconds: i64,
}

/// One route of the cluster's ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    /// Host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Template of the host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_template: String,
    /// Paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How paths are compared.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path_type: String,
    /// Secret with the certificate.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_name: String,
    /// Annotations of the ingress.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub annotations: Map<String, Value>,
}

impl Default for HttpAttributes {
    fn default() -> Self {
        Self {
            port: None,
            read_buffer_size: 16 * 1024,
            max_request_body_size: 4 * 1024 * 1024,
            cors: Cors::default(),
            reduce_memory_usage: false,
            mode: None,
            disable_port_publishing: false,
            service_type: String::new(),
            ingresses: BTreeMap::new(),
        }
    }
}

impl Default for Cors {
    fn default() -> Self {
        let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            enabled: false,
            allow_origins: texts(&["*"]),
            allow_methods: texts(&["HEAD", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
            allow_headers: texts(&[
                "Accept",
                "Content-Length",
                "Content-Type",
                "Authorization",
                "X-Nuclio-Log-Level",
            ]),
            allow_credentials: false,
            expose_headers: Vec::new(),
            preflight_request_method: "OPTIONS".into(),
            preflight_max_age_seconds: 5,
        }
    }
}
