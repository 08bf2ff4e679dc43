//! `next`, `response`, `error` and `init/error`: the runtime's side of an invocation
//! (execution-environment.md §2.2–§2.7, §9).

use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use coldframe_core::RequestId;
use coldframe_core::error::validated_error_type;
use coldframe_core::limits::{RESPONSE_PAYLOAD_BYTES_MAX, STREAMED_RESPONSE_BYTES_MAX};
use coldframe_http::{Case, Head, Message, is_value};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::server::{ReportKind, Shared};
use crate::state::{Call, Refused, State};
use crate::stream::{self, Bucket};
use crate::wire::{self, Headers, Refusal, Reply};

/// Of a response that is too large, bytes still read so that the runtime gets to see its 413.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event for the runtime, and for the extensions that want it.
#[derive(Clone)]
pub struct Delivery {
    pub request_id: RequestId,
    pub deadline: SystemTime,
    pub invoked_arn: String,
    pub payload: Bytes,
    /// As the runtime is told it.
    pub trace: Option<String>,
    /// As it came: what extensions are told.
    pub incoming_trace: Option<String>,
    pub client_context: Option<String>,
    pub cognito_identity: Option<String>,
    pub tenant_id: Option<Arc<str>>,
    /// Where the response goes as it comes; without one it is collected.
    pub stream: Option<stream::Sender>,
}

/// The end of one invocation, as the runtime told it.
#[derive(Debug)]
pub struct Completed {
    pub request_id: RequestId,
    pub outcome: Outcome,
    /// When the first byte of the response or error came, and the last.
    pub began: Instant,
    pub ended: Instant,
    /// Bytes of the response or error.
    pub bytes: u64,
}

/// How an invocation ended.
#[derive(Debug)]
pub enum Outcome {
    /// `payload` is empty when it was streamed.
    Response { payload: Bytes, content_type: Option<String> },
    /// `payload` is the runtime's own; `kind` is the validated error type.
    Error {
        payload: Bytes,
        content_type: Option<String>,
        kind: String,
        /// The error came in trailers, behind a response: its type as the runtime sent it.
        trailing: Option<String>,
    },
    /// The response was larger than is taken.
    TooLarge,
    /// The response ended early.
    Truncated,
    /// The response had a mode nobody knows.
    InvalidMode,
}

/// `init/error`.
#[derive(Clone, Debug)]
pub struct InitFailure {
    pub payload: Bytes,
    pub content_type: Option<String>,
    pub kind: String,
}

/// The invocation whose response is awaited.
pub(crate) struct Current {
    pub(crate) request_id: RequestId,
    pub(crate) invocation_id: Uuid,
    /// Absent while the runtime is still in its init.
    pub(crate) event: Option<Arc<NextReply>>,
    pub(crate) stream: Option<stream::Sender>,
}

/// A `next` reply: kept, as a runtime may ask for the same event again.
pub(crate) struct NextReply {
    delivery: Delivery,
    invocation_id: Uuid,
}

impl NextReply {
    pub(crate) fn new(delivery: Delivery, invocation_id: Uuid) -> Self {
        Self { delivery, invocation_id }
    }

    /// As hyper sends it.
    fn reply(&self) -> Reply {
        let mut reply = Response::new(Full::new(self.delivery.payload.clone()));
        self.headers(|name, text| {
            if let Ok(value) = HeaderValue::from_str(text) {
                reply.headers_mut().insert(HeaderName::from_static(name), value);
            }
        });
        reply
    }

    /// As it goes out on the short way.
    pub(crate) fn message(&self) -> Message {
        let mut head = Head::new(StatusCode::OK, Case::Title);
        self.headers(|name, text| head.put(name, text.as_bytes()));
        head.with(self.delivery.payload.clone())
    }

    fn headers(&self, mut put: impl FnMut(&'static str, &str)) {
        let Self { delivery, invocation_id } = self;
        let mut put = |name: &'static str, text: &str| {
            // A value that HTTP can't carry is left out, as an absent one is.
            if !text.is_empty() && is_value(text) {
                put(name, text);
            }
        };
        let deadline = delivery.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        put("content-type", "application/json");
        put("lambda-runtime-aws-request-id", &delivery.request_id.to_string());
        put("lambda-runtime-deadline-ms", &deadline.as_millis().to_string());
        put("lambda-runtime-invoked-function-arn", &delivery.invoked_arn);
        put("lambda-runtime-invocation-id", &invocation_id.to_string());
        put("lambda-runtime-trace-id", delivery.trace.as_deref().unwrap_or_default());
        put(
            "lambda-runtime-client-context",
            delivery.client_context.as_deref().unwrap_or_default(),
        );
        put(
            "lambda-runtime-cognito-identity",
            delivery.cognito_identity.as_deref().unwrap_or_default(),
        );
        put("lambda-runtime-aws-tenant-id", delivery.tenant_id.as_deref().unwrap_or_default());
    }
}

