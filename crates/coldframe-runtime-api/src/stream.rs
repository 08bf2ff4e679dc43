//! A streamed response, from the runtime's upload to the caller (execution-environment.md §9).
//!
//! ```text
//! runtime ──chunks──► Bucket (rate) ──► Sender ══════► Receiver ──► caller
//! engine ─────────── how it ended ────► Sender ══════►
//! ```
//! The caller slows the runtime down, and never holds the environment's task up.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use coldframe_core::invoke::{
    Refusal, ResponseStream, StreamEnd, StreamError, StreamPart, StreamedAnswer,
};
use coldframe_core::limits::{STREAM_BURST_BYTES, STREAM_REFILL_BYTES, STREAM_REFILL_INTERVAL};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Chunks on their way to the caller.
const CHUNKS_MAX: usize = 4;

/// The largest chunk, bytes: a caller who doesn't read holds few of them.
pub(crate) const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// How fast a response may be streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What may go at once, bytes.
    pub burst: u64,
    /// What is added each `interval`, bytes.
    pub refill: u64,
    pub interval: Duration,
}

impl Default for Rate {
    /// AWS's (§9.5): 6 MiB at once, then 2 MiB/s.
    fn default() -> Self {
        Self {
            burst: STREAM_BURST_BYTES,
            refill: STREAM_REFILL_BYTES,
            interval: STREAM_REFILL_INTERVAL,
        }
    }
}

/// Holds a stream to its rate.
pub(crate) struct Bucket {
    rate: Rate,
    tokens: u64,
    /// The last whole interval that has been added.
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, filled: Instant::now() }
    }

    /// The largest part that can go at once: what is larger is cut.
    pub(crate) fn part_bytes_max(&self) -> usize {
        usize::try_from(self.rate.burst).unwrap_or(usize::MAX).max(1)
    }

    /// Waits until a part of this many bytes may go, at most [`Bucket::part_bytes_max`].
    pub(crate) async fn take(&mut self, bytes: usize) {
        let wanted = (bytes as u64).min(self.rate.burst);
        loop {
            let intervals = self.filled.elapsed().as_nanos() / self.rate.interval.as_nanos().max(1);
            let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.filled += self.rate.interval * intervals;
            self.tokens = self
                .tokens
                .saturating_add(self.rate.refill.saturating_mul(intervals.into()))
                .min(self.rate.burst);
            if self.tokens >= wanted {
                self.tokens -= wanted;
                return;
            }
            tokio::time::sleep_until(self.filled + self.rate.interval).await;
        }
    }
}

/// The environment's end. Cheap to share: the runtime's upload sends, the engine completes.
#[derive(Clone)]
pub struct Sender {
    chunks: mpsc::Sender<Bytes>,
    ends: Arc<Ends>,
}

struct Ends {
    head: Mutex<Option<oneshot::Sender<Head>>>,
    end: Mutex<Option<oneshot::Sender<StreamEnd>>>,
}

type Head = Result<Option<String>, Refusal>;

/// The caller's end.
pub struct Receiver {
    head: oneshot::Receiver<Head>,
    body: Body,
}

struct Body {
    chunks: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<StreamEnd>,
    ended: Option<StreamEnd>,
}

/// Both ends of a response.
pub fn channel() -> (Sender, Receiver) {
    let (chunks, received) = mpsc::channel(CHUNKS_MAX);
    let (head, begun) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let ends = Ends { head: Mutex::new(Some(head)), end: Mutex::new(Some(end)) };
    let body = Body { chunks: received, end: ended, ended: None };
    (Sender { chunks, ends: Arc::new(ends) }, Receiver { head: begun, body })
}

fn take<T>(of: &Mutex<Option<T>>) -> Option<T> {
    of.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Sender {
    /// The response begins; the first call counts.
    pub fn begin(&self, content_type: Option<String>) {
        if let Some(head) = take(&self.ends.head) {
            // The caller may have gone.
            let _ = head.send(Ok(content_type));
        }
    }

    /// The invocation never reached the function.
    pub fn refuse(&self, refusal: Refusal) {
        if let Some(head) = take(&self.ends.head) {
            let _ = head.send(Err(refusal));
        }
    }

    /// Sends a chunk when the caller has room for it; `false` if nobody wants it any more.
    pub async fn send(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// The response is over; what was sent before stands. The first call counts.
    pub fn complete(&self, end: StreamEnd) {
        if let Some(sender) = take(&self.ends.end) {
            let _ = sender.send(end);
        }
        self.begin(None);
    }
}

impl Receiver {
    /// Waits for the response's beginning.
    ///
    /// # Errors
    /// Why the invocation never reached the function.
    pub async fn begun(self) -> Result<StreamedAnswer, Refusal> {
        match self.head.await {
            Ok(Ok(content_type)) => {
                Ok(StreamedAnswer { content_type, stream: Box::new(self.body) })
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::Platform(ABANDONED.to_owned())),
        }
    }
}

const ABANDONED: &str = "the execution environment ended without an answer";

impl ResponseStream for Body {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<StreamPart> {
        loop {
            match self.chunks.poll_recv(context) {
                Poll::Ready(Some(chunk)) => return Poll::Ready(StreamPart::Chunk(chunk)),
                Poll::Ready(None) if self.ended.is_some() => {
                    let end = self.ended.clone().unwrap_or_default();
                    return Poll::Ready(StreamPart::Complete(end));
                }
                // Nobody sends any more; how it ended is told at once, or never.
                Poll::Ready(None) | Poll::Pending => {}
            }
            if self.ended.is_some() {
                return Poll::Pending;
            }
            match std::pin::Pin::new(&mut self.end).poll(context) {
                Poll::Ready(end) => {
                    self.ended = Some(end.unwrap_or_else(|_| StreamEnd {
                        error: Some(StreamError {
                            code: "Sandbox.Failure".to_owned(),
                            details: ABANDONED.to_owned(),
                        }),
                        log_tail: None,
                    }));
                    // What was sent before is still to be read; an upload that goes on has nobody.
                    self.chunks.close();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests;
