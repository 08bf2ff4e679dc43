//! The arrow from the service API to the engine, pointed down: `api` calls [`Invoker`], `engine`
//! implements it, the binary introduces them.

use std::sync::Arc;
use std::task::{Context, Poll};

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
    /// Whose invocation it is, for functions that keep tenants apart (`TenancyConfig`).
    pub tenant_id: Option<Arc<str>>,
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

/// What the caller of a streamed invocation gets once the response has begun, or has failed before.
pub struct StreamedAnswer {
    /// The runtime's content type, if it sent one.
    pub content_type: Option<String>,
    pub stream: Box<dyn ResponseStream>,
}

/// A response on its way. Dropping it doesn't stop the function.
pub trait ResponseStream: Send + Sync {
    /// The next part; the first [`StreamPart::Complete`] is the last.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<StreamPart>;
}

/// A part of a streamed response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// Bytes of the payload, as the runtime wrote them.
    Chunk(Bytes),
    Complete(StreamEnd),
}

/// How a stream ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEnd {
    pub error: Option<StreamError>,
    /// The last 4 KB of this invocation's log, if asked for.
    pub log_tail: Option<Bytes>,
}

/// What went wrong after a stream had begun (service-api.md §3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// E.g. `Unhandled`, `Sandbox.Timedout`.
    pub code: String,
    /// The error JSON, as text.
    pub details: String,
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

/// What a function is guaranteed and limited to (service-api.md §5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConcurrencyPlan {
    /// Simultaneous invocations of all versions together, on demand and provisioned.
    pub reserved: Option<u32>,
    /// Environments that are kept initialised, of each version.
    pub provisioned: Vec<(Arc<FunctionVersion>, u32)>,
}

/// How far the environments are that a version has provisioned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvisionedState {
    /// Those that are initialised.
    pub available: u32,
    /// Why there will be no more.
    pub failure: Option<&'static str>,
}

/// Runs functions.
pub trait Invoker: Send + Sync {
    /// Resolves once the caller may have its answer. Dropping the future doesn't stop the function.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Answer, Refusal>>;

    /// Resolves once the response has begun, or the invocation has failed before it did.
    fn invoke_with_response_stream(
        &self,
        invocation: Invocation,
    ) -> BoxFuture<'_, Result<StreamedAnswer, Refusal>>;

    /// The function's code or configuration changed, or it was deleted: environments of any other
    /// revisions than `keep` take no new invocation and shut down after their current one.
    fn retire(&self, arn: &crate::FunctionArn, keep: &[&str]);

    /// From now on these are the function's limits; what runs already goes on.
    fn plan(&self, arn: &crate::FunctionArn, plan: &ConcurrencyPlan);

    /// How far [`Invoker::plan`] has come with a revision's environments.
    fn provisioned(&self, revision: &str) -> ProvisionedState;

    /// Simultaneous invocations of one account in one region.
    fn concurrency_limit(&self) -> u32;

    /// Why this runtime cannot run on this host and what to do about it; `None` when it can.
    fn runtime_missing(&self, runtime: &crate::Runtime) -> Option<String>;
}
