//! Traces, metrics and logs sent on as OTLP over HTTP with JSON, when `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says where to.
//!
//! The writer hands items over and never waits: what a receiver doesn't take in time is dropped
//! and counted.

mod encode;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use coldframe_core::event::Report;
use coldframe_core::observe::{Metric, Unit};
use coldframe_core::{FunctionArn, FunctionVersion};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::listener::{Invoked, Source};

pub(crate) use self::encode::Histogram;

/// Items that wait for the next batch.
const WAITING_MAX: usize = 8192;

/// A batch goes when it has so many items, or after this time.
const BATCH_MAX: usize = 512;
const BATCH_AFTER: Duration = Duration::from_secs(1);

/// Of the OpenTelemetry specification: how often metrics are sent, and how long a request may take.
const METRICS_EVERY: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Tries of a batch, and the pause before the first repetition.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Where to, from the variables that OpenTelemetry defines.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpOptions {
    /// `http://HOST:PORT/PATH`, to which `/v1/traces` and its like are added.
    pub endpoint: String,
    pub headers: Vec<(String, String)>,
    pub service_name: String,
    pub metrics_every: Duration,
    pub timeout: Duration,
}

impl OtlpOptions {
    /// From `OTEL_EXPORTER_OTLP_ENDPOINT` and its companions; `None` if it isn't set.
    ///
    /// # Errors
    /// A sentence that says which variable cannot be obeyed.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let Some(endpoint) = get("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
        let good = endpoint
            .parse::<Uri>()
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        if !good {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint}: only http://HOST:PORT is supported, \
                 a collector on this host can send on by TLS"
            ));
        }
        if let Some(protocol) = get("OTEL_EXPORTER_OTLP_PROTOCOL")
            && protocol != "http/json"
        {
            return Err(format!(
                "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: only http/json is supported"
            ));
        }
        let milliseconds = |name: &str, default: Duration| match get(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map(|number| Duration::from_millis(number.max(1)))
                .map_err(|_| format!("{name} is {text}: milliseconds are wanted")),
        };
        let headers = get("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let headers = headers.split(',').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        Ok(Some(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            headers: headers.collect(),
            service_name: get("OTEL_SERVICE_NAME").unwrap_or_else(|| "coldframe".to_owned()),
            metrics_every: milliseconds("OTEL_METRIC_EXPORT_INTERVAL", METRICS_EVERY)?,
            timeout: milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT)?,
        }))
    }
}

/// What runs in an environment, as a resource of OpenTelemetry.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) function: Arc<FunctionVersion>,
    pub(crate) log_stream: Arc<str>,
}

/// An invocation that has ended.
pub(crate) struct Span {
    pub(crate) resource: Resource,
    pub(crate) began: SystemTime,
    pub(crate) report: Report,
    pub(crate) trace_header: Option<Box<str>>,
    pub(crate) qualifier: Option<Box<str>>,
    /// The init that this invocation waited for: its beginning and length.
    pub(crate) init: Option<(SystemTime, Duration)>,
}

/// A line of a log.
pub(crate) struct Record {
    pub(crate) resource: Resource,
    pub(crate) at_ms: u64,
    pub(crate) text: String,
}

