//! The admin API, `/_coldframe/…`: what the Lambda API has no words for.
//!
//! - `GET /_coldframe/environments`: every living environment
//! - `GET /_coldframe/environments/ID`: one, with its timeline; the beginning of an id will do
//! - `GET /_coldframe/logs/FUNCTION[?follow=true]`: log lines, one JSON object a line
//!
//! With `--auth sigv4` these are signed as the Lambda API is, and show the caller's own account.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use coldframe_api::{Caller, model};
use coldframe_core::event::Event;
use coldframe_core::{AccountId, FunctionArn};
use coldframe_engine::{Engine, EnvironmentView, Moment};
use coldframe_observe::{Line, Observe};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use crate::service::{Body, full};

/// Begins the paths.
const PATH: &str = "/_coldframe/";

pub(crate) struct Admin {
    pub(crate) api: Arc<coldframe_api::Service>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) observe: Observe,
    /// Everybody sees everything; else his own account.
    pub(crate) is_open: bool,
}

impl Admin {
    /// Whether the request is for this API.
    pub(crate) fn is_for<B>(request: &Request<B>) -> bool {
        let path = request.uri().path().strip_prefix(PATH);
        path.is_some_and(|path| !path.starts_with("code/"))
    }

    pub(crate) async fn answer(&self, head: &Parts) -> Response<Body> {
        let caller = match self.api.caller("lambda", head, &Bytes::new()).await {
            Ok(caller) => caller,
            Err(denied) => return problem(StatusCode::FORBIDDEN, &denied.to_string()),
        };
        if head.method != Method::GET {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "the admin API only answers GET");
        }
        let path = head.uri.path().strip_prefix(PATH).unwrap_or_default();
        let (what, name) = path.split_once('/').unwrap_or((path, ""));
        match what {
            "environments" if name.is_empty() => {
                let all: Vec<Value> =
                    self.seen_by(&caller).iter().map(|view| environment(view, false)).collect();
                reply(StatusCode::OK, &json!({ "environments": all }))
            }
            "environments" => self.environment(&caller, name),
            "logs" => self.logs(&caller, name, head.uri.query().unwrap_or_default()).await,
            _ => problem(StatusCode::NOT_FOUND, "the admin API has environments and logs"),
        }
    }

    fn seen_by(&self, caller: &Caller) -> Vec<EnvironmentView> {
        let mut all = self.engine.environments();
        all.retain(|view| self.is_open || *view.function.account() == caller.account);
        all
    }

    fn environment(&self, caller: &Caller, id: &str) -> Response<Body> {
        let all = self.seen_by(caller);
        let mut found = all.iter().filter(|view| view.id.to_string().starts_with(id));
        match (found.next(), found.next()) {
            (Some(view), None) => reply(StatusCode::OK, &environment(view, true)),
            (None, _) => problem(StatusCode::NOT_FOUND, "no environment has this id"),
            (Some(_), Some(_)) => {
                problem(StatusCode::CONFLICT, "more than one environment has an id that begins so")
            }
        }
    }

    async fn logs(&self, caller: &Caller, name: &str, query: &str) -> Response<Body> {
        let name = name.replace("%3A", ":").replace("%3a", ":");
        let Ok(identifier) = model::name::parse(&name) else {
            return problem(StatusCode::BAD_REQUEST, "this is no function's name or ARN");
        };
        let account = identifier.account.as_deref().and_then(AccountId::parse);
        let arn = FunctionArn {
            account: account.unwrap_or_else(|| caller.account.clone()),
            region: identifier.region.map_or_else(|| caller.region.clone(), Into::into),
            name: identifier.name.into(),
        };
        let is_seen = self.is_open || arn.account == caller.account;
        let Some(group) = self.api.log_group(&arn).filter(|_| is_seen) else {
            return problem(StatusCode::NOT_FOUND, &format!("Function not found: {arn}"));
        };
        self.observe.settle().await;
        let own = Arc::new(OwnStreams::new(&group, &arn.name));
        let (observe, its) = (self.observe.clone(), own.clone());
        let read = tokio::task::spawn_blocking(move || {
            observe.follow(&arn.account, &arn.region, &group, |stream| its.has(stream))
        });
        let Ok((kept, following)) = read.await else {
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "the log cannot be read");
        };
        let follow = query.split('&').any(|pair| pair == "follow=true");
        let body = if follow {
            followed(kept, following, own)
        } else {
            full(Full::new(kept.iter().flat_map(log_line).collect::<Vec<u8>>().into()))
        };
        let mut reply = Response::new(body);
        let kind = HeaderValue::from_static("application/x-ndjson");
        reply.headers_mut().insert(CONTENT_TYPE, kind);
        reply
    }
}

/// Which streams of a log group are a function's own (service-api.md §10.2).
struct OwnStreams(Option<String>);

impl OwnStreams {
    fn new(group: &str, name: &str) -> Self {
        Self((group != format!("/aws/lambda/{name}")).then(|| format!("/{name}[")))
    }

    fn has(&self, stream: &str) -> bool {
        self.0.as_ref().is_none_or(|part| stream.contains(part))
    }
}

