//! One environment's Runtime API server.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use coldframe_core::RequestId;
use coldframe_core::error::validated_error_type;
use coldframe_core::limits::RESPONSE_PAYLOAD_BYTES_MAX;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as Body;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use crate::state::{Call, State};
use crate::wire::{self, Refusal, Reply};

/// Request line and headers of one request, bytes. RICs send an error cause of up to 1 MiB there.
const HEAD_BYTES_MAX: usize = 1_280 * 1024;

/// Connections served at a time; a function's further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// After a failed accept: what the host lacks, descriptors say, comes back in its own time.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Of a response that is too large, bytes still read so that the runtime gets to see its 413.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event for the runtime.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub request_id: RequestId,
    pub deadline: SystemTime,
    pub invoked_arn: String,
    pub payload: Bytes,
    pub trace: Option<String>,
    pub client_context: Option<String>,
    pub cognito_identity: Option<String>,
}

/// What the runtime did, and in which generation of processes.
#[derive(Debug)]
pub struct Report {
    pub generation: u64,
    pub kind: ReportKind,
}

/// What the runtime did.
#[derive(Debug)]
pub enum ReportKind {
    /// It asked for the next event and waits.
    Next,
    /// A response or error has been received, to its end or as far as it came.
    Completed(Completed),
    /// It told that its init failed; it is expected to exit.
    InitError(InitFailure),
}

/// The end of one invocation, as the runtime told it.
#[derive(Debug)]
pub struct Completed {
    pub request_id: RequestId,
    pub outcome: Outcome,
}

/// How an invocation ended.
#[derive(Debug)]
pub enum Outcome {
    Response {
        payload: Bytes,
        content_type: Option<String>,
    },
    /// `payload` is the runtime's own; `kind` is the validated error type.
    Error {
        payload: Bytes,
        content_type: Option<String>,
        kind: String,
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

/// Serves until dropped.
pub struct Server {
    shared: Arc<Shared>,
    /// Ends the connections of the present generation when it changes.
    generations: watch::Sender<u64>,
    /// One for each connection; the listener holds one for the next.
    places: Arc<Semaphore>,
}

struct Shared {
    inner: Mutex<Inner>,
    reports: mpsc::UnboundedSender<Report>,
}

struct Inner {
    generation: u64,
    state: State,
    /// The invocation whose response is awaited.
    current: Option<Current>,
    waiting: VecDeque<oneshot::Sender<Arc<NextReply>>>,
}

struct Current {
    request_id: RequestId,
    invocation_id: Uuid,
    /// Absent while the runtime is still in its init.
    event: Option<Arc<NextReply>>,
}

/// A `next` reply: kept, as a runtime may ask for the same event again.
struct NextReply {
    headers: HeaderMap,
    payload: Bytes,
}

impl NextReply {
    fn reply(&self) -> Reply {
        let mut reply = Response::new(Full::new(self.payload.clone()));
        *reply.headers_mut() = self.headers.clone();
        reply
    }
}

fn header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

impl NextReply {
    fn new(delivery: &Delivery, invocation_id: Uuid) -> Self {
        let mut headers = HeaderMap::with_capacity(9);
        let mut put = |name: &'static str, text: &str| {
            // A value that HTTP can't carry is left out, as an absent one is.
            if let (false, Ok(value)) = (text.is_empty(), HeaderValue::from_str(text)) {
                headers.insert(header(name), value);
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
        Self { headers, payload: delivery.payload.clone() }
    }
}

impl Server {
    /// Serves the listener of one environment.
    ///
    /// # Errors
    /// If the event loop can't take the listener.
    pub fn start(
        listener: std::net::TcpListener,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (reports, receiver) = mpsc::unbounded_channel();
        let (generations, generation) = watch::channel(0);
        let inner =
            Inner { generation: 0, state: State::Started, current: None, waiting: VecDeque::new() };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), reports });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        tokio::spawn(accept(listener, shared.clone(), places.clone(), generation));
        Ok((Self { shared, generations, places }, receiver))
    }

