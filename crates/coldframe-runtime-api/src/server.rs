//! One environment's server: Runtime, Extensions, Telemetry and Logs APIs, and the metadata
//! endpoint, on the environment's listener.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use coldframe_core::{RequestId, event};
use hyper::body::Incoming as Body;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use uuid::Uuid;

use crate::extension::{self, ExtensionView, Refused, Registry};
use crate::invocation::{self, Completed, Current, Delivery, InitFailure, NextReply, Waiting};
use crate::lean;
use crate::state::{Call, State};
use crate::stream::Rate;
use crate::telemetry::{self, About, Api, Dial, Dropped, Hub, Subscription};
use crate::wire::{self, Headers, Reply};

/// Request line and headers of one request, bytes. RICs send an error cause of up to 1 MiB there.
const HEAD_BYTES_MAX: usize = 1_280 * 1024;

/// Connections served at a time; a function's further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Body of a call of an extension's, bytes.
const CALL_BYTES_MAX: usize = 64 * 1024;

/// After a failed accept: what the host lacks, descriptors say, comes back in its own time.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Of the runtime's release string, characters (§2.12).
const RELEASE_CHARACTERS_MAX: usize = 128;

/// What a server is told of its environment.
pub struct Options {
    pub about: About,
    /// Reaches the destinations of telemetry.
    pub dial: Arc<dyn Dial>,
    /// How fast responses may be streamed; `None` as fast as they come.
    pub stream_rate: Option<Rate>,
    /// What `Authorization: Bearer` must be at the metadata endpoint (§6.10).
    pub metadata_token: String,
    /// `AvailabilityZoneID`, as the metadata endpoint tells it.
    pub zone: String,
    /// Whether extensions are switched on (§1.2, the file that disables them).
    pub extensions: bool,
}

/// What a process inside did, and in which generation of processes.
#[derive(Debug)]
pub struct Report {
    pub generation: u64,
    pub kind: ReportKind,
}

/// What a process inside did.
#[derive(Debug)]
pub enum ReportKind {
    /// The runtime asked for the next event and waits. `all_ready`: so does every extension.
    Next { all_ready: bool },
    /// A response or error has been received, to its end or as far as it came.
    Completed(Completed),
    /// The runtime told that its init failed; it is expected to exit.
    InitError(InitFailure),
    /// Every external extension has registered.
    ExtensionsRegistered,
    /// An extension asked for its next event. `all_ready`: the runtime and all others wait too.
    ExtensionNext { all_ready: bool },
    /// An extension told that it fails, and is expected to exit: the type of the fatal error.
    ExtensionFailed(&'static str),
    /// An extension subscribed to telemetry.
    Subscribed(event::Subscription),
    /// A subscriber lost records.
    LogsDropped(Dropped),
}

/// Serves until dropped.
pub struct Server {
    shared: Arc<Shared>,
    /// Ends the connections of the present generation when it changes.
    generations: watch::Sender<u64>,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    reports: mpsc::UnboundedSender<Report>,
    telemetry: Hub,
    pub(crate) stream_rate: Option<Rate>,
    about: About,
    metadata_token: String,
    zone: String,
    extensions: bool,
    /// Connections that may be the runtime's.
    speaking: watch::Sender<usize>,
}

pub(crate) struct Inner {
    pub(crate) generation: u64,
    pub(crate) state: State,
    /// There is a runtime: only from then on does anybody get its events.
    pub(crate) runtime_started: bool,
    pub(crate) current: Option<Current>,
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) extensions: Registry,
    release: Option<String>,
}

