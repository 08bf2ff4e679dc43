//! Telemetry events as JSON (execution-environment.md §4.3, §4.4).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use coldframe_core::event::{
    Event, Extension, InitPhase, Report, RuntimeDone, Span, Status, Trace,
};
use coldframe_core::{FunctionVersion, RequestId};
use serde::Serialize;
use serde_json::value::RawValue;

/// What the records of one environment have in common.
#[derive(Clone, Debug)]
pub struct About {
    pub function: Arc<FunctionVersion>,
    pub log_stream: Arc<str>,
    /// Of managed runtimes.
    pub runtime_version: Option<RuntimeVersion>,
    /// `on-demand`, `provisioned-concurrency`.
    pub initialization_type: &'static str,
}

/// Which release of a managed runtime it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// E.g. `python:3.12.v30`.
    pub name: String,
    pub arn: String,
}

/// `2022-10-12T00:00:15.064Z`
pub fn time(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Milliseconds with a resolution of microseconds.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn json(value: &impl Serialize) -> String {
    // Texts and numbers only: nothing that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn wrap(at: SystemTime, kind: &str, record: &str) -> String {
    format!("{{\"time\":\"{}\",\"type\":\"{kind}\",\"record\":{record}}}", time(at))
}

/// A line of a function or an extension. `objects`: a line that is a JSON object is told as one.
pub(crate) fn line(at: SystemTime, kind: &str, text: &str, objects: bool) -> String {
    let object = objects && text.trim_start().starts_with('{');
    match object.then(|| serde_json::from_str::<&RawValue>(text)) {
        // Over TCP a record is a line; outside of its strings JSON may be broken anywhere.
        Some(Ok(raw)) => wrap(at, kind, &raw.get().replace(['\n', '\r'], " ")),
        _ => wrap(at, kind, &json(&text)),
    }
}

/// Of a record that is a JSON object: its level, and whether it has a timestamp (§5.4).
pub fn level_and_timestamp(text: &str) -> Option<(Option<String>, bool)> {
    #[derive(serde::Deserialize)]
    struct Record {
        level: Option<String>,
        timestamp: Option<String>,
    }
    if !text.starts_with('{') {
        return None;
    }
    let record: Record = serde_json::from_str(text).ok()?;
    let timestamp = record.timestamp.is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
    Some((record.level, timestamp))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSpan {
    name: &'static str,
    start: String,
    duration_ms: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTrace<'a> {
    r#type: &'static str,
    value: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    span_id: &'a str,
}

fn trace(trace: Option<&Trace>) -> Option<WireTrace<'_>> {
    trace.map(|trace| WireTrace {
        r#type: "X-Amzn-Trace-Id",
        value: &trace.header,
        span_id: &trace.segment,
    })
}

fn spans<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<WireSpan> {
    let wire = |span: &Span| WireSpan {
        name: span.name,
        start: time(span.start),
        duration_ms: ms(span.duration),
    };
    spans.into_iter().map(wire).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InitStart<'a> {
    initialization_type: &'static str,
    phase: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_version_arn: Option<&'a str>,
    function_name: &'a str,
    function_arn: String,
    function_version: &'a str,
    instance_id: &'a str,
    instance_max_memory: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Init<'a> {
    initialization_type: &'static str,
    phase: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<DoneMetrics>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Start<'a> {
    request_id: String,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<WireTrace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
}

/// What `platform.runtimeDone` and `platform.report` have in common: all but their metrics.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended<'a, M> {
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    metrics: M,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    spans: Vec<WireSpan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<WireTrace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneMetrics {
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    produced_bytes: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportMetrics {
    duration_ms: f64,
    billed_duration_ms: u64,
    #[serde(rename = "memorySizeMB")]
    memory_size_mb: u32,
    #[serde(rename = "maxMemoryUsedMB")]
    max_memory_used_mb: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_duration_ms: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireExtension<'a> {
    name: &'a str,
    state: &'static str,
    events: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
}

#[derive(Serialize)]
struct Subscribed<'a> {
    name: &'a str,
    state: &'static str,
    types: &'a [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped {
    reason: &'static str,
    dropped_records: u64,
    dropped_bytes: u64,
}

/// An init's error type: rapid says `Runtime.Unknown` of one that ran out of time (§4.3).
fn init_error_type(status: &Status) -> Option<&str> {
    match status {
        Status::Timeout => Some("Runtime.Unknown"),
        status => status.error_type(),
    }
}

fn init<'a>(
    about: &About,
    phase: InitPhase,
    status: &'a Status,
    duration: Option<Duration>,
) -> Init<'a> {
    Init {
        initialization_type: about.initialization_type,
        phase: phase.as_str(),
        status: status.as_str(),
        error_type: init_error_type(status),
        metrics: duration
            .map(|duration| DoneMetrics { duration_ms: ms(duration), produced_bytes: None }),
    }
}

