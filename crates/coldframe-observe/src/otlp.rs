//! Traces, metrics and logs sent on as OTLP over HTTP with JSON, when `OTEL_EXPORTER_OTLP_ENDPOINT`
//! says where to.
//!
//! The writer hands items over and never waits: what a receiver doesn't take in time is dropped
//! and counted. What waits is bounded in number and in bytes, from the writer's hand to the answer.

mod encode;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use coldframe_client::{Client, Endpoint, Limits, Request, Trust};
use coldframe_core::event::{Event, Report};
use coldframe_core::observe::{Metric, Unit};
use coldframe_core::{FunctionArn, FunctionVersion};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::listener::{Invoked, Source, Told};
use crate::log::{New, lock};

pub(crate) use self::encode::Context;
use self::encode::{Histogram, Measured};

/// Items that wait for the next batch, and the bytes of all that wait or are being sent.
const WAITING_MAX: usize = 8192;
const WAITING_BYTES_MAX: usize = 16 << 20;

/// What an item takes beside its text, bytes; nearly all of a span.
const ITEM_BYTES: usize = 512;

/// A batch goes before it has more items or bytes than this, or after this time. Receivers take 4 MB
/// and more.
const BATCH_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;
const BATCH_AFTER: Duration = Duration::from_secs(1);

/// Of the OpenTelemetry specification: how often metrics are sent, and how long a request may take.
const METRICS_EVERY: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Of an answer, which nobody reads: only its status matters.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// Tries of a batch, and the pause before the first repetition.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Where to, from the variables that OpenTelemetry defines.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpOptions {
    pub endpoint: Endpoint,
    /// What `/v1/traces` and its like are added to.
    pub path: String,
    /// Whose certificates are believed, if the endpoint has one.
    pub trust: Trust,
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
        let (endpoint, path) = Endpoint::split(&endpoint)
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint}: {error}"))?;
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
        Ok(Some(Self {
            endpoint,
            path: path.trim_end_matches('/').to_owned(),
            trust: Trust::from_variable("OTEL_EXPORTER_OTLP_CERTIFICATE", get),
            headers: pairs(&headers)?,
            service_name: get("OTEL_SERVICE_NAME").unwrap_or_else(|| "coldframe".to_owned()),
            metrics_every: milliseconds("OTEL_METRIC_EXPORT_INTERVAL", METRICS_EVERY)?,
            timeout: milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT)?,
        }))
    }
}

/// `OTEL_EXPORTER_OTLP_HEADERS`: as W3C's Baggage without properties, values percent-encoded
/// (OpenTelemetry specification, "Specifying headers via environment variables").
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| {
        let (name, value) = (name.trim(), decoded(value.trim()));
        // The value may be a secret.
        let bad =
            || format!("OTEL_EXPORTER_OTLP_HEADERS: {name} is no header, or its value is none");
        name.parse::<HeaderName>().map_err(|_| bad())?;
        value.parse::<HeaderValue>().map_err(|_| bad())?;
        Ok((name.to_owned(), value))
    });
    pairs.collect()
}

/// A percent sign that begins no byte stands for itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let digit = |index: usize| char::from(*others.get(index)?).to_digit(16);
        let byte =
            digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(16 * high + low).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[2..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
    pub(crate) context: Arc<Context>,
    pub(crate) qualifier: Option<Box<str>>,
    /// The init that this invocation waited for: its beginning and length.
    pub(crate) init: Option<(SystemTime, Duration)>,
}

/// A line of a log.
pub(crate) struct Record {
    pub(crate) resource: Resource,
    pub(crate) at_ms: u64,
    pub(crate) text: String,
    /// Of the invocation that it was said in.
    pub(crate) context: Option<Arc<Context>>,
}

/// An item's part of [`WAITING_BYTES_MAX`]; dropped, it is free again.
type Held = OwnedSemaphorePermit;

enum Item {
    Span(Box<Span>, Held),
    Record(Box<Record>, Held),
    Sample(Box<(FunctionArn, Metric, f64)>, Held),
    /// Everything before this is to be sent now.
    Flush(oneshot::Sender<()>),
}