impl Server {
    /// Serves the listener of one environment.
    ///
    /// # Errors
    /// If the event loop can't take the listener.
    pub fn start(
        listener: std::net::TcpListener,
        options: Options,
    ) -> std::io::Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (reports, receiver) = mpsc::unbounded_channel();
        let (generations, generation) = watch::channel(0);
        let inner = Inner {
            generation: 0,
            state: State::Started,
            runtime_started: false,
            current: None,
            waiting: VecDeque::new(),
            extensions: Registry::default(),
            release: None,
        };
        let Options { about, dial, stream_rate, metadata_token, zone, extensions } = options;
        let (told, numbers) = (reports.clone(), generations.subscribe());
        let telemetry = Hub::new(about.clone(), dial, move |dropped| {
            let generation = *numbers.borrow();
            // The engine hears until the environment ends.
            let _ = told.send(Report { generation, kind: ReportKind::LogsDropped(dropped) });
        });
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            reports,
            telemetry,
            stream_rate,
            about,
            metadata_token,
            zone,
            extensions,
            speaking: watch::channel(0).0,
        });
        tokio::spawn(accept(listener, shared.clone(), generation));
        Ok((Self { shared, generations }, receiver))
    }

    /// An init begins with these external extensions; subscriptions to telemetry are taken.
    pub fn begin_init(&self, extensions: Vec<String>) {
        self.shared.lock().extensions.begin(extensions);
        if self.shared.extensions {
            self.shared.telemetry.open();
        }
    }

    /// The runtime's process is about to start.
    pub fn runtime_starts(&self) {
        self.shared.lock().runtime_started = true;
    }

    /// An external extension could not be started.
    pub fn launch_failed(&self, name: &str, error_type: &str) {
        self.shared.lock().extensions.launch_failed(name, error_type);
    }

    /// An external extension's process ended in the shutdown phase.
    pub fn extension_exited(&self, name: &str, cleanly: bool) {
        self.shared.lock().extensions.exited(name, cleanly);
    }

    /// How every extension stands.
    pub fn extensions(&self) -> Vec<ExtensionView> {
        self.shared.lock().extensions.views()
    }

    /// Who is told what happens.
    pub fn telemetry(&self) -> &Hub {
        &self.shared.telemetry
    }

    /// Tells the external extensions that subscribed to it of the shutdown.
    pub fn shut_down(&self, reason: &'static str, deadline: SystemTime) {
        self.shared.lock().extensions.shut_down(reason, deadline);
    }

    /// The runtime's release, as its first request told it (§2.12).
    pub fn runtime_release(&self) -> Option<String> {
        self.shared.lock().release.clone()
    }

    /// An invocation has begun whose event waits for the runtime's init: its id is current already.
    pub fn announce(&self, request_id: RequestId) {
        let current =
            Current { request_id, invocation_id: Uuid::new_v4(), event: None, stream: None };
        self.shared.lock().current = Some(current);
    }

    /// Answers the held `next` calls: extensions' first, then the runtime's. Only after everybody
    /// is ready.
    ///
    /// Whether all of it is written already; if not, the connections' tasks have yet to.
    pub fn deliver(&self, delivery: Delivery) -> bool {
        let invocation_id = Uuid::new_v4();
        let mut inner = self.shared.lock();
        let any_extension = inner.extensions.invoke(&extension::Invoke {
            request_id: delivery.request_id,
            deadline: delivery.deadline,
            invoked_arn: &delivery.invoked_arn,
            trace: delivery.incoming_trace.as_deref(),
        });
        inner.state = State::Running;
        let (request_id, stream) = (delivery.request_id, delivery.stream.clone());
        let event = Arc::new(NextReply::new(delivery, invocation_id));
        inner.current =
            Some(Current { request_id, invocation_id, event: Some(event.clone()), stream });
        // One whose connection is gone doesn't count; the runtime gets the event when it asks again.
        while let Some(waiting) = inner.waiting.pop_front() {
            // Not under the lock: writing takes its time.
            drop(inner);
            // Nor before extensions get theirs, which their connections' tasks write.
            if let Some(is_written) = waiting.give(&event, !any_extension) {
                return is_written;
            }
            inner = self.shared.lock();
        }
        false
    }

    /// The processes of this generation are gone: closes their connections, forgets their state.
    pub fn reinitialise(&self) {
        let generation = {
            let mut inner = self.shared.lock();
            inner.generation += 1;
            inner.state = State::Started;
            inner.runtime_started = false;
            inner.current = None;
            inner.waiting.clear();
            inner.extensions.begin([]);
            inner.generation
        };
        self.shared.telemetry.clear();
        self.generations.send_replace(generation);
    }

    /// The present generation; reports of earlier ones mean nothing.
    pub fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    /// Waits until what an ended runtime has sent is read: no connection is open any more but
    /// those that have shown themselves as extensions'.
    pub async fn quiesced(&self) {
        let _ = self.shared.speaking.subscribe().wait_for(|open| *open == 0).await;
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn report(&self, generation: u64, kind: ReportKind) {
        // The engine hears until the environment ends.
        let _ = self.reports.send(Report { generation, kind });
    }
}