fn report(report: &Report, with_status: bool) -> Ended<'_, ReportMetrics> {
    Ended {
        request_id: report.request_id.to_string(),
        status: with_status.then(|| report.status.as_str()),
        error_type: report.status.error_type().filter(|_| with_status),
        metrics: ReportMetrics {
            duration_ms: ms(report.duration),
            billed_duration_ms: report.billed_ms(),
            memory_size_mb: report.memory_mb,
            max_memory_used_mb: report.max_memory_used_mb,
            init_duration_ms: report.init_duration.map(ms),
        },
        spans: spans(report.extension_overhead.as_ref().filter(|_| with_status)),
        tracing: trace(report.trace.as_ref().filter(|_| with_status)),
        tenant_id: report.tenant_id.as_deref().filter(|_| with_status),
    }
}

fn extension(extension: &Extension) -> String {
    json(&WireExtension {
        name: &extension.name,
        state: extension.state,
        events: &extension.events,
        error_type: extension.error_type.as_deref(),
    })
}

/// The event as one JSON object, `{"time","type","record"}`; `None` if it is none of AWS's.
pub fn render(about: &About, at: SystemTime, event: &Event) -> Option<String> {
    let function = &about.function;
    let (kind, record) = match event {
        Event::InitStart { phase } => {
            let version = about.runtime_version.as_ref();
            let start = InitStart {
                initialization_type: about.initialization_type,
                phase: phase.as_str(),
                runtime_version: version.map(|version| version.name.as_str()),
                runtime_version_arn: version.map(|version| version.arn.as_str()),
                function_name: &function.arn.name,
                function_arn: function.arn.to_string(),
                function_version: &function.version,
                instance_id: &about.log_stream,
                instance_max_memory: function.memory.bytes(),
            };
            ("platform.initStart", json(&start))
        }
        Event::InitRuntimeDone { phase, status } => {
            ("platform.initRuntimeDone", json(&init(about, *phase, status, None)))
        }
        Event::InitReport { phase, duration, status } => {
            ("platform.initReport", json(&init(about, *phase, status, Some(*duration))))
        }
        Event::Start { request_id, version, trace: traced, tenant_id } => {
            let start = Start {
                request_id: request_id.to_string(),
                version,
                function_arn: Some(function.arn.to_string()),
                tracing: trace(traced.as_ref()),
                tenant_id: tenant_id.as_deref(),
            };
            ("platform.start", json(&start))
        }
        Event::RuntimeDone(done) => ("platform.runtimeDone", json(&runtime_done(done))),
        Event::Report(reported) => ("platform.report", json(&report(reported, true))),
        Event::Extension(told) => ("platform.extension", extension(told)),
        Event::Subscribed(told) => {
            let kind = match told.logs_api {
                true => "platform.logsSubscription",
                false => "platform.telemetrySubscription",
            };
            let subscribed =
                Subscribed { name: &told.name, state: "Subscribed", types: &told.types };
            (kind, json(&subscribed))
        }
        Event::LogsDropped { reason, records, bytes } => {
            let dropped = Dropped { reason, dropped_records: *records, dropped_bytes: *bytes };
            ("platform.logsDropped", json(&dropped))
        }
        Event::Frozen { .. }
        | Event::Thawed { .. }
        | Event::Reset { .. }
        | Event::ShutDown { .. } => return None,
    };
    Some(wrap(at, kind, &record))
}

fn runtime_done(done: &RuntimeDone) -> Ended<'_, DoneMetrics> {
    Ended {
        request_id: done.request_id.to_string(),
        status: Some(done.status.as_str()),
        error_type: done.status.error_type(),
        metrics: DoneMetrics {
            duration_ms: ms(done.duration),
            produced_bytes: done.produced_bytes,
        },
        spans: spans(&done.spans),
        tracing: trace(done.trace.as_ref()),
        tenant_id: done.tenant_id.as_deref(),
    }
}

/// The records of the older Logs API for an event (§4.4): other events, other members.
/// `runtime_done` came with its schema `2021-03-18`.
pub(crate) fn render_for_logs_api(
    about: &About,
    at: SystemTime,
    event: &Event,
    runtime_done: bool,
) -> Vec<String> {
    let with_id = |id: RequestId| format!("{{\"requestId\":\"{id}\"}}");
    match event {
        Event::Start { request_id, version, .. } => {
            let start = Start {
                request_id: request_id.to_string(),
                version,
                function_arn: None,
                tracing: None,
                tenant_id: None,
            };
            vec![wrap(at, "platform.start", &json(&start))]
        }
        Event::RuntimeDone(done) if runtime_done => {
            let status = match done.status {
                Status::Success => "success",
                Status::Timeout => "timeout",
                Status::Error(_) | Status::Failure(_) => "failure",
            };
            let record =
                format!("{{\"requestId\":\"{}\",\"status\":\"{status}\"}}", done.request_id);
            vec![wrap(at, "platform.runtimeDone", &record)]
        }
        Event::Report(reported) => {
            let id = reported.request_id;
            let mut records = Vec::new();
            let ended_early = ["Runtime.ExitError", "Runtime.OutOfMemory", "Extension.Crash"];
            if reported.status.error_type().is_some_and(|kind| ended_early.contains(&kind)) {
                let fault = format!("RequestId: {id} Process exited before completing request");
                records.push(wrap(at, "platform.fault", &json(&fault)));
            }
            records.push(wrap(at, "platform.end", &with_id(id)));
            records.push(wrap(at, "platform.report", &json(&report(reported, false))));
            records
        }
        Event::Extension(_) | Event::Subscribed(_) | Event::LogsDropped { .. } => {
            render(about, at, event).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