/// A held `next`.
pub(crate) struct Waiting {
    told: oneshot::Sender<Given>,
    /// Where the event may be written at once. Gone with its connection.
    directly: Option<Weak<OwnedWriteHalf>>,
}

/// The event for a held `next`.
pub(crate) enum Given {
    Event(Arc<NextReply>),
    /// So many bytes of it are written.
    Begun(Message, usize),
}

impl Waiting {
    /// Hands the event over; `None` if the connection is gone. With `at_once` it may be written
    /// before its connection's task runs: whether it is, wholly.
    pub(crate) fn give(self, event: &Arc<NextReply>, at_once: bool) -> Option<bool> {
        if self.told.is_closed() {
            return None;
        }
        let Some(directly) = self.directly.filter(|_| at_once) else {
            return self.told.send(Given::Event(event.clone())).is_ok().then_some(false);
        };
        let message = event.message();
        let (sent, is_all) = message.try_send(&*directly.upgrade()?, 0);
        self.told.send(Given::Begun(message, sent)).is_ok().then_some(is_all)
    }
}

/// `GET /2018-06-01/runtime/invocation/next`. Held open: a frozen environment waits in here.
pub(crate) async fn next(shared: &Shared, generation: u64, headers: &HeaderMap) -> Reply {
    match ask_next(shared, generation, headers, None) {
        Asked::Refused(reply) => reply,
        Asked::Again(event) => event.reply(),
        Asked::Held(receiver) => match receiver.await {
            Ok(Given::Event(event)) => event.reply(),
            // The generation ended, and this connection with it.
            Ok(Given::Begun(..)) | Err(_) => wire::not_found(),
        },
    }
}

/// What becomes of a `next`.
pub(crate) enum Asked {
    Refused(Reply),
    /// The event that the runtime has.
    Again(Arc<NextReply>),
    Held(oneshot::Receiver<Given>),
}

/// Takes a `next`; with `directly`, the event is written there at once when it comes.
pub(crate) fn ask_next(
    shared: &Shared,
    generation: u64,
    headers: &impl Headers,
    directly: Option<Weak<OwnedWriteHalf>>,
) -> Asked {
    let mut inner = shared.lock();
    if inner.generation != generation {
        return Asked::Refused(wire::not_found());
    }
    inner.note_release(headers);
    let to = match inner.runtime_started {
        true => inner.state.on(Call::Next),
        // Some other process, before there is a runtime.
        false => Err(Refused { from: inner.state, to: State::Ready }),
    };
    match to {
        Err(refused) => Asked::Refused(wire::refusal(&Refusal::State(refused))),
        Ok(State::Running) => {
            let event = inner.current.as_ref().and_then(|current| current.event.clone());
            event.map_or_else(|| Asked::Refused(wire::not_found()), Asked::Again)
        }
        Ok(state) => {
            let first = inner.state != State::Ready;
            inner.state = state;
            let (told, receiver) = oneshot::channel();
            // Those whose connection is gone; the others are as many as connections.
            inner.waiting.retain(|waiting| !waiting.told.is_closed());
            inner.waiting.push_back(Waiting { told, directly });
            inner.extensions.close();
            if first {
                let all_ready = inner.extensions.all_ready();
                shared.report(generation, ReportKind::Next { all_ready });
            }
            Asked::Held(receiver)
        }
    }
}