enum Item {
    Span(Box<Span>),
    Record(Box<Record>),
    Sample(Box<(FunctionArn, Metric, f64)>),
    /// Everything before this is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// The writer's end.
pub(crate) struct Exporter {
    items: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Exporter {
    /// Starts the task that sends. Needs a runtime.
    pub(crate) fn start(options: OtlpOptions) -> Self {
        let (items, receiver) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let sender = Sender {
            options,
            dropped: dropped.clone(),
            began: SystemTime::now(),
            measured: HashMap::new(),
            failing: false,
        };
        tokio::spawn(sender.run(receiver));
        Self { items, dropped }
    }

    fn send(&self, item: Item) {
        if self.items.try_send(item).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn line(&self, source: &Source, at_ms: u64, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
        self.send(Item::Record(Box::new(Record { resource: resource(source), at_ms, text })));
    }

    pub(crate) fn invocation(
        &self,
        source: &Source,
        invoked: &Invoked,
        report: &Report,
        init: Option<(SystemTime, Duration)>,
    ) {
        self.send(Item::Span(Box::new(Span {
            resource: resource(source),
            began: invoked.at,
            report: report.clone(),
            trace_header: invoked.trace_header.clone(),
            qualifier: invoked.qualifier.clone(),
            init,
        })));
    }

    pub(crate) fn sample(&self, arn: &FunctionArn, metric: Metric, value: f64) {
        self.send(Item::Sample(Box::new((arn.clone(), metric, value))));
    }

    /// Resolves when what has been handed over is sent, or cannot be.
    pub(crate) async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.items.send(Item::Flush(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

fn resource(source: &Source) -> Resource {
    Resource { function: source.function.clone(), log_stream: source.stream.clone() }
}

/// The task that sends.
struct Sender {
    options: OtlpOptions,
    dropped: Arc<AtomicU64>,
    began: SystemTime,
    /// Since the beginning: the receiver may miss a message and still know all.
    measured: HashMap<(FunctionArn, Metric), Histogram>,
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let (mut spans, mut records) = (Vec::new(), Vec::new());
        let mut metrics = tokio::time::interval(self.options.metrics_every);
        let mut batch = tokio::time::interval(BATCH_AFTER);
        for timer in [&mut metrics, &mut batch] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // The first tick comes at once.
            timer.tick().await;
        }
        loop {
            let mut waiting = None;
            let (mut send, mut measure) = (false, false);
            tokio::select! {
                item = items.recv() => match item {
                    Some(Item::Span(span)) => spans.push(*span),
                    Some(Item::Record(record)) => records.push(*record),
                    Some(Item::Sample(sample)) => {
                        let (arn, metric, value) = *sample;
                        self.measured.entry((arn, metric)).or_default().add(value);
                    }
                    Some(Item::Flush(waits)) => {
                        (send, measure) = (true, true);
                        waiting = Some(waits);
                    }
                    None => return,
                },
                _ = metrics.tick() => measure = true,
                _ = batch.tick() => send = true,
            }
            if spans.len() >= BATCH_MAX || (send && !spans.is_empty()) {
                let body = encode::traces(&std::mem::take(&mut spans));
                self.post("/v1/traces", body).await;
            }
            if records.len() >= BATCH_MAX || (send && !records.is_empty()) {
                let body = encode::logs(&std::mem::take(&mut records));
                self.post("/v1/logs", body).await;
            }
            if measure && !self.measured.is_empty() {
                let name = &self.options.service_name;
                let body = encode::metrics(name, self.began, SystemTime::now(), &self.measured);
                self.post("/v1/metrics", body).await;
                // How many ran at once is told of the time since the last message.
                self.measured.retain(|(_, metric), _| {
                    metric.unit() == Unit::Milliseconds || crate::metrics::is_summed(*metric)
                });
            }
            if let Some(waiting) = waiting {
                // Who waited may have gone.
                let _ = waiting.send(());
            }
        }
    }

    /// Sends a batch, a few times if need be; then it is lost, which is told once.
    async fn post(&mut self, path: &str, body: serde_json::Value) {
        let body = Bytes::from(body.to_string());
        let mut pause = PAUSE;
        let mut tries = 0;
        let failure = loop {
            tries += 1;
            let once = tokio::time::timeout(self.options.timeout, self.post_once(path, &body));
            let failure = match once.await {
                Ok(Ok(status)) if status.is_success() => break None,
                Ok(Ok(status)) => {
                    let again = [
                        StatusCode::TOO_MANY_REQUESTS,
                        StatusCode::BAD_GATEWAY,
                        StatusCode::SERVICE_UNAVAILABLE,
                        StatusCode::GATEWAY_TIMEOUT,
                    ];
                    let failure = format!("it answered {status}");
                    if !again.contains(&status) {
                        break Some(failure);
                    }
                    failure
                }
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {:?}", self.options.timeout),
            };
            if tries == TRIES {
                break Some(failure);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        match &failure {
            Some(failure) if !self.failing => {
                let endpoint = &self.options.endpoint;
                tracing::warn!(%endpoint, path, failure, "telemetry could not be sent on");
            }
            None if dropped > 0 => {
                tracing::warn!(dropped, "telemetry came faster than it could be sent on");
            }
            _ => {}
        }
        self.failing = failure.is_some();
    }

    async fn post_once(&self, path: &str, body: &Bytes) -> Result<StatusCode, String> {
        let uri: Uri = format!("{}{path}", self.options.endpoint)
            .parse()
            .map_err(|_| "the endpoint is no URL".to_owned())?;
        let host = uri.host().unwrap_or_default();
        // As an address of IPv6 is written in a URL.
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let text = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(80)));
        let stream = stream.await.map_err(|error| text(&error))?;
        let (mut client, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
        let connection = tokio::spawn(connection);
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let mut request = Request::post(uri.path())
            .header("host", authority)
            .header("content-type", "application/json");
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.clone())).map_err(|error| text(&error))?;
        let answer = client.send_request(request).await.map_err(|error| text(&error))?;
        let status = answer.status();
        // Read to its end, so that the receiver isn't cut off.
        let _ = answer.into_body().collect().await;
        connection.abort();
        Ok(status)
    }
}

#[cfg(test)]
mod tests;
