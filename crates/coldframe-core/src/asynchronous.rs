//! Asynchronous invocation: the arrows between the service API and the room that keeps events.
//! `api` hands events over by [`AsyncInvoker`]; `events` asks [`Functions`] what they run. The
//! binary introduces them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{BoxFuture, FunctionArn, FunctionVersion, RequestId};

/// An event that somebody wants a function to have, some time soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncInvocation {
    /// Stays the same over all attempts.
    pub request_id: RequestId,
    pub function: FunctionArn,
    /// As the caller gave it: what it stands for is asked when the event runs.
    pub qualifier: Option<String>,
    /// JSON text.
    pub payload: Bytes,
    /// `X-Amzn-Trace-Id` as it came.
    pub trace_header: Option<String>,
    /// Whose invocation it is, for functions that keep tenants apart.
    pub tenant_id: Option<Arc<str>>,
}

/// The event could not be kept: the caller must not believe that it will run.
#[derive(Debug, thiserror::Error)]
#[error("the event could not be kept")]
pub struct NotKept(#[source] pub Arc<dyn std::error::Error + Send + Sync>);

/// A destination that is known not to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the destination does not exist")]
pub struct NoSuchDestination;

/// Keeps events and sees to it that they run.
pub trait AsyncInvoker: Send + Sync {
    /// Resolves once the event survives a crash of the service and of the host.
    fn enqueue(&self, invocation: AsyncInvocation) -> BoxFuture<'_, Result<(), NotKept>>;

    /// The function was deleted: its events, which are those handed over before, don't run any more.
    fn forget(&self, function: &FunctionArn);

    /// Whether a queue, topic, bus or bucket is there. Says so, too, if that can't be found out.
    fn check_destination<'a>(
        &'a self,
        arn: &'a str,
    ) -> BoxFuture<'a, Result<(), NoSuchDestination>>;
}

/// What an asynchronous invocation runs, and how its failures are handled. As it is now: events
/// that wait run the code that serves when their turn comes (service-api.md §4.1).
#[derive(Clone, Debug)]
pub struct AsyncTarget {
    pub version: Arc<FunctionVersion>,
    /// Attempts after the first.
    pub retries_max: u32,
    /// How old an event may become before its last attempt begins.
    pub age_max: Duration,
    /// ARN of the destination for records of success.
    pub on_success: Option<String>,
    /// ARN of the destination for records of failure.
    pub on_failure: Option<String>,
    /// `DeadLetterConfig.TargetArn`.
    pub dead_letter: Option<String>,
    /// Reserved concurrency is zero: events fail without an attempt.
    pub switched_off: bool,
    /// `RecursiveLoop` is `Allow`: it may be part of a loop of functions.
    pub may_loop: bool,
}

/// Why an event can't run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// There is no such function, version or alias.
    Gone,
    /// It is being made.
    NotYet,
}

/// Knows functions by name.
pub trait Functions: Send + Sync {
    /// What an event of this function and qualifier runs now.
    fn async_target(
        &self,
        function: &FunctionArn,
        qualifier: Option<&str>,
    ) -> Result<AsyncTarget, NoTarget>;
}