/// `POST /2018-06-01/runtime/invocation/{id}/response` and `…/error`.
pub(crate) async fn complete(
    shared: &Arc<Shared>,
    generation: u64,
    call: Call,
    id: &str,
    headers: &impl Headers,
    body: impl Body<Data = Bytes> + Unpin,
) -> Result<(), Refusal> {
    let mut upload = {
        let mut inner = shared.lock();
        let current = inner.current.as_ref().filter(|current| {
            // The id as it stands in the path, not what it parses to.
            inner.generation == generation && current.request_id.to_string() == id
        });
        let current = current.ok_or(Refusal::InvalidRequestId)?;
        let echoed = headers.value("lambda-runtime-invocation-id");
        let own = current.invocation_id.to_string();
        if echoed.is_some_and(|echoed| echoed != own.as_bytes()) {
            return Err(Refusal::InvalidInvocationId);
        }
        let request_id = current.request_id;
        let stream = current.stream.clone().filter(|_| call == Call::Response);
        inner.state = inner.state.on(call).map_err(Refusal::State)?;
        let shared = shared.clone();
        let began = Instant::now();
        Upload { shared, generation, request_id, began, bytes: 0, stream, finished: false }
    };
    let mode = headers.value("lambda-runtime-function-response-mode");
    if call == Call::Response && mode.is_some_and(|mode| mode != b"streaming") {
        upload.finish(Outcome::InvalidMode);
        return Err(Refusal::InvalidResponseMode);
    }
    let content_type = headers.text("content-type").map(str::to_owned);
    let error_type = headers.text("lambda-runtime-function-error-type").map(str::to_owned);
    let read = match upload.stream.take() {
        Some(stream) => {
            stream.begin(content_type.clone());
            pass_on(body, &stream, &mut upload).await
        }
        None => read(body, RESPONSE_PAYLOAD_BYTES_MAX, &mut upload.bytes).await,
    };
    match read {
        Ok(Read { payload, trailers }) => {
            upload.finish(match call {
                Call::Error => error(payload, content_type, error_type.as_deref()),
                _ => response(payload, content_type, trailers.as_ref()),
            });
            // The caller first: the runtime, told, would take its processor.
            tokio::task::yield_now().await;
            Ok(())
        }
        Err(refusal) => {
            upload.finish(match refusal {
                Refusal::TooLarge(_) => Outcome::TooLarge,
                _ => Outcome::Truncated,
            });
            Err(refusal)
        }
    }
}

/// An upload in progress. Dropped with its connection, it has ended early.
struct Upload {
    shared: Arc<Shared>,
    generation: u64,
    request_id: RequestId,
    began: Instant,
    bytes: u64,
    /// Where it goes as it comes.
    stream: Option<stream::Sender>,
    finished: bool,
}

impl Upload {
    fn finish(&mut self, outcome: Outcome) {
        self.finished = true;
        let mut inner = self.shared.lock();
        if inner.generation != self.generation {
            return;
        }
        inner.state = State::RuntimeResponseSentState;
        inner.current = None;
        let completed = Completed {
            request_id: self.request_id,
            outcome,
            began: self.began,
            ended: Instant::now(),
            bytes: self.bytes,
        };
        // Under the lock: a `next` on another connection must not be told before this.
        self.shared.report(self.generation, ReportKind::Completed(completed));
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(Outcome::Truncated);
        }
    }
}

/// The body of a response; with error trailers it is an error (§9.4).
fn response(payload: Bytes, content_type: Option<String>, trailers: Option<&HeaderMap>) -> Outcome {
    let trailer = |name: &str| trailers?.get(name)?.to_str().ok();
    match trailer("lambda-runtime-function-error-type") {
        None => Outcome::Response { payload, content_type },
        Some(kind) => {
            let body = trailer("lambda-runtime-function-error-body").unwrap_or_default();
            Outcome::Error {
                payload: decode_base64(body).unwrap_or_default().into(),
                content_type: Some("application/json".to_owned()),
                kind: validated_error_type(Some(kind)),
                trailing: Some(kind.to_owned()),
            }
        }
    }
}

/// The body of an error, unchanged but for the content type that carries a cause for tracing (§2.7).
fn error(payload: Bytes, content_type: Option<String>, kind: Option<&str>) -> Outcome {
    let kind = validated_error_type(kind);
    if content_type.as_deref() != Some("application/vnd.aws.lambda.error.cause+json") {
        return Outcome::Error { payload, content_type, kind, trailing: None };
    }
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&payload);
    let (payload, content_type) = match parsed {
        Ok(mut body) => {
            body.retain(|key, _| {
                ["errorMessage", "errorType", "stackTrace"].contains(&key.as_str())
            });
            (serde_json::Value::Object(body).to_string(), "application/json")
        }
        Err(_) => ("\"Invalid error body\"".to_owned(), "application/octet-stream"),
    };
    Outcome::Error {
        payload: payload.into(),
        content_type: Some(content_type.to_owned()),
        kind,
        trailing: None,
    }
}

