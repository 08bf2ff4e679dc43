//! How fast a function may grow (service-api.md §5): environments added in a time, and requests a
//! second. Both are token buckets, which fill all the time and not at intervals.
//!
//! The rules are pure: who asks brings the time.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use coldframe_core::FunctionArn;
use coldframe_core::invoke::Refusal;

use crate::lock;

/// In what time a function may add so many environments. AWS: "Lambda scaling behavior", 10 s.
const INTERVAL: Duration = Duration::from_secs(10);

/// Requests a second, for each environment that a function may have. AWS: "Lambda scaling behavior".
const REQUESTS_PER_ENVIRONMENT: u32 = 10;

/// So many functions are kept in mind before those are forgotten whose buckets are full.
const FUNCTIONS_MIN: usize = 1024;

/// So much at once, and as much again in `interval`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Allowance {
    capacity: u32,
    interval: Duration,
}

/// A bucket is known by the time at which it would be full, were nothing more taken.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Takes one; `false` if none is left.
    fn take(&mut self, allowance: Allowance, now: Instant) -> bool {
        let one = allowance.interval / allowance.capacity.max(1);
        let full_at = self.full_at.max(now) + one;
        let taken = full_at.saturating_duration_since(now) <= allowance.interval;
        if taken {
            self.full_at = full_at;
        }
        taken
    }
}

/// The buckets of every function that has lately taken of one.
#[derive(Default)]
struct Buckets(Mutex<HashMap<FunctionArn, Bucket>>);

impl Buckets {
    fn take(&self, arn: &FunctionArn, allowance: Allowance, now: Instant) -> bool {
        let mut buckets = lock(&self.0);
        if let Some(bucket) = buckets.get_mut(arn) {
            return bucket.take(allowance, now);
        }
        if buckets.len() >= FUNCTIONS_MIN {
            buckets.retain(|_, bucket| bucket.full_at > now);
        }
        buckets.entry(arn.clone()).or_insert(Bucket { full_at: now }).take(allowance, now)
    }
}

/// The rates, counted.
pub(crate) struct Scaling {
    /// That a function may add in [`INTERVAL`].
    environments: u32,
    added: Buckets,
    requested: Buckets,
}

impl Scaling {
    pub(crate) fn new(environments: u32) -> Self {
        let (added, requested) = (Buckets::default(), Buckets::default());
        Self { environments, added, requested }
    }

    /// Counts one more environment made on demand, if it may be made.
    pub(crate) fn environment(&self, arn: &FunctionArn, now: Instant) -> bool {
        let allowance = Allowance { capacity: self.environments, interval: INTERVAL };
        self.added.take(arn, allowance, now)
    }

    /// Counts one more request, if it may come. What a function may run at once is what it has
    /// `reserved`, or else its account's `limit`.
    pub(crate) fn request(
        &self,
        arn: &FunctionArn,
        reserved: Option<usize>,
        limit: usize,
        now: Instant,
    ) -> Result<(), Refusal> {
        let environments = reserved.unwrap_or(limit);
        if environments == 0 {
            // Switched off: refused for that.
            return Ok(());
        }
        let environments = u32::try_from(environments).unwrap_or(u32::MAX);
        let capacity = environments.saturating_mul(REQUESTS_PER_ENVIRONMENT);
        let allowance = Allowance { capacity, interval: Duration::from_secs(1) };
        if self.requested.take(arn, allowance, now) {
            return Ok(());
        }
        let reason = if reserved.is_some() {
            "ReservedFunctionInvocationRateLimitExceeded"
        } else {
            "FunctionInvocationRateLimitExceeded"
        };
        Err(Refusal::Throttled { reason })
    }
}

#[cfg(test)]
mod tests;
