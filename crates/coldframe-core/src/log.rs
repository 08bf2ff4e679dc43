//! The platform's log lines in text mode (execution-environment.md §5.1). A tab is a tab; AWS ends
//! REPORT lines with one.

use std::fmt::Write;
use std::time::Duration;

use crate::event::{Event, Extension, Report, Status, Subscription};
use crate::{LogLevel, RequestId};

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The line of an event, without its newline; `None` for events that text mode doesn't print.
pub fn line(event: &Event) -> Option<String> {
    match event {
        // Printed only when init failed (§5.1); a good init shows in the REPORT line.
        Event::InitReport { phase, duration, status } if *status != Status::Success => {
            let mut text = format!(
                "INIT_REPORT Init Duration: {:.2} ms\tPhase: {}",
                ms(*duration),
                phase.as_str()
            );
            push_status(&mut text, status);
            Some(text)
        }
        Event::Start { request_id, version, .. } => {
            Some(format!("START RequestId: {request_id} Version: {version}"))
        }
        Event::Report(report) => Some(report_line(report)),
        Event::Extension(extension) => Some(extension_line(extension)),
        Event::Subscribed(subscription) => Some(subscription_line(subscription)),
        Event::LogsDropped { reason, records, bytes } => Some(format!(
            "LOGS_DROPPED\tReason: {reason}\tDropped Records: {records}\tDropped Bytes: {bytes}"
        )),
        _ => None,
    }
}

/// How much an event matters in JSON mode (§5.4). `managed`: the runtime has a version.
pub fn system_level(event: &Event, managed: bool) -> LogLevel {
    let warn_unless_success = |status: &Status, success: LogLevel| match status {
        Status::Success => success,
        _ => LogLevel::Warn,
    };
    match event {
        Event::InitStart { .. } if managed => LogLevel::Info,
        Event::InitStart { .. } => LogLevel::Debug,
        Event::InitRuntimeDone { status, .. } | Event::InitReport { status, .. } => {
            warn_unless_success(status, LogLevel::Debug)
        }
        Event::RuntimeDone(done) => warn_unless_success(&done.status, LogLevel::Debug),
        Event::Report(report) => warn_unless_success(&report.status, LogLevel::Info),
        Event::Extension(extension) if extension.error_type.is_some() => LogLevel::Warn,
        Event::LogsDropped { .. } => LogLevel::Warn,
        _ => LogLevel::Info,
    }
}

/// `END RequestId: …`, the line before REPORT.
pub fn end_line(request_id: RequestId) -> String {
    format!("END RequestId: {request_id}")
}

/// The version of a managed runtime, and its ARN. The hash is the caller's to give: 64 hex digits.
pub fn runtime_version(runtime: &str, region: &str, hash: &str) -> (String, String) {
    let name = runtime.replace("python", "python:").replace("nodejs", "nodejs:");
    let name = name.strip_suffix(".x").unwrap_or(&name);
    (format!("{name}.coldframe"), format!("arn:aws:lambda:{region}::runtime:{hash}"))
}

/// `INIT_START …` of a managed runtime.
pub fn init_start_line(version: &str, arn: &str) -> String {
    format!("INIT_START Runtime Version: {version}\tRuntime Version ARN: {arn}")
}

fn extension_line(extension: &Extension) -> String {
    let Extension { name, state, events, error_type } = extension;
    let events = events.join(",");
    let mut text = format!("EXTENSION\tName: {name}\tState: {state}\tEvents: [{events}]");
    if let Some(kind) = error_type {
        let _ = write!(text, "\tError Type: {kind}");
    }
    text
}

fn subscription_line(subscription: &Subscription) -> String {
    let types = subscription.types.iter().map(|kind| match *kind {
        "platform" => "Platform",
        "function" => "Function",
        _ => "Extension",
    });
    let types = types.collect::<Vec<_>>().join(", ");
    let what = if subscription.logs_api { "LOGS" } else { "TELEMETRY" };
    format!("{what}\tName: {}\tState: Subscribed\tTypes: [{types}]", subscription.name)
}

fn report_line(report: &Report) -> String {
    let mut text = format!(
        "REPORT RequestId: {}\tDuration: {:.2} ms\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
        report.request_id,
        ms(report.duration),
        report.billed_ms(),
        report.memory_mb,
        report.max_memory_used_mb
    );
    if let Some(init) = report.init_duration {
        let _ = write!(text, "Init Duration: {:.2} ms\t", ms(init));
    }
    if report.status != Status::Success {
        // "… Max Memory Used: 30 MB\tStatus: timeout": one tab, none behind.
        text.pop();
        push_status(&mut text, &report.status);
    }
    if let Some(trace) = &report.trace {
        // The second line of the same record.
        let (root, segment) = (trace.root(), &trace.segment);
        let _ = write!(text, "\nXRAY TraceId: {root}\tSegmentId: {segment}\tSampled: true\t");
    }
    text
}

fn push_status(text: &mut String, status: &Status) {
    let _ = write!(text, "\tStatus: {}", status.as_str());
    if let Some(kind) = status.error_type() {
        let _ = write!(text, "\tError Type: {kind}");
    }
}

#[cfg(test)]
mod tests;