/// `POST /2018-06-01/runtime/init/error`
pub(crate) async fn init_error(
    shared: &Shared,
    generation: u64,
    headers: &HeaderMap,
    body: Incoming,
) -> Reply {
    {
        let mut inner = shared.lock();
        if inner.generation != generation {
            return wire::not_found();
        }
        inner.note_release(headers);
        let to = match inner.runtime_started {
            true => inner.state.on(Call::InitError),
            // Some other process, before there is a runtime.
            false => Err(Refused { from: inner.state, to: State::InitError }),
        };
        match to {
            Ok(state) => inner.state = state,
            Err(refused) => return wire::refusal(&Refusal::State(refused)),
        }
    }
    let error_type = headers.get("lambda-runtime-function-error-type");
    let kind = validated_error_type(error_type.and_then(|value| value.to_str().ok()));
    match read(body, RESPONSE_PAYLOAD_BYTES_MAX, &mut 0).await {
        Ok(Read { payload, .. }) => {
            let valid = serde_json::from_slice::<serde::de::IgnoredAny>(&payload).is_ok();
            let content_type = if valid { "application/json" } else { "application/octet-stream" };
            let failure =
                InitFailure { payload, content_type: Some(content_type.to_owned()), kind };
            shared.report(generation, ReportKind::InitError(failure));
            wire::accepted()
        }
        Err(refusal) => wire::refusal(&refusal),
    }
}

pub(crate) struct Read {
    pub(crate) payload: Bytes,
    trailers: Option<HeaderMap>,
}

/// Passes a body on as it comes, at the rate that is set. A caller who has gone doesn't stop the
/// function (§9.4).
async fn pass_on(
    mut body: impl Body<Data = Bytes> + Unpin,
    stream: &stream::Sender,
    upload: &mut Upload,
) -> Result<Read, Refusal> {
    let mut bucket = upload.shared.stream_rate.map(Bucket::new);
    let mut wanted = true;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Truncated)?;
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        let room = STREAMED_RESPONSE_BYTES_MAX.saturating_sub(upload.bytes);
        upload.bytes += data.len() as u64;
        if upload.bytes > STREAMED_RESPONSE_BYTES_MAX + DRAINED_BYTES_MAX as u64 {
            return Err(Refusal::TooLarge(STREAMED_RESPONSE_BYTES_MAX));
        }
        // What fits is sent.
        data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        while wanted && !data.is_empty() {
            let part = match &mut bucket {
                Some(bucket) => {
                    let part = data.len().min(bucket.part_bytes_max()).min(stream::CHUNK_BYTES_MAX);
                    let part = data.split_to(part);
                    bucket.take(part.len()).await;
                    part
                }
                None => data.split_to(data.len().min(stream::CHUNK_BYTES_MAX)),
            };
            wanted = stream.send(part).await;
        }
    }
    if upload.bytes > STREAMED_RESPONSE_BYTES_MAX {
        return Err(Refusal::TooLarge(STREAMED_RESPONSE_BYTES_MAX));
    }
    Ok(Read { payload: Bytes::new(), trailers })
}

/// Collects a body; `counted` counts its bytes as they come.
pub(crate) async fn read(
    mut body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    counted: &mut u64,
) -> Result<Read, Refusal> {
    let (mut first, mut all, mut length) = (Bytes::new(), BytesMut::new(), 0);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Truncated)?;
        match frame.into_data() {
            Ok(data) => {
                length += data.len();
                *counted += data.len() as u64;
                if length > limit {
                    if length > DRAINED_BYTES_MAX {
                        return Err(Refusal::TooLarge(limit as u64));
                    }
                } else if first.is_empty() && all.is_empty() {
                    // Most responses come in one piece, which is passed on as it is.
                    first = data;
                } else {
                    if all.is_empty() {
                        all.extend_from_slice(&std::mem::take(&mut first));
                    }
                    all.extend_from_slice(&data);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if length > limit {
        return Err(Refusal::TooLarge(limit as u64));
    }
    let payload = if all.is_empty() { first } else { all.freeze() };
    Ok(Read { payload, trailers })
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
