//! What happened in an environment, in AWS's words. Log lines, timeline and the Telemetry API are
//! listeners of one stream.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::RequestId;
use crate::error::FunctionError;

/// When an init ran: of its own, or inside the first invocation ("suppressed init").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitPhase {
    Init,
    Invoke,
}

impl InitPhase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Invoke => "invoke",
        }
    }
}

/// How a phase ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Success,
    /// `error` with its type, e.g. `Runtime.ExitError`.
    Error(String),
    /// `failure`: the platform's own fault.
    Failure(String),
    Timeout,
}

impl Status {
    /// As `runtimeDone` and REPORT tell an error (execution-environment.md §1.6).
    pub fn of(error: &FunctionError) -> Self {
        match error.kind.as_str() {
            "Sandbox.Timedout" => Self::Timeout,
            kind if kind.starts_with("Sandbox.") => Self::Failure(kind.to_owned()),
            kind => Self::Error(kind.to_owned()),
        }
    }

    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error(_) => "error",
            Self::Failure(_) => "failure",
            Self::Timeout => "timeout",
        }
    }

    pub fn error_type(&self) -> Option<&str> {
        match self {
            Self::Error(kind) | Self::Failure(kind) => Some(kind),
            Self::Success | Self::Timeout => None,
        }
    }
}

/// The record of one finished invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub request_id: RequestId,
    pub duration: Duration,
    /// Of the init phase before this invocation; absent when reused or when the init was suppressed.
    pub init_duration: Option<Duration>,
    pub memory_mb: u32,
    pub max_memory_used_mb: u32,
    pub status: Status,
    /// From the runtime's `next` to that of the last extension that had the event.
    pub extension_overhead: Option<Span>,
    pub trace: Option<Trace>,
    pub tenant_id: Option<Arc<str>>,
}

/// A part of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub name: &'static str,
    pub start: SystemTime,
    pub duration: Duration,
}

/// A sampled trace: only such are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The header as it came.
    pub header: Arc<str>,
    /// The segment that the runtime was told as its parent; empty if it was told none.
    pub segment: Arc<str>,
}

impl Trace {
    /// The trace of an incoming `X-Amzn-Trace-Id`, if it has a root and is sampled (§4.3).
    /// `downstream` is the header that the runtime is given.
    pub fn sampled(header: &str, downstream: &str) -> Option<Self> {
        let sampled = field(header, "Sampled") == Some("1") && field(header, "Root").is_some();
        let segment = field(downstream, "Parent").unwrap_or_default();
        sampled.then(|| Self { header: header.into(), segment: segment.into() })
    }

    /// The trace's id: `1-…-…`.
    pub fn root(&self) -> &str {
        field(&self.header, "Root").unwrap_or_default()
    }
}

/// A field of a tracing header: pairs without exactly one `=` count for nothing (§2.10).
pub fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name && !value.contains('=')).then_some(value)
    })
}

/// What the runtime did of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeDone {
    pub request_id: RequestId,
    pub status: Status,
    /// From the event's hand-over to the runtime's `next`, or to the failure.
    pub duration: Duration,
    /// Of the response; absent when the runtime posted an error.
    pub produced_bytes: Option<u64>,
    /// `responseLatency`, `responseDuration`, `runtimeOverhead`; none without a response.
    pub spans: Vec<Span>,
    pub trace: Option<Trace>,
    pub tenant_id: Option<Arc<str>>,
}

/// How an extension stands at the end of init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub name: String,
    /// E.g. `Ready` (§3.5).
    pub state: &'static str,
    /// `INVOKE`, `SHUTDOWN`.
    pub events: Vec<&'static str>,
    pub error_type: Option<String>,
}

/// An extension has subscribed to telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub name: String,
    /// `platform`, `function`, `extension`.
    pub types: Vec<&'static str>,
    /// By the older Logs API.
    pub logs_api: bool,
}

impl Report {
    /// Billed duration, whole milliseconds: Duration and Init Duration, rounded up (§5.1).
    pub fn billed_ms(&self) -> u64 {
        let billed = self.duration + self.init_duration.unwrap_or_default();
        u64::try_from(billed.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
    }
}

/// One event of an environment's life.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    InitStart {
        phase: InitPhase,
    },
    InitRuntimeDone {
        phase: InitPhase,
        status: Status,
    },
    InitReport {
        phase: InitPhase,
        duration: Duration,
        status: Status,
    },
    Start {
        request_id: RequestId,
        version: String,
        trace: Option<Trace>,
        tenant_id: Option<Arc<str>>,
    },
    RuntimeDone(Box<RuntimeDone>),
    Report(Box<Report>),
    Extension(Extension),
    Subscribed(Subscription),
    /// Records that a subscriber didn't take.
    LogsDropped {
        reason: &'static str,
        records: u64,
        bytes: u64,
    },
    /// All threads stand still; `took` from the wish to the fact.
    Frozen {
        took: Duration,
    },
    Thawed {
        took: Duration,
    },
    Reset {
        took: Duration,
    },
    ShutDown {
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: execution-environment.md §1.3 and I15: 3.10 ms + 542.01 ms are billed as 546 ms.
    #[test]
    fn ee_i15_init_is_billed() {
        let check = |duration_us: u64, init_us: Option<u64>, billed: u64| {
            let report = Report {
                request_id: uuid::Uuid::nil().into(),
                duration: Duration::from_micros(duration_us),
                init_duration: init_us.map(Duration::from_micros),
                memory_mb: 128,
                max_memory_used_mb: 1,
                status: Status::Success,
                extension_overhead: None,
                trace: None,
                tenant_id: None,
            };
            assert_eq!(report.billed_ms(), billed);
        };
        check(3_100, Some(542_010), 546);
        check(17_090, None, 18);
        check(0, None, 1);
    }

    // Spec: execution-environment.md §2.10, §4.3.
    #[test]
    fn only_sampled_traces_are_told() {
        let check = |header: &str, root: Option<&str>| {
            assert_eq!(Trace::sampled(header, header).as_ref().map(Trace::root), root, "{header}");
        };
        check("Root=1-a-b;Parent=c;Sampled=1", Some("1-a-b"));
        check("Root=1-a-b;Parent=c;Sampled=0", None);
        check("Root=1-a-b;Parent=c", None);
        check("Root=1=a;Sampled=1", None);
        check("Sampled=1", None);
        check("", None);
    }
}
