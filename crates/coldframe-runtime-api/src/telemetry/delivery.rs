//! One subscriber's queue, and the task that brings it to its destination.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::subscription::{Buffering, Destination};
use super::{Dropped, Mode, Shared};

/// Waiting for a subscriber, bytes: what comes on top is dropped.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long one attempt may take, counted while the environment runs.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Before each further attempt; then the batch is dropped (§11.2: three retries).
const BACK_OFF: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// Of a subscriber's answer, bytes read before its connection is given up.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The reason that AWS gives (§4.3).
const TOO_SLOW: &str = "Some logs were dropped because the downstream consumer is slower than the logs production rate";

/// What AWS says of a destination that fails has not been seen.
const NOT_TAKEN: &str = "Some logs were dropped because the destination did not accept them";

/// Records on their way to one subscriber.
pub(super) struct Queue {
    buffering: Buffering,
    inner: Mutex<Queued>,
    /// There is something new.
    wake: Notify,
    /// It has become empty, and nothing is under way.
    empty: Notify,
}

#[derive(Default)]
struct Queued {
    records: VecDeque<Record>,
    bytes: usize,
    /// When the oldest record came.
    since: Option<Instant>,
    dropped_records: u64,
    dropped_bytes: u64,
    sending: bool,
}

struct Record {
    json: String,
    /// It tells of dropped ones: its own loss is not told again.
    of_drops: bool,
}

struct Batch {
    records: Vec<Record>,
    bytes: u64,
}

impl Queue {
    pub(super) fn new(buffering: Buffering) -> Self {
        Self { buffering, inner: Mutex::default(), wake: Notify::new(), empty: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record of this size would be taken; counts it as dropped if not. Spares the work
    /// of writing what nobody gets.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let mut inner = self.lock();
        let fits = inner.bytes + bytes <= QUEUE_BYTES_MAX;
        if !fits {
            inner.dropped_records += 1;
            inner.dropped_bytes += bytes as u64;
        }
        fits
    }

    pub(super) fn push(&self, json: String, of_drops: bool) {
        let mut inner = self.lock();
        if inner.bytes + json.len() > QUEUE_BYTES_MAX {
            if !of_drops {
                inner.dropped_records += 1;
                inner.dropped_bytes += json.len() as u64;
            }
            return;
        }
        inner.bytes += json.len();
        inner.records.push_back(Record { json, of_drops });
        let first = inner.since.is_none();
        inner.since.get_or_insert_with(Instant::now);
        let full = inner.records.len() >= self.buffering.items_max
            || inner.bytes >= self.buffering.bytes_max;
        drop(inner);
        if first || full {
            self.wake.notify_one();
        }
    }

    /// Counts records that never came into the queue.
    pub(super) fn drop_records(&self, records: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.dropped_records += records;
        inner.dropped_bytes += bytes;
    }

    /// When the next batch is to go; `None` while there is nothing.
    fn due(&self, draining: bool) -> Option<Instant> {
        let inner = self.lock();
        let since = inner.since?;
        let full = inner.records.len() >= self.buffering.items_max
            || inner.bytes >= self.buffering.bytes_max;
        Some(if full || draining { since } else { since + self.buffering.timeout })
    }

    fn take(&self) -> Batch {
        let mut inner = self.lock();
        let mut batch = Batch { records: Vec::new(), bytes: 0 };
        while let Some(record) = inner.records.front() {
            let length = record.json.len();
            let fits = batch.bytes as usize + length <= self.buffering.bytes_max;
            if batch.records.len() >= self.buffering.items_max
                || !(fits || batch.records.is_empty())
            {
                break;
            }
            batch.bytes += length as u64;
            inner.bytes -= length;
            batch.records.extend(inner.records.pop_front());
        }
        inner.since = (!inner.records.is_empty()).then(Instant::now);
        inner.sending = true;
        batch
    }

    fn sent(&self) -> (u64, u64) {
        let mut inner = self.lock();
        inner.sending = false;
        if inner.records.is_empty() {
            self.empty.notify_waiters();
        }
        let dropped = (inner.dropped_records, inner.dropped_bytes);
        (inner.dropped_records, inner.dropped_bytes) = (0, 0);
        dropped
    }

    /// Resolves once everything has been delivered, or dropped.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.empty.notified();
            {
                let inner = self.lock();
                if inner.records.is_empty() && !inner.sending {
                    return;
                }
            }
            self.wake.notify_one();
            emptied.await;
        }
    }
}

/// Until aborted.
pub(super) async fn deliver(shared: Arc<Shared>, queue: Arc<Queue>, destination: Destination) {
    let mut mode = shared.mode.subscribe();
    let mut line = Line { shared: &shared, destination, kept: None };
    loop {
        let Mode { paused, draining } = *mode.borrow_and_update();
        let due = queue.due(draining).filter(|_| !paused);
        if due.is_none_or(|due| Instant::now() < due) {
            tokio::select! {
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await },
                    if due.is_some() => {}
                () = queue.wake.notified() => {}
                changed = mode.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
            continue;
        }
        let batch = queue.take();
        let taken = send(&mut line, &batch, &mut mode).await;
        let lost = batch.records.iter().filter(|record| !record.of_drops);
        let lost = lost.fold((0, 0), |(records, bytes), record| {
            (records + 1, bytes + record.json.len() as u64)
        });
        let (records, bytes) = queue.sent();
        if records > 0 {
            (shared.dropped)(Dropped { reason: TOO_SLOW, records, bytes });
        }
        if !taken && lost.0 > 0 {
            let (records, bytes) = lost;
            (shared.dropped)(Dropped { reason: NOT_TAKEN, records, bytes });
        }
    }
}

