//! What becomes of sources that can't be polled: how long they are left alone, what callers are told.

use std::time::Duration;

use coldframe_core::error::chain;
use coldframe_core::source::SourceError;
use serde_json::Value;

use crate::client::Error;
use crate::policy::back_off;

/// Longest wait after failures in a row: 2⁵ s.
const DOUBLINGS_MAX: u32 = 5;

/// Failures in a row. The first is told, and the end.
#[derive(Debug, Default)]
pub(super) struct Failures(u32);

impl Failures {
    /// One more: whether it is the first, and how long to wait.
    pub(super) fn another(&mut self, time_scale: f64) -> (bool, Duration) {
        let (first, doublings) = (self.0 == 0, self.0.min(DOUBLINGS_MAX));
        self.0 = self.0.saturating_add(1);
        (first, milliseconds(back_off(doublings, time_scale)))
    }

    /// All is well; whether it wasn't before.
    pub(super) fn over(&mut self) -> bool {
        std::mem::take(&mut self.0) > 0
    }
}

pub(super) fn milliseconds(wait: i64) -> Duration {
    Duration::from_millis(wait.unsigned_abs())
}

/// For the caller of the Lambda API; `absent` is how the service says that the source isn't there.
pub(super) fn told(error: &Error, absent: &[&str]) -> SourceError {
    let Error::Status { body, .. } = error else {
        return match error {
            Error::NoEndpoint { name, flag, variable } => {
                SourceError::NoEndpoint { name, flag, variable }
            }
            error => SourceError::Unreachable(chain(error)),
        };
    };
    if absent.iter().any(|word| body.contains(word)) {
        return SourceError::Absent;
    }
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str| parsed[key].as_str().map(str::to_owned);
    match (text("__type"), text("message").or(text("Message"))) {
        (Some(kind), message) => SourceError::Refused {
            code: kind.rsplit('#').next().unwrap_or_default().to_owned(),
            message: message.unwrap_or_default(),
        },
        _ => SourceError::Unreachable(error.to_string()),
    }
}
