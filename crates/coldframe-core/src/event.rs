//! What happened in an environment, in AWS's words. Log lines, timeline and (later) the Telemetry
//! API are listeners of one stream.

use std::time::Duration;

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
    },
    RuntimeDone {
        request_id: RequestId,
        status: Status,
    },
    Report(Report),
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
            };
            assert_eq!(report.billed_ms(), billed);
        };
        check(3_100, Some(542_010), 546);
        check(17_090, None, 18);
        check(0, None, 1);
    }
}
