//! The platform's log lines in text mode (execution-environment.md §5.1). A tab is a tab; AWS ends
//! REPORT lines with one.

use std::fmt::Write;
use std::time::Duration;

use crate::RequestId;
use crate::event::{Event, Report, Status};

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
        Event::Start { request_id, version } => {
            Some(format!("START RequestId: {request_id} Version: {version}"))
        }
        Event::Report(report) => Some(report_line(report)),
        _ => None,
    }
}

/// `END RequestId: …`, the line before REPORT.
pub fn end_line(request_id: RequestId) -> String {
    format!("END RequestId: {request_id}")
}

/// `INIT_START …` of a managed runtime. The ARN's hash is the caller's to give: 64 hex digits.
pub fn init_start_line(runtime: &str, region: &str, hash: &str) -> String {
    let version = runtime.replace("python", "python:").replace("nodejs", "nodejs:");
    let version = version.strip_suffix(".x").unwrap_or(&version);
    format!(
        "INIT_START Runtime Version: {version}.coldframe\tRuntime Version ARN: \
         arn:aws:lambda:{region}::runtime:{hash}"
    )
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