    /// An invocation has begun whose event waits for the runtime's init: its id is current already.
    pub fn announce(&self, request_id: RequestId) {
        let current = Current { request_id, invocation_id: Uuid::new_v4(), event: None };
        self.shared.lock().current = Some(current);
    }

    /// Answers the runtime's `next`. Only after [`ReportKind::Next`].
    pub fn deliver(&self, delivery: &Delivery) {
        let invocation_id = Uuid::new_v4();
        let event = Arc::new(NextReply::new(delivery, invocation_id));
        let mut inner = self.shared.lock();
        inner.state = State::Running;
        inner.current = Some(Current {
            request_id: delivery.request_id,
            invocation_id,
            event: Some(event.clone()),
        });
        // One whose connection is gone doesn't count; the runtime gets the event when it asks again.
        while let Some(waiting) = inner.waiting.pop_front() {
            if waiting.send(event.clone()).is_ok() {
                break;
            }
        }
    }

    /// The processes of this generation are gone: closes their connections, forgets their state.
    pub fn reinitialise(&self) {
        let generation = {
            let mut inner = self.shared.lock();
            inner.generation += 1;
            inner.state = State::Started;
            inner.current = None;
            inner.waiting.clear();
            inner.generation
        };
        self.generations.send_replace(generation);
    }

    /// The present generation; reports of earlier ones mean nothing.
    pub fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    /// Waits until what the ended processes have sent is read: no connection is open any more.
    pub async fn quiesced(&self) {
        // A connection holds a place; one that begins meanwhile has something to say as well.
        let _ = self.places.acquire_many(CONNECTIONS_MAX as u32 - 1).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, generation: u64, kind: ReportKind) {
        // The engine hears until the environment ends.
        let _ = self.reports.send(Report { generation, kind });
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    mut generations: watch::Receiver<u64>,
) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, say: the next turn waits for something to change.
                Err(error) => {
                    tracing::warn!(%error, "a connection to the Runtime API was lost");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            closed = server_dropped(&mut generations) => return closed,
        };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        let mut generations = generations.clone();
        generations.mark_unchanged();
        tokio::spawn(async move {
            let generation = *generations.borrow();
            let service = service_fn(|request| {
                let shared = shared.clone();
                async move {
                    Ok::<_, std::convert::Infallible>(serve(shared, generation, request).await)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .title_case_headers(true)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // What a runtime sends wrong is its own matter; hyper has answered it.
                _ = connection => {}
                _ = generations.changed() => {}
            }
            drop(place);
        });
    }
}

/// Resolves when the [`Server`] is dropped, not when its generation changes.
async fn server_dropped(generations: &mut watch::Receiver<u64>) {
    while generations.changed().await.is_ok() {}
}

async fn serve(shared: Arc<Shared>, generation: u64, request: Request<Body>) -> Reply {
    let path = request.uri().path();
    let Some(path) = path.strip_prefix("/2018-06-01") else { return wire::not_found() };
    let wants = |method: Method| request.method() == method;
    let method_refused = wire::method_not_allowed;
    match path {
        "/ping" if wants(Method::GET) => wire::pong(),
        "/runtime/invocation/next" if wants(Method::GET) => next(&shared, generation).await,
        "/runtime/init/error" if wants(Method::POST) => {
            init_error(&shared, generation, request).await
        }
        "/ping" | "/runtime/invocation/next" | "/runtime/init/error" => method_refused(),
        _ => {
            let Some((id, what)) =
                path.strip_prefix("/runtime/invocation/").and_then(|rest| rest.split_once('/'))
            else {
                return wire::not_found();
            };
            let call = match what {
                "response" => Call::Response,
                "error" => Call::Error,
                _ => return wire::not_found(),
            };
            if !wants(Method::POST) {
                return method_refused();
            }
            let id = id.to_owned();
            match complete(&shared, generation, call, &id, request).await {
                Ok(()) => wire::accepted(),
                Err(refusal) => wire::refusal(&refusal),
            }
        }
    }
}

/// `GET /2018-06-01/runtime/invocation/next`. Held open: a frozen environment waits in here.
async fn next(shared: &Shared, generation: u64) -> Reply {
    let receiver = {
        let mut inner = shared.lock();
        if inner.generation != generation {
            return wire::not_found();
        }
        match inner.state.on(Call::Next) {
            Err(refused) => return wire::refusal(&Refusal::State(refused)),
            Ok(State::Running) => {
                let event = inner.current.as_ref().and_then(|current| current.event.clone());
                return event.map_or_else(wire::not_found, |event| event.reply());
            }
            Ok(state) => {
                let first = inner.state != State::Ready;
                inner.state = state;
                let (sender, receiver) = oneshot::channel();
                inner.waiting.push_back(sender);
                if first {
                    shared.report(generation, ReportKind::Next);
                }
                receiver
            }
        }
    };
    match receiver.await {
        Ok(event) => event.reply(),
        // The generation ended, and this connection with it.
        Err(_) => wire::not_found(),
    }
}

/// `POST /2018-06-01/runtime/invocation/{id}/response` and `…/error`.
async fn complete(
    shared: &Arc<Shared>,
    generation: u64,
    call: Call,
    id: &str,
    request: Request<Body>,
) -> Result<(), Refusal> {
    let mut upload = {
        let mut inner = shared.lock();
        let current = inner.current.as_ref().filter(|current| {
            // The id as it stands in the path, not what it parses to.
            inner.generation == generation && current.request_id.to_string() == id
        });
        let current = current.ok_or(Refusal::InvalidRequestId)?;
        let echoed = request.headers().get("lambda-runtime-invocation-id");
        let own = current.invocation_id.to_string();
        if echoed.is_some_and(|echoed| echoed.as_bytes() != own.as_bytes()) {
            return Err(Refusal::InvalidInvocationId);
        }
        let request_id = current.request_id;
        inner.state = inner.state.on(call).map_err(Refusal::State)?;
        Upload { shared: shared.clone(), generation, request_id, finished: false }
    };
    let headers = request.headers();
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if call == Call::Response
        && headers
            .get("lambda-runtime-function-response-mode")
            .is_some_and(|mode| mode != "streaming")
    {
        upload.finish(Outcome::InvalidMode);
        return Err(Refusal::InvalidResponseMode);
    }
    let content_type = text(CONTENT_TYPE.as_str());
    let error_type = text("lambda-runtime-function-error-type");
    match read(request.into_body()).await {
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
                Refusal::TooLarge => Outcome::TooLarge,
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
        let completed = Completed { request_id: self.request_id, outcome };
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
            }
        }
    }
}