impl Inner {
    /// Keeps the release string of the runtime's first request.
    pub(crate) fn note_release(&mut self, headers: &impl Headers) {
        self.release.get_or_insert_with(|| release(headers));
    }
}

/// First word of `User-Agent`, and the features that fit (§2.12).
fn release(headers: &impl Headers) -> String {
    let agent = headers.text("user-agent").and_then(|agent| agent.split_whitespace().next());
    let mut release: String =
        agent.unwrap_or("Unknown").chars().take(RELEASE_CHARACTERS_MAX).collect();
    let mut features = String::new();
    for feature in headers.text("lambda-runtime-features").unwrap_or_default().split_whitespace() {
        let feature = feature.replace(['(', ')'], "");
        // " (", a space between two, and ")".
        let between = usize::from(!features.is_empty());
        let length = release.len() + 2 + features.len() + between + feature.len() + 1;
        if !feature.is_empty() && length <= RELEASE_CHARACTERS_MAX {
            if !features.is_empty() {
                features.push(' ');
            }
            features.push_str(&feature);
        }
    }
    if !features.is_empty() {
        release = format!("{release} ({features})");
    }
    release
}

/// A connection that may be the runtime's, for as long as it is open and hasn't shown otherwise.
struct Speaking(Arc<Shared>);

impl Speaking {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.speaking.send_modify(|open| *open += 1);
        Self(shared)
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.0.speaking.send_modify(|open| *open -= 1);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut generations: watch::Receiver<u64>) {
    // One for each connection; the listener holds one for the next.
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let speaking = Mutex::new(Some(Speaking::begin(shared.clone())));
        let connection = Arc::new(Connection { shared: shared.clone(), speaking });
        let mut generations = generations.clone();
        let generation = *generations.borrow_and_update();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let connection = connection.clone();
                async move {
                    Ok::<_, std::convert::Infallible>(connection.serve(generation, request).await)
                }
            });
            let served = async {
                let (from, to) = stream.into_split();
                let rest = lean::serve(&connection.shared, generation, from, to).await;
                let Some(rest) = rest else { return };
                // What a runtime sends wrong is its own matter; hyper has answered it.
                let _ = hyper::server::conn::http1::Builder::new()
                    .title_case_headers(true)
                    .max_buf_size(HEAD_BYTES_MAX)
                    .serve_connection(TokioIo::new(rest.stream()), service)
                    .await;
            };
            tokio::select! {
                () = served => {}
                _ = generations.changed() => {}
            }
            connection.is_an_extension();
            drop(place);
        });
    }
}

/// Resolves when the [`Server`] is dropped, not when its generation changes.
async fn server_dropped(generations: &mut watch::Receiver<u64>) {
    while generations.changed().await.is_ok() {}
}

struct Connection {
    shared: Arc<Shared>,
    speaking: Mutex<Option<Speaking>>,
}