/// Tries as often as is owed; whether the batch was taken.
async fn send(line: &mut Line<'_>, batch: &Batch, mode: &mut watch::Receiver<Mode>) -> bool {
    let body = line.body(batch);
    for pause in [None].into_iter().chain(BACK_OFF.map(Some)) {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        // Never to a frozen subscriber: counted first, so that a freeze either waits or is seen.
        let shared = line.shared;
        let under_way = loop {
            if mode.wait_for(|mode| !mode.paused).await.is_err() {
                return false;
            }
            let under_way = UnderWay::begin(shared);
            if !mode.borrow().paused {
                break under_way;
            }
        };
        let attempt = line.attempt(body.clone());
        let result = while_running(attempt, mode).await;
        drop(under_way);
        if matches!(result, Some(Ok(()))) {
            return true;
        }
        line.kept = None;
    }
    false
}

/// Bounds an attempt by the time the environment runs: frozen, nobody can answer.
async fn while_running<T>(
    attempt: impl Future<Output = T>,
    mode: &mut watch::Receiver<Mode>,
) -> Option<T> {
    tokio::pin!(attempt);
    loop {
        let limit = tokio::time::sleep(ATTEMPT_LIMIT);
        tokio::select! {
            result = &mut attempt => return Some(result),
            () = limit => {
                if !mode.borrow().paused {
                    return None;
                }
                mode.wait_for(|mode| !mode.paused).await.ok()?;
            }
        }
    }
}

/// The way to one destination.
struct Line<'a> {
    shared: &'a Shared,
    destination: Destination,
    kept: Option<Kept>,
}

enum Kept {
    Http(http1::SendRequest<Full<Bytes>>, Connection),
    Tcp(TcpStream),
}

/// Ends with its owner.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counts as under way.
struct UnderWay<'a>(&'a Shared);

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let mut since = shared.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now);
        shared.under_way.fetch_add(1, Ordering::AcqRel);
        Self(shared)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut since = self.0.since.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            *since = None;
        }
        drop(since);
        self.0.settled.notify_waiters();
    }
}

/// Whether the other end is still there: a write to one that is closed seems to succeed. What it
/// says is nobody's matter.
fn is_open(stream: &TcpStream) -> bool {
    let mut said = [0; 256];
    loop {
        match stream.try_read(&mut said) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Line<'_> {
    /// HTTP: one JSON array. TCP: one object a line.
    fn body(&self, batch: &Batch) -> Bytes {
        let mut body = Vec::with_capacity(batch.bytes as usize + batch.records.len() + 2);
        let is_http = matches!(self.destination, Destination::Http { .. });
        if is_http {
            body.push(b'[');
        }
        for (index, record) in batch.records.iter().enumerate() {
            if is_http && index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(record.json.as_bytes());
            if !is_http {
                body.push(b'\n');
            }
        }
        if is_http {
            body.push(b']');
        }
        body.into()
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = self.shared.dial.socket().await?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.destination.port()))).await
    }

    async fn attempt(&mut self, body: Bytes) -> io::Result<()> {
        let kept = match self.kept.take() {
            Some(Kept::Http(sender, _)) if sender.is_closed() => None,
            Some(Kept::Tcp(stream)) if !is_open(&stream) => None,
            kept => kept,
        };
        match self.destination.clone() {
            Destination::Tcp { .. } => {
                let mut stream = match kept {
                    Some(Kept::Tcp(stream)) => stream,
                    _ => self.connect().await?,
                };
                stream.write_all(&body).await?;
                self.kept = Some(Kept::Tcp(stream));
                Ok(())
            }
            Destination::Http { host, port, path, put } => {
                let (mut sender, connection) = match kept {
                    Some(Kept::Http(sender, connection)) => (sender, connection),
                    _ => {
                        let stream = TokioIo::new(self.connect().await?);
                        let handshake = http1::handshake(stream).await.map_err(io::Error::other)?;
                        let (sender, connection) = handshake;
                        let connection = tokio::spawn(async move {
                            let _ = connection.await;
                        });
                        (sender, Connection(connection.abort_handle()))
                    }
                };
                let request = Request::builder()
                    .method(if put { "PUT" } else { "POST" })
                    .uri(path)
                    .header("host", format!("{host}:{port}"))
                    .header("content-type", "application/json")
                    .body(Full::new(body))
                    .map_err(io::Error::other)?;
                sender.ready().await.map_err(io::Error::other)?;
                let answer = sender.send_request(request).await.map_err(io::Error::other)?;
                let taken = answer.status().as_u16() < 400;
                let mut answer = answer.into_body();
                let mut read = 0;
                // The connection can be used again only when the answer has been read.
                while let Some(frame) = answer.frame().await {
                    read += frame
                        .map_err(io::Error::other)?
                        .data_ref()
                        .map_or(0, |data: &Bytes| data.len());
                    if read > ANSWER_BYTES_MAX {
                        break;
                    }
                }
                if read <= ANSWER_BYTES_MAX {
                    self.kept = Some(Kept::Http(sender, connection));
                }
                if taken { Ok(()) } else { Err(io::Error::other("the subscriber refused")) }
            }
        }
    }
}