/// The body of an error, unchanged but for the content type that carries a cause for tracing (§2.7).
fn error(payload: Bytes, content_type: Option<String>, kind: Option<&str>) -> Outcome {
    let kind = validated_error_type(kind);
    if content_type.as_deref() != Some("application/vnd.aws.lambda.error.cause+json") {
        return Outcome::Error { payload, content_type, kind };
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
    Outcome::Error { payload: payload.into(), content_type: Some(content_type.to_owned()), kind }
}

/// `POST /2018-06-01/runtime/init/error`
async fn init_error(shared: &Shared, generation: u64, request: Request<Body>) -> Reply {
    {
        let mut inner = shared.lock();
        if inner.generation != generation {
            return wire::not_found();
        }
        match inner.state.on(Call::InitError) {
            Ok(state) => inner.state = state,
            Err(refused) => return wire::refusal(&Refusal::State(refused)),
        }
    }
    let error_type = request.headers().get("lambda-runtime-function-error-type");
    let kind = validated_error_type(error_type.and_then(|value| value.to_str().ok()));
    match read(request.into_body()).await {
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

struct Read {
    payload: Bytes,
    trailers: Option<HeaderMap>,
}

async fn read(mut body: Body) -> Result<Read, Refusal> {
    let (mut first, mut all, mut length) = (Bytes::new(), BytesMut::new(), 0);
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Truncated)?;
        match frame.into_data() {
            Ok(data) => {
                length += data.len();
                if length > RESPONSE_PAYLOAD_BYTES_MAX {
                    if length > DRAINED_BYTES_MAX {
                        return Err(Refusal::TooLarge);
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
    if length > RESPONSE_PAYLOAD_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let payload = if all.is_empty() { first } else { all.freeze() };
    Ok(Read { payload, trailers })
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
