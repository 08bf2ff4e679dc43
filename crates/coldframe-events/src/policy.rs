//! What becomes of an event after an attempt, or instead of one (service-api.md §4.1): the whole
//! policy, without clock or deed.

use std::time::Duration;

use coldframe_store::queue::Millis;

/// Between the first attempt and the second; between the second and the third, twice that.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// After a refusal; doubled after each further one.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    FunctionError,
    /// Throttled, or a fault of the platform: the function hasn't seen the event.
    Refused,
}

/// How an event ended, as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Success,
    RetriesExhausted,
    EventAgeExceeded,
    ZeroReservedConcurrency,
    /// The event has come through the function too often. AWS's word has not been seen.
    RecursiveInvocation,
}

impl Condition {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::ZeroReservedConcurrency => "ZeroReservedConcurrency",
            Self::RecursiveInvocation => "RecursiveInvocation",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    End(Condition),
    /// Counts as an attempt.
    Retry {
        due: Millis,
    },
    /// Doesn't.
    PutBack {
        due: Millis,
    },
}

/// An event's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) retries_max: u32,
    pub(crate) age_max: Duration,
    pub(crate) time_scale: f64,
}

/// How an event stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) now: Millis,
    pub(crate) enqueued: Millis,
    /// With the one that has just ended, if the function saw the event.
    pub(crate) attempts: u32,
    /// Refusals in a row before.
    pub(crate) put_backs: u32,
}

impl Limits {
    /// Whether the event is too old for an attempt now.
    pub(crate) fn is_too_old(&self, standing: &Standing) -> bool {
        standing.now - standing.enqueued > scaled(self.age_max, self.time_scale)
    }

    pub(crate) fn next(&self, standing: &Standing, outcome: Outcome) -> Next {
        let Standing { now, enqueued, attempts, put_backs } = *standing;
        let (due, later) = match outcome {
            Outcome::Success => return Next::End(Condition::Success),
            Outcome::FunctionError if attempts > self.retries_max => {
                return Next::End(Condition::RetriesExhausted);
            }
            Outcome::FunctionError => {
                let due = now + scaled(RETRY_AFTER * attempts, self.time_scale);
                (due, Next::Retry { due })
            }
            Outcome::Refused => {
                let due = now + back_off(put_backs, self.time_scale);
                (due, Next::PutBack { due })
            }
        };
        // What would be too old by then is given up now: on AWS, with the least age and the first
        // retry alike at a minute, there is none.
        if due - enqueued >= scaled(self.age_max, self.time_scale) {
            return Next::End(Condition::EventAgeExceeded);
        }
        later
    }
}

/// How long to wait after one more refusal in a row.
pub(crate) fn back_off(put_backs: u32, time_scale: f64) -> Millis {
    let doubled = BACK_OFF_MIN.saturating_mul(1 << put_backs.min(16));
    scaled(doubled.min(BACK_OFF_MAX), time_scale)
}

/// At least a millisecond: nothing is tried again at once.
pub(crate) fn scaled(time: Duration, scale: f64) -> Millis {
    let milliseconds = time.as_secs_f64() * 1000.0 * scale;
    // A float that is too large becomes the largest.
    (milliseconds as Millis).max(1)
}

#[cfg(test)]
mod tests;