impl Connection {
    /// Nobody waits for this connection when the runtime ends.
    fn is_an_extension(&self) {
        drop(self.speaking.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    async fn serve(&self, generation: u64, request: Request<Body>) -> Reply {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if let Some(path) = path.strip_prefix("/2018-06-01") {
            return runtime(&self.shared, generation, path, &parts, body).await;
        }
        let (is_get, is_put) = (parts.method == Method::GET, parts.method == Method::PUT);
        if path == "/2026-01-15/metadata/execution-environment" {
            return if is_get {
                metadata(&self.shared, &parts.headers)
            } else {
                wire::method_not_allowed()
            };
        }
        let api = match path {
            "/2022-07-01/telemetry" => Some(Api::Telemetry),
            "/2020-08-15/logs" => Some(Api::Logs),
            _ => None,
        };
        let extension = path.strip_prefix("/2020-01-01/extension");
        if api.is_none() && extension.is_none() {
            return wire::not_found();
        }
        if !self.shared.extensions {
            return wire::absent();
        }
        match (api, extension) {
            (Some(api), _) if is_put => {
                if is_external(&self.shared, &parts.headers) {
                    self.is_an_extension();
                }
                subscribe(&self.shared, generation, api, &parts.headers, body).await
            }
            (Some(_), _) => wire::method_not_allowed(),
            (None, Some(path)) => {
                // An internal extension may share the runtime's connection.
                if is_external(&self.shared, &parts.headers) {
                    self.is_an_extension();
                }
                extension_call(&self.shared, generation, path, &parts, body).await
            }
            (None, None) => wire::not_found(),
        }
    }
}

/// Whether the request is that of an external extension.
fn is_external(shared: &Shared, headers: &HeaderMap) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let inner = shared.lock();
    inner.extensions.is_external(header("lambda-extension-identifier"))
        || header("lambda-extension-name")
            .is_some_and(|name| inner.extensions.is_external_name(name))
}

/// Paths below `/2018-06-01`.
async fn runtime(
    shared: &Arc<Shared>,
    generation: u64,
    path: &str,
    parts: &Parts,
    body: Body,
) -> Reply {
    let wants = |wanted: Method| parts.method == wanted;
    match path {
        "/ping" if wants(Method::GET) => wire::pong(),
        "/runtime/invocation/next" if wants(Method::GET) => {
            invocation::next(shared, generation, &parts.headers).await
        }
        "/runtime/init/error" if wants(Method::POST) => {
            invocation::init_error(shared, generation, &parts.headers, body).await
        }
        "/ping" | "/runtime/invocation/next" | "/runtime/init/error" => wire::method_not_allowed(),
        path => {
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
                return wire::method_not_allowed();
            }
            match invocation::complete(shared, generation, call, id, &parts.headers, body).await {
                Ok(()) => wire::accepted(),
                Err(refusal) => wire::refusal(&refusal),
            }
        }
    }
}

/// `GET /2026-01-15/metadata/execution-environment` (§6.10).
fn metadata(shared: &Shared, headers: &HeaderMap) -> Reply {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|text| text.strip_prefix("Bearer "));
    if token != Some(shared.metadata_token.as_str()) {
        let message = "Missing or invalid metadata token";
        return wire::error(StatusCode::UNAUTHORIZED, "Unauthorized", message);
    }
    let mut reply = wire::json_text(json!({ "AvailabilityZoneID": shared.zone }).to_string());
    let cache = hyper::header::HeaderValue::from_static("private, max-age=43200, immutable");
    reply.headers_mut().insert(hyper::header::CACHE_CONTROL, cache);
    reply
}

fn refused(refused: &Refused) -> Reply {
    wire::error(StatusCode::FORBIDDEN, refused.kind, &refused.message)
}

