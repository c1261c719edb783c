//! Files in the forms that nuclio's users have: they load unchanged, and nothing of them is lost.

use std::time::Duration;

use spec::{LoadOptions, LogLevel, TriggerKind, Workers, inline_config, load, to_json};

/// Every part of nuclio's format in one file.
const EVERYTHING: &str = r#"
apiVersion: "nuclio.io/v1beta1"
kind: NuclioFunction
metadata:
  name: image-classifier
  namespace: team-a
  labels:
    nuclio.io/project-name: vision
    tier: 100
  annotations:
    note: "kept"
  resourceVersion: "77"
  creationTimestamp: 2024-05-01T10:00:00Z
spec:
  description: Finds cats
  disable: false
  handler: main:handler
  runtime: python:3.11
  image: registry.example.org/cats:1
  imageHash: "1714557600"
  imagePullPolicy: IfNotPresent
  imagePullSecrets: registry-credentials
  env:
    - name: MODEL
      value: /models/cats
    - name: BATCH
      value: 8
    - name: TOKEN
      valueFrom:
        secretKeyRef: {name: cats, key: token}
  envFrom:
    - secretRef: {name: more}
  resources:
    requests: {cpu: 250m, memory: 128M}
    limits: {cpu: 2, memory: 3G, nvidia.com/gpu: 1}
  minReplicas: 1
  maxReplicas: 8
  targetCPU: 60
  scaleToZero:
    scaleResources:
      - {metricName: gpu, windowSize: 2m, threshold: 80}
  eventTimeout: 1m30s
  readinessTimeoutSeconds: 60
  waitReadinessTimeoutBeforeFailure: false
  loggerSinks:
    - level: debug
      sink: stdout
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000}
  serviceAccount: cats
  serviceType: NodePort
  nodeName: node-1
  nodeSelector: {disk: ssd}
  tolerations:
    - {key: gpu, operator: Exists}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions:
              - {key: zone, operator: In, values: [a, b]}
  priorityClassName: high
  preemptionPolicy: Never
  preemptionMode: prevent
  deploymentStrategy: {type: Recreate}
  hostIPC: false
  devices: [/dev/video0]
  volumes:
    - volume:
        name: models
        configMap: {name: models, defaultMode: 0644}
      volumeMount: {name: models, mountPath: /models}
  sidecars:
    - {name: proxy, image: proxy:1}
  initContainers:
    - {name: fetch, image: fetch:1}
  platform:
    attributes:
      network: cats
      mountMode: volume
      restartPolicy: {name: on-failure, maximumRetryCount: 3}
  dataBindings:
    db: {class: v3io, url: http://db, secret: s}
  runtimeAttributes:
    arguments: -x 1
    responseHeaders: {x-a: b}
  build:
    path: ./src
    registry: registry.example.org
    image: cats
    baseImage: python:3.11-slim
    noCache: true
    commands:
      - apt-get update
      - pip install pillow
    directives:
      preCopy:
        - {kind: ENV, value: A=b}
      postCopy:
        - {kind: RUN, value: ls}
    codeEntryType: git
    codeEntryAttributes: {url: https://example.org/cats.git, branch: main, workDir: /fn}
    buildTimeoutSeconds: 600
    mode: alwaysBuild
    args: {HTTP_PROXY: proxy}
    addedPaths: {models: /models}
  triggers:
    web:
      class: sync
      kind: http
      maxWorkers: 4
      workerAvailabilityTimeoutMilliseconds: 0
      annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 8m}
      attributes:
        port: 32001
        serviceType: NodePort
        maxRequestBodySize: 33554432
        readBufferSize: 65536
        mode: sync
        ingresses:
          main: {host: cats.example.org, paths: [/], pathType: Prefix, secretName: tls}
        cors:
          enabled: yes
          allowOrigins: ['https://example.org']
          allowMethods: [GET, POST]
          preflightMaxAgeSeconds: -1
    orders:
      kind: kafka-cluster
      numWorkers: 8
      workerAllocatorName: brokers
      workerTerminationTimeout: 30s
      explicitAckMode: enable
      waitExplicitAckDuringRebalanceTimeout: 250ms
      password: hunter2
      attributes:
        topics: [orders]
        brokers: ["kafka:9092"]
        consumerGroup: cats
        initialOffset: earliest
        sasl: {enable: true, user: cats, password: x}
    queue:
      kind: rabbit-mq
      workerAllocatorName: brokers
      workerTerminationTimeout: 30s
      explicitAckMode: enable
      url: amqp://guest:guest@rabbit:5672
      attributes: {exchangeName: x, queueName: q, topics: ["*"], durableQueue: true}
    stream:
      kind: kinesis
      partitions:
        - {id: 1, checkpoint: "42"}
      attributes: {regionName: eu-west-1, streamName: s, shards: [shardId-000000000000]}
    nightly:
      kind: cron
      attributes:
        schedule: "0 3 * * *"
        event: {body: hello, headers: {X-Nightly: "1"}}
  version: -1
  alias: latest
  publish: false
  dealerURI: ""
  disableSensitiveFieldsMasking: true
status:
  state: ready
  replicas: 1
"#;

#[test]
fn a_file_with_everything_loads_without_a_word() {
    let loaded = load(EVERYTHING, &LoadOptions::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    let spec = &loaded.function.spec;
    assert_eq!(loaded.function.metadata.labels["tier"], "100");
    assert_eq!((spec.runtime_name(), spec.runtime_version()), ("python", Some("3.11")));
    assert_eq!(spec.env[1].value, "8");
    assert_eq!(spec.env[2].value_from["secretKeyRef"]["key"], "token");
    assert_eq!(spec.event_timeout, Some(Duration::from_secs(90)));
    assert_eq!(spec.log_level(), Some(LogLevel::Debug));
    assert_eq!(spec.runtime_attributes.other["arguments"], "-x 1");
    let volumes = &spec.kubernetes.0["volumes"];
    assert_eq!(volumes[0]["volume"]["configMap"]["defaultMode"], 420);

    let web = &spec.triggers["web"];
    assert_eq!(web.num_workers, Some(Workers::Count(4)));
    let http = web.http().unwrap();
    assert_eq!(http.port, Some(32001));
    assert_eq!(http.max_request_body_size, 33_554_432);
    assert!(http.cors.enabled);
    assert_eq!(http.cors.allow_methods, ["GET", "POST"]);
    assert_eq!(http.cors.allow_headers.len(), 5);
    assert_eq!(spec.triggers["orders"].kind, TriggerKind::KafkaCluster);

    let pools = loaded.function.worker_pools(Workers::Count(1), 4);
    let shared = pools.iter().find(|pool| pool.name == "brokers").unwrap();
    assert_eq!((shared.worker_count, shared.triggers.len()), (8, 2));
}

#[test]
fn its_json_is_the_same_function() {
    let first = load(EVERYTHING, &LoadOptions::default()).unwrap().function;
    let again = load(&to_json(&first), &LoadOptions::default()).unwrap();
    assert_eq!(again.function, first);
    assert_eq!(again.warnings, []);
}

#[test]
fn configuration_in_a_source_file_loads() {
    let source = r#"# Copyright somebody
# @nuclio.configure
#
# function.yaml:
#   apiVersion: "nuclio.io/v1"
#   kind: Function
#   spec:
#     runtime: python
#     handler: reverser:handler
#     triggers:
#       http:
#         maxWorkers: 8
#         kind: http
#     build:
#       commands:
#       - "pip install requests"

def handler(context, event):
    return event.body[::-1]
"#;
    let text = inline_config(source, "#").unwrap();
    let options = LoadOptions { partial: true, ..LoadOptions::default() };
    let loaded = load(&text, &options).unwrap();
    assert_eq!(loaded.function.spec.handler, "reverser:handler");
    assert_eq!(loaded.function.spec.triggers["http"].num_workers, Some(Workers::Count(8)));

    let text = inline_config(&source.replace("maxWorkers", "maxWorkrs"), "#").unwrap();
    let error = load(&text, &options).unwrap_err().remove(0);
    assert_eq!(error.line, Some(12), "the line of the source file: {error}");
}
