//! OTLP's JSON: traces, logs and metrics, with the semantic conventions of FaaS.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use coldframe_core::FunctionArn;
use coldframe_core::event::Status;
use coldframe_core::observe::{Metric, Unit};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Record, Resource, Span};

/// Bounds of a duration's buckets, ms.
const BOUNDS: [f64; 14] = [
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0, 60_000.0,
    900_000.0,
];

/// Values of a metric since the first of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    pub(super) began: SystemTime,
    pub(super) last: Instant,
    count: u64,
    sum: f64,
    largest: f64,
    buckets: [u64; BOUNDS.len() + 1],
}

pub(super) type Measured = HashMap<(FunctionArn, Metric), Histogram>;

impl Histogram {
    pub(super) fn new(began: SystemTime) -> Self {
        let (last, buckets) = (Instant::now(), [0; BOUNDS.len() + 1]);
        Self { began, last, count: 0, sum: 0.0, largest: 0.0, buckets }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.last = Instant::now();
        self.count += 1;
        self.sum += value;
        self.largest = self.largest.max(value);
        self.buckets[BOUNDS.partition_point(|bound| *bound < value)] += 1;
    }
}

fn nanos(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn resource(resource: &Resource) -> Value {
    let function = &resource.function;
    let arn = &function.arn;
    // OTLP writes 64-bit numbers as text.
    let memory = function.memory.bytes().to_string();
    json!({ "attributes": [
        text("service.name", &arn.name),
        text("cloud.provider", "aws"),
        text("cloud.platform", "aws_lambda"),
        text("cloud.region", &arn.region),
        text("cloud.account.id", arn.account.as_str()),
        text("faas.name", &arn.name),
        text("faas.version", &function.version),
        text("faas.instance", &resource.log_stream),
        { "key": "faas.max_memory", "value": { "intValue": memory } },
        { "key": "aws.log.group.names",
          "value": { "arrayValue": { "values": [{ "stringValue": function.log_group }] } } },
    ] })
}

const SCOPE: &str = "coldframe";

/// Groups what is of one resource.
fn by_resource<T>(items: &[T], of: impl Fn(&T) -> &Resource) -> Vec<(&Resource, Vec<&T>)> {
    let mut groups: Vec<(&Resource, Vec<&T>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for item in items {
        let found = of(item);
        let index = *known.entry(&found.log_stream).or_insert_with(|| {
            groups.push((found, Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(item);
    }
    groups
}

/// An invocation's place in a trace, in OpenTelemetry's form.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Context {
    trace: String,
    span: String,
    parent: Option<String>,
    /// Its span is sent.
    sampled: bool,
}

impl Context {
    /// Of a tracing header; of a trace of its own, if that has none.
    pub(crate) fn of(header: Option<&str>) -> Self {
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let header = header.unwrap_or_default();
        let field = |name: &str| {
            let mut pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let root = field("Root").and_then(|root| {
            let trace = root.strip_prefix("1-")?.replace('-', "");
            (trace.len() == 32 && hex(&trace)).then(|| trace.to_ascii_lowercase())
        });
        let parent = field("Parent").filter(|parent| parent.len() == 16 && hex(parent));
        Self {
            parent: root.as_ref().and(parent).map(str::to_ascii_lowercase),
            trace: root.unwrap_or_else(|| Uuid::new_v4().simple().to_string()),
            span: span_id(),
            sampled: field("Sampled") != Some("0"),
        }
    }
}

fn span_id() -> String {
    Uuid::new_v4().simple().to_string()[..16].to_owned()
}

pub(super) fn traces(spans: &[Span]) -> Value {
    let groups = by_resource(spans, |span| &span.resource).into_iter();
    let groups = groups.map(|(of, spans)| {
        json!({
            "resource": resource(of),
            "scopeSpans": [{
                "scope": { "name": SCOPE },
                "spans": spans.into_iter().flat_map(one_span).collect::<Value>(),
            }],
        })
    });
    json!({ "resourceSpans": groups.collect::<Value>() })
}

fn one_span(span: &Span) -> Vec<Value> {
    let Context { trace, span: id, parent, sampled } = &*span.context;
    if !sampled {
        return Vec::new();
    }
    let (function, report) = (&span.resource.function, &span.report);
    let invoked = match &span.qualifier {
        Some(qualifier) => function.arn.qualified(qualifier),
        None => function.arn.to_string(),
    };
    let status = match &report.status {
        Status::Success => json!({}),
        failed => json!({ "code": 2, "message": failed.error_type().unwrap_or(failed.as_str()) }),
    };
    let mut shown = json!({
        "traceId": trace,
        "spanId": id,
        "name": &*function.arn.name,
        // A server's.
        "kind": 2,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.began + report.duration),
        "attributes": [
            text("faas.invocation_id", &report.request_id.to_string()),
            text("aws.lambda.invoked_arn", &invoked),
            { "key": "faas.coldstart", "value": { "boolValue": span.init.is_some() } },
        ],
        "status": status,
    });
    if let Some(parent) = parent {
        shown["parentSpanId"] = json!(parent);
    }
    let mut spans = vec![shown];
    if let Some((began, duration)) = span.init {
        spans.push(json!({
            "traceId": trace,
            "spanId": span_id(),
            "parentSpanId": id,
            "name": "init",
            "kind": 1,
            "startTimeUnixNano": nanos(began),
            "endTimeUnixNano": nanos(began + duration),
        }));
    }
    spans
}

pub(super) fn logs(records: &[Record]) -> Value {
    let groups = by_resource(records, |record| &record.resource).into_iter();
    let groups = groups.map(|(of, records)| {
        let records = records.into_iter().map(|record| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(record.at_ms);
            let mut shown = json!({
                "timeUnixNano": nanos(at),
                "observedTimeUnixNano": nanos(at),
                "body": { "stringValue": record.text },
            });
            if let Some(context) = &record.context {
                shown["traceId"] = json!(context.trace);
                shown["spanId"] = json!(context.span);
                // Of W3C's trace flags: sampled.
                shown["flags"] = json!(u8::from(context.sampled));
            }
            shown
        });
        json!({
            "resource": resource(of),
            "scopeLogs": [{
                "scope": { "name": SCOPE },
                "logRecords": records.collect::<Value>(),
            }],
        })
    });
    json!({ "resourceLogs": groups.collect::<Value>() })
}

pub(super) fn metrics(service: &str, now: SystemTime, measured: &Measured) -> Value {
    let metrics = Metric::ALL.iter().filter_map(|metric| {
        let points: Vec<Value> = measured
            .iter()
            .filter(|((_, of), _)| of == metric)
            .map(|((arn, _), values)| {
                let mut attributes = vec![
                    text("cloud.region", &arn.region),
                    text("cloud.account.id", arn.account.as_str()),
                ];
                // Without one, it is of the account.
                if !arn.name.is_empty() {
                    attributes.push(text("faas.name", &arn.name));
                }
                let mut point = json!({
                    "attributes": attributes,
                    "startTimeUnixNano": nanos(values.began),
                    "timeUnixNano": nanos(now),
                });
                match metric.unit() {
                    Unit::Milliseconds => {
                        point["count"] = json!(values.count.to_string());
                        point["sum"] = json!(values.sum);
                        let counts = values.buckets.iter().map(u64::to_string);
                        point["bucketCounts"] = counts.collect();
                        point["explicitBounds"] = json!(BOUNDS);
                    }
                    Unit::Count if crate::metrics::is_summed(*metric) => {
                        point["asDouble"] = json!(values.sum);
                    }
                    _ => point["asDouble"] = json!(values.largest),
                }
                point
            })
            .collect();
        if points.is_empty() {
            return None;
        }
        // Of the whole time: AGGREGATION_TEMPORALITY_CUMULATIVE.
        let (kind, data) = match metric.unit() {
            Unit::Milliseconds => {
                ("histogram", json!({ "aggregationTemporality": 2, "dataPoints": points }))
            }
            Unit::Count if crate::metrics::is_summed(*metric) => (
                "sum",
                json!({ "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points }),
            ),
            _ => ("gauge", json!({ "dataPoints": points })),
        };
        let unit = if metric.unit() == Unit::Milliseconds { "ms" } else { "1" };
        let name = format!("aws.lambda.{}", metric.name());
        Some(json!({ "name": name, "unit": unit, kind: data }))
    });
    json!({ "resourceMetrics": [{
        "resource": { "attributes": [text("service.name", service)] },
        "scopeMetrics": [{
            "scope": { "name": SCOPE },
            "metrics": metrics.collect::<Value>(),
        }],
    }] })
}