/// Paths below `/2020-01-01/extension` (§3).
async fn extension_call(
    shared: &Arc<Shared>,
    generation: u64,
    path: &str,
    parts: &Parts,
    body: Body,
) -> Reply {
    let method = match path {
        "/event/next" => Method::GET,
        "/register" | "/init/error" | "/exit/error" => Method::POST,
        _ => return wire::not_found(),
    };
    if parts.method != method {
        return wire::method_not_allowed();
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let id = header("lambda-extension-identifier");
    if path == "/event/next" {
        return extension_next(shared, generation, id).await;
    }
    let body = match invocation::read(body, CALL_BYTES_MAX, &mut 0).await {
        Ok(read) => read.payload,
        Err(refusal) => return wire::refusal(&refusal),
    };
    let mut inner = shared.lock();
    if inner.generation != generation {
        return wire::not_found();
    }
    let call = match path {
        "/register" => {
            let name = header("lambda-extension-name");
            let id = match inner.extensions.register(name, &body) {
                Ok(id) => id,
                Err(why) => return refused(&why),
            };
            let external = name.is_some_and(|name| inner.extensions.is_external_name(name));
            if external && inner.extensions.all_registered() {
                shared.report(generation, ReportKind::ExtensionsRegistered);
            }
            let features = header("lambda-extension-accept-feature").unwrap_or_default();
            return registered(shared, id, features);
        }
        "/init/error" => extension::Call::InitError,
        _ => extension::Call::ExitError,
    };
    let error_type = header("lambda-extension-function-error-type");
    match inner.extensions.failed(call, id, error_type) {
        Ok(first) => {
            if first {
                shared.report(
                    generation,
                    ReportKind::ExtensionFailed(match call {
                        extension::Call::InitError => "Extension.InitError",
                        _ => "Extension.ExitError",
                    }),
                );
            }
            wire::accepted()
        }
        Err(why) => refused(&why),
    }
}

/// The reply of `register` (§3.2).
fn registered(shared: &Shared, id: Uuid, features: &str) -> Reply {
    let function = &shared.about.function;
    let mut body = json!({
        "functionName": &*function.arn.name,
        "functionVersion": function.version,
        "handler": function.handler,
    });
    if features.split(',').any(|feature| feature.trim() == "accountId") {
        body["accountId"] = json!(function.account().as_str());
    }
    let mut reply = wire::json_text(format!("{body}\n"));
    if let Ok(id) = hyper::header::HeaderValue::from_str(&id.to_string()) {
        reply.headers_mut().insert("lambda-extension-identifier", id);
    }
    reply
}

/// `GET /2020-01-01/extension/event/next`. Held open until there is an event.
async fn extension_next(shared: &Shared, generation: u64, id: Option<&str>) -> Reply {
    let receiver = {
        let mut inner = shared.lock();
        if inner.generation != generation {
            return wire::not_found();
        }
        let receiver = match inner.extensions.next(id) {
            Ok(receiver) => receiver,
            Err(why) => return refused(&why),
        };
        let all_ready = inner.state == State::Ready && inner.extensions.all_ready();
        shared.report(generation, ReportKind::ExtensionNext { all_ready });
        receiver
    };
    let Ok(told) = receiver.await else {
        // The generation ended, and this connection with it.
        return wire::not_found();
    };
    let mut reply = wire::json_text(told.body);
    if let Some(id) = told.id
        && let Ok(id) = hyper::header::HeaderValue::from_str(&id.to_string())
    {
        reply.headers_mut().insert("lambda-extension-event-identifier", id);
    }
    reply
}

/// `PUT /2022-07-01/telemetry` and `PUT /2020-08-15/logs` (§4.1, §4.4).
async fn subscribe(
    shared: &Shared,
    generation: u64,
    api: Api,
    headers: &HeaderMap,
    body: Body,
) -> Reply {
    let id = headers.get("lambda-extension-identifier");
    let subscriber = {
        let mut inner = shared.lock();
        if inner.generation != generation {
            return wire::not_found();
        }
        inner.extensions.subscriber(id.and_then(|value| value.to_str().ok()))
    };
    let (extension, name) = match subscriber {
        Ok(subscriber) => subscriber,
        Err(why) => return refused(&why),
    };
    let body = match invocation::read(body, CALL_BYTES_MAX, &mut 0).await {
        Ok(read) => read.payload,
        Err(refusal) => return wire::refusal(&refusal),
    };
    let (what, validation) = match api {
        Api::Telemetry => ("Telemetry", "ValidationError"),
        Api::Logs => ("Logs", "Logs.ValidationError"),
    };
    let closed = || {
        let kind = format!("{what}.SubscriptionClosed");
        let message = format!("{what} API subscription is closed");
        wire::error(StatusCode::FORBIDDEN, &kind, &message)
    };
    if !shared.telemetry.is_open() {
        return closed();
    }
    let subscription = match Subscription::parse(api, &body) {
        Ok(subscription) => subscription,
        Err(message) => return wire::error(StatusCode::BAD_REQUEST, validation, &message),
    };
    // The processes may have gone while the body came: then the hub is another generation's.
    let inner = shared.lock();
    if inner.generation != generation {
        return wire::not_found();
    }
    match shared.telemetry.subscribe(extension, &name, subscription) {
        Ok(told) => {
            if let Some(told) = told {
                shared.report(generation, ReportKind::Subscribed(told));
            }
            wire::json_text("\"OK\"".to_owned())
        }
        Err(telemetry::Refused::Closed) => closed(),
        Err(telemetry::Refused::OtherApi) => wire::error(
            StatusCode::BAD_REQUEST,
            validation,
            "the extension has subscribed by the other of Telemetry and Logs APIs",
        ),
    }
}

#[cfg(test)]
mod tests;