/// The writer's end.
pub(crate) struct Exporter {
    items: mpsc::Sender<Item>,
    /// Bytes that may yet come.
    room: Arc<Semaphore>,
    dropped: Arc<AtomicU64>,
}

impl Exporter {
    /// Starts the task that sends. Needs a runtime.
    pub(crate) fn start(options: OtlpOptions) -> Self {
        let (items, receiver) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let sender = Sender {
            client: Client::new(options.trust.clone()),
            options,
            dropped: dropped.clone(),
            measured: Measured::new(),
            failing: false,
        };
        tokio::spawn(sender.run(receiver));
        Self { items, room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)), dropped }
    }

    /// Hands an item over, if there is room for it and a text of so many bytes.
    fn send(&self, text_bytes: usize, item: impl FnOnce(Held) -> Item) {
        let bytes = u32::try_from(ITEM_BYTES + text_bytes).unwrap_or(u32::MAX);
        let sent = match self.room.clone().try_acquire_many_owned(bytes) {
            Ok(held) => self.items.try_send(item(held)).is_ok(),
            Err(_) => false,
        };
        if !sent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines of an environment, and what it has told between them: what is said from an invocation's
    /// beginning to its report belongs to it. Says what trace each invocation is of.
    pub(crate) fn lines(
        &self,
        source: &Source,
        lines: &[New<'_>],
        told: &mut [Told],
        told_after: &[usize],
    ) {
        let mut context = lock(&source.context);
        let mut told = told.iter_mut().zip(told_after).peekable();
        for (index, line) in lines.iter().enumerate() {
            while let Some((told, _)) = told.next_if(|(_, after)| **after <= index) {
                place(&mut context, told);
            }
            let text = line.text.strip_suffix('\n').unwrap_or(line.text);
            self.send(text.len(), |held| {
                let (resource, context) = (resource(source), context.clone());
                let record = Record { resource, at_ms: line.at, text: text.to_owned(), context };
                Item::Record(Box::new(record), held)
            });
        }
        for (told, _) in told {
            place(&mut context, told);
        }
    }

    pub(crate) fn invocation(
        &self,
        source: &Source,
        invoked: &Invoked,
        report: &Report,
        init: Option<(SystemTime, Duration)>,
    ) {
        self.send(0, |held| {
            let span = Span {
                resource: resource(source),
                began: invoked.at,
                report: report.clone(),
                context: invoked.context.clone().unwrap_or_default(),
                qualifier: invoked.qualifier.clone(),
                init,
            };
            Item::Span(Box::new(span), held)
        });
    }

    pub(crate) fn sample(&self, arn: &FunctionArn, metric: Metric, value: f64) {
        self.send(0, |held| Item::Sample(Box::new((arn.clone(), metric, value)), held));
    }

    /// Resolves when what has been handed over is sent, or cannot be.
    pub(crate) async fn flush(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.items.send(Item::Flush(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

/// Follows an environment from invocation to invocation.
fn place(current: &mut Option<Arc<Context>>, told: &mut Told) {
    match told {
        Told::Invoked(invoked) => {
            let context = Arc::new(Context::of(invoked.trace_header.as_deref()));
            invoked.context = Some(context.clone());
            *current = Some(context);
        }
        Told::Happened { event: Event::Report(_), .. } => *current = None,
        Told::Happened { .. } | Told::Ended => {}
    }
}

fn resource(source: &Source) -> Resource {
    Resource { function: source.function.clone(), log_stream: source.stream.clone() }
}

/// What goes to the receiver together.
struct Batch<T> {
    items: Vec<T>,
    held: Option<Held>,
}

impl<T> Batch<T> {
    fn new() -> Self {
        Self { items: Vec::new(), held: None }
    }

    fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Held::num_permits)
    }

    /// Adds an item. The batch before it, if both would be too much.
    fn add(&mut self, item: T, held: Held) -> Option<Self> {
        let full = self.items.len() >= BATCH_MAX
            || (!self.items.is_empty() && self.bytes() + held.num_permits() > BATCH_BYTES_MAX);
        let before = full.then(|| self.take());
        self.items.push(item);
        match &mut self.held {
            Some(all) => all.merge(held),
            none => *none = Some(held),
        }
        before
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }
}

/// Forgets what the next message has nothing to tell of.
fn forget(measured: &mut Measured, now: Instant) {
    measured.retain(|(_, metric), values| {
        // How many ran at once is told of the time since the last message.
        let is_of_all_time =
            metric.unit() == Unit::Milliseconds || crate::metrics::is_summed(*metric);
        is_of_all_time && now.saturating_duration_since(values.last) < crate::metrics::TOLD_FOR
    });
}

/// The task that sends.
struct Sender {
    client: Client,
    options: OtlpOptions,
    dropped: Arc<AtomicU64>,
    /// Since the beginning: the receiver may miss a message and still know all.
    measured: Measured,
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let (mut spans, mut records) = (Batch::new(), Batch::new());
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
                    Some(Item::Span(span, held)) => {
                        if let Some(full) = spans.add(*span, held) {
                            self.post_spans(full).await;
                        }
                    }
                    Some(Item::Record(record, held)) => {
                        if let Some(full) = records.add(*record, held) {
                            self.post_records(full).await;
                        }
                    }
                    Some(Item::Sample(sample, held)) => {
                        let (arn, metric, value) = *sample;
                        let new = || Histogram::new(SystemTime::now());
                        self.measured.entry((arn, metric)).or_insert_with(new).add(value);
                        drop(held);
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
            if send {
                self.post_spans(spans.take()).await;
                self.post_records(records.take()).await;
            }
            if measure && !self.measured.is_empty() {
                let name = &self.options.service_name;
                let body = encode::metrics(name, SystemTime::now(), &self.measured);
                self.post("/v1/metrics", text_of(body)).await;
                forget(&mut self.measured, Instant::now());
            }
            if let Some(waiting) = waiting {
                // Who waited may have gone.
                let _ = waiting.send(());
            }
        }
    }

    async fn post_spans(&mut self, batch: Batch<Span>) {
        if !batch.items.is_empty() {
            // Its room is held until the answer.
            let Batch { items, held: _held } = batch;
            let body = text_of(encode::traces(&items));
            drop(items);
            self.post("/v1/traces", body).await;
        }
    }

    async fn post_records(&mut self, batch: Batch<Record>) {
        if !batch.items.is_empty() {
            let Batch { items, held: _held } = batch;
            let body = text_of(encode::logs(&items));
            drop(items);
            self.post("/v1/logs", body).await;
        }
    }

    /// Sends a batch, a few times if need be; then it is lost, which is told once.
    async fn post(&mut self, path: &str, body: Bytes) {
        let mut pause = PAUSE;
        let mut tries = 0;
        let failure = loop {
            tries += 1;
            let failure = match self.post_once(path, &body).await {
                Ok(status) if status.is_success() => break None,
                Ok(status) => {
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
                Err(error) => error.chain(),
            };
            if tries == TRIES {
                break Some(failure);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        };
        match &failure {
            Some(failure) if !self.failing => {
                let endpoint = &self.options.endpoint;
                tracing::warn!(%endpoint, path, failure, "telemetry could not be sent on");
            }
            Some(_) => {}
            // Also of the time in which nothing could be sent.
            None => match self.dropped.swap(0, Ordering::Relaxed) {
                0 => {}
                dropped => {
                    tracing::warn!(dropped, "telemetry came faster than it could be sent on");
                }
            },
        }
        self.failing = failure.is_some();
    }

    async fn post_once(
        &self,
        path: &str,
        body: &Bytes,
    ) -> Result<StatusCode, coldframe_client::Error> {
        let given = self.options.headers.iter();
        let headers: Vec<(&str, &str)> = [("content-type", "application/json")]
            .into_iter()
            .chain(given.map(|(name, value)| (name.as_str(), value.as_str())))
            .collect();
        let target = format!("{}{path}", self.options.path);
        let answer = self.client.send(Request {
            endpoint: &self.options.endpoint,
            method: Method::POST,
            target: &target,
            headers: &headers,
            body: body.clone(),
            signature: None,
            limits: Limits { time: self.options.timeout, answer_bytes: ANSWER_BYTES_MAX },
        });
        Ok(answer.await?.status)
    }
}

fn text_of(body: serde_json::Value) -> Bytes {
    body.to_string().into()
}

#[cfg(test)]
mod tests;
