//! Fields that only mean something in a cluster: known by name, so that a file written for
//! nuclio loads unchanged, and kept as they are for the controller.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Name, JSON type and meaning of a field that is kept and not read here.
type KeptField = (&'static str, &'static str, &'static str);

const SPEC_FIELDS: [KeptField; 38] = [
    ("affinity", "object", "Which nodes are preferred."),
    ("alias", "string", "Name of a published version; nuclio ignores it."),
    ("autoScaleMetrics", "array", "What scaling looks at."),
    ("avatar", "string", "Picture in nuclio's dashboard."),
    ("customScalingMetricSpecs", "array", "What scaling looks at, in Kubernetes' own form."),
    ("dataBindings", "object", "Data that the function reads and writes, by name."),
    ("dealerURI", "string", "Left over from an early nuclio; not used."),
    ("deploymentStrategy", "object", "How instances are replaced."),
    ("devices", "array", "Devices of the machine, for containers."),
    ("disableSensitiveFieldsMasking", "boolean", "Whether secrets stay readable in the object."),
    ("envFrom", "array", "Environment variables from Secrets and ConfigMaps."),
    ("hostIPC", "boolean", "Whether the pod uses the machine's own shared memory."),
    ("httpPort", "integer", "Left over from an early nuclio; not used."),
    ("image", "string", "Image of the function."),
    ("imageHash", "string", "When nuclio built the image; not used."),
    ("imagePullPolicy", "string", "When the image is pulled."),
    ("imagePullSecrets", "string", "Secret for the registry."),
    ("initContainers", "array", "Containers that run before the function."),
    ("nodeName", "string", "The one node to run on."),
    ("nodeSelector", "object", "Labels of the nodes to run on."),
    ("platform", "object", "Settings of the platform, such as network and restart policy."),
    ("preemptionMode", "string", "Whether preemptible nodes are used."),
    ("preemptionPolicy", "string", "Whether the pod may displace others."),
    ("priorityClassName", "string", "Priority of the pod."),
    ("publish", "boolean", "Whether a version is published; nuclio ignores it."),
    ("readinessTimeoutSeconds", "integer", "Longest time until ready, in seconds."),
    ("resources", "object", "CPU and memory of the pod: `requests`, `limits`."),
    ("runRegistry", "string", "Registry that the image is pulled from."),
    ("scaleToZero", "object", "When all instances are stopped."),
    ("securityContext", "object", "User and rights of the pod."),
    ("serviceAccount", "string", "Service account of the pod."),
    ("serviceType", "string", "Type of the Service."),
    ("sidecars", "array", "Containers that run beside the function."),
    ("targetCPU", "integer", "CPU use that scaling aims at, in percent (75)."),
    ("tolerations", "array", "Taints of nodes that do not matter."),
    ("version", "integer", "Version of the function; nuclio ignores it."),
    ("volumes", "array", "Volumes: `volume`, `volumeMount`."),
    ("waitReadinessTimeoutBeforeFailure", "boolean", "Whether a failing start is waited for."),
];

const METADATA_FIELDS: [KeptField; 10] = [
    ("creationTimestamp", "string", "Written by a cluster."),
    ("deletionGracePeriodSeconds", "integer", "Written by a cluster."),
    ("deletionTimestamp", "string", "Written by a cluster."),
    ("finalizers", "array", "Written by a cluster."),
    ("generation", "integer", "Written by a cluster."),
    ("managedFields", "array", "Written by a cluster."),
    ("ownerReferences", "array", "Written by a cluster."),
    ("resourceVersion", "string", "Written by a cluster."),
    ("selfLink", "string", "Written by a cluster."),
    ("uid", "string", "Written by a cluster."),
];

/// Fields of `spec` that only a cluster reads, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KubernetesSpec(pub BTreeMap<String, Value>);

/// Fields of `metadata` that only a cluster writes, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KubernetesMetadata(pub BTreeMap<String, Value>);

impl JsonSchema for KubernetesSpec {
    fn schema_name() -> Cow<'static, str> {
        "KubernetesSpec".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        kept_schema(&SPEC_FIELDS)
    }
}

impl JsonSchema for KubernetesMetadata {
    fn schema_name() -> Cow<'static, str> {
        "KubernetesMetadata".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        kept_schema(&METADATA_FIELDS)
    }
}

/// The mark on a kept field, by which the reference page sets it apart.
pub(crate) const KEPT_MARK: &str = "x-kept-for-cluster";

fn kept_schema(fields: &[KeptField]) -> Schema {
    let mut properties = Map::new();
    for (name, json_type, description) in fields {
        let field = json!({ "type": json_type, "description": description, KEPT_MARK: true });
        properties.insert((*name).to_string(), field);
    }
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    schema.into()
}
