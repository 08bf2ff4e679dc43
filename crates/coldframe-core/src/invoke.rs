//! The arrow from the service API to the engine, pointed down: `api` calls [`Invoker`], `engine`
//! implements it, the binary introduces them.

use std::sync::Arc;

use bytes::Bytes;

use crate::{BoxFuture, FunctionVersion, RequestId};

/// One synchronous invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub request_id: RequestId,
    pub function: Arc<FunctionVersion>,
    /// The ARN as the caller named it, with its qualifier if there was one.
    pub invoked_arn: String,
    pub payload: Bytes,
    /// Decoded from base64; JSON text.
    pub client_context: Option<String>,
    /// JSON text with `cognitoIdentityId` and `cognitoIdentityPoolId`.
    pub cognito_identity: Option<String>,
    /// `X-Amzn-Trace-Id` as it came.
    pub trace_header: Option<String>,
    /// Whether the caller asked for the last 4 KB of the log: its answer then waits for REPORT.
    pub wants_log_tail: bool,
}

/// What the caller of a synchronous invocation gets.
#[derive(Clone, Debug)]
pub struct Answer {
    pub payload: Bytes,
    /// The runtime's content type, if it sent one.
    pub content_type: Option<String>,
    /// The function failed; `payload` tells why.
    pub function_error: bool,
    /// The last 4 KB of this invocation's log, if asked for.
    pub log_tail: Option<Bytes>,
}

/// Why an invocation never reached the function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `TooManyRequestsException` with this `Reason`.
    #[error("Rate Exceeded.")]
    Throttled { reason: &'static str },
    /// The service drains.
    #[error("the service is shutting down")]
    Draining,
    /// The platform failed.
    #[error("{0}")]
    Platform(String),
}

/// Runs functions.
pub trait Invoker: Send + Sync {
    /// Resolves once the caller may have its answer. Dropping the future doesn't stop the function.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Answer, Refusal>>;

    /// The function's code or configuration changed, or it was deleted: environments of any other
    /// revision than `keep` take no new invocation and shut down after their current one.
    fn retire(&self, arn: &crate::FunctionArn, keep: Option<&str>);

    /// Why this runtime cannot run on this host and what to do about it; `None` when it can.
    fn runtime_missing(&self, runtime: &crate::Runtime) -> Option<String>;
}