/// Lines as they come. A reader that is too slow misses some and is told.
fn followed(
    kept: Vec<Line>,
    mut following: broadcast::Receiver<Line>,
    own: Arc<OwnStreams>,
) -> Body {
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(64);
    tokio::spawn(async move {
        let first: Vec<u8> = kept.iter().flat_map(log_line).collect();
        if sender.send(Ok(Frame::data(first.into()))).await.is_err() {
            return;
        }
        loop {
            let text = tokio::select! {
                line = following.recv() => match line {
                    Ok(line) if !own.has(&line.stream) => continue,
                    Ok(line) => log_line(&line),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        format!("{}\n", json!({ "missed": missed })).into_bytes()
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = sender.closed() => return,
            };
            if sender.send(Ok(Frame::data(text.into()))).await.is_err() {
                return;
            }
        }
    });
    StreamBody::new(Received(receiver)).boxed()
}

struct Received(mpsc::Receiver<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Received {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

fn log_line(line: &Line) -> Vec<u8> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(line.at);
    let message = line.text.strip_suffix('\n').unwrap_or(&line.text);
    let object = json!({ "time": time(at), "stream": &*line.stream, "message": message });
    format!("{object}\n").into_bytes()
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    let mut reply = Response::new(full(Full::new(body.to_string().into())));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

pub(crate) fn problem(status: StatusCode, message: &str) -> Response<Body> {
    reply(status, &json!({ "message": message }))
}

fn environment(view: &EnvironmentView, with_timeline: bool) -> Value {
    let function = &view.function;
    let mut shown = json!({
        "id": view.id.to_string(),
        "functionArn": function.arn.to_string(),
        "functionName": &*function.arn.name,
        "version": function.version,
        "runtime": function.runtime.to_string(),
        "memorySizeMB": function.memory.mb(),
        "maxMemoryUsedMB": view.max_memory_used_mb,
        "state": view.phase.as_str(),
        "created": time(view.created),
        "lastUsed": time(view.last_used),
        "invocations": view.invocations,
        "generation": view.generation,
        "logStream": view.log_stream,
        "runtimePid": view.runtime_pid,
    });
    if with_timeline {
        let extensions = view.extensions.iter().map(|extension| {
            json!({
                "name": extension.name,
                "external": extension.external,
                "state": extension.state.as_str(),
                "events": coldframe_core::event::Extension::from(extension).events,
            })
        });
        shown["extensions"] = extensions.collect();
        shown["runtimeRelease"] = json!(view.runtime_release);
        shown["timeline"] = view.timeline.iter().map(moment).collect();
    }
    shown
}

fn moment(moment: &Moment) -> Value {
    let micros = |duration: std::time::Duration| duration.as_micros() as u64;
    let mut shown = json!({ "time": time(moment.at), "afterUs": micros(moment.after) });
    let mut put = |key: &str, value: Value| shown[key] = value;
    match &moment.event {
        Event::InitStart { phase } => {
            put("event", json!("initStart"));
            put("phase", json!(phase.as_str()));
        }
        Event::InitRuntimeDone { phase, status } => {
            put("event", json!("initRuntimeDone"));
            put("phase", json!(phase.as_str()));
            put("status", json!(status.as_str()));
        }
        Event::InitReport { phase, duration, status } => {
            put("event", json!("initReport"));
            put("phase", json!(phase.as_str()));
            put("durationUs", json!(micros(*duration)));
            put("status", json!(status.as_str()));
            if let Some(kind) = status.error_type() {
                put("errorType", json!(kind));
            }
        }
        Event::Start { request_id, .. } => {
            put("event", json!("start"));
            put("requestId", json!(request_id.to_string()));
        }
        Event::RuntimeDone(done) => {
            put("event", json!("runtimeDone"));
            put("requestId", json!(done.request_id.to_string()));
            put("durationUs", json!(micros(done.duration)));
            put("status", json!(done.status.as_str()));
        }
        Event::Extension(extension) => {
            put("event", json!("extension"));
            put("name", json!(extension.name));
            put("state", json!(extension.state));
            if let Some(kind) = &extension.error_type {
                put("errorType", json!(kind));
            }
        }
        Event::Subscribed(subscription) => {
            put("event", json!("telemetrySubscription"));
            put("name", json!(subscription.name));
        }
        Event::LogsDropped { records, bytes, .. } => {
            put("event", json!("logsDropped"));
            put("droppedRecords", json!(records));
            put("droppedBytes", json!(bytes));
        }
        Event::Report(report) => {
            put("event", json!("report"));
            put("requestId", json!(report.request_id.to_string()));
            put("durationUs", json!(micros(report.duration)));
            put("maxMemoryUsedMB", json!(report.max_memory_used_mb));
            put("status", json!(report.status.as_str()));
            if let Some(kind) = report.status.error_type() {
                put("errorType", json!(kind));
            }
            if let Some(overhead) = report.extension_overhead {
                put("extensionOverheadUs", json!(micros(overhead.duration)));
            }
        }
        Event::Frozen { took } => {
            put("event", json!("frozen"));
            put("tookUs", json!(micros(*took)));
        }
        Event::Thawed { took } => {
            put("event", json!("thawed"));
            put("tookUs", json!(micros(*took)));
        }
        Event::Reset { took } => {
            put("event", json!("reset"));
            put("tookUs", json!(micros(*took)));
        }
        Event::ShutDown { reason } => {
            put("event", json!("shutdown"));
            put("reason", json!(reason));
        }
    }
    shown
}
