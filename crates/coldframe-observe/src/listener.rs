//! The engine's end: what an environment says and does is put into a buffer of its own, under a
//! lock that nobody else holds for long. The writer takes buffers away, not lines.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::Thread;
use std::time::SystemTime;

use coldframe_core::FunctionVersion;
use coldframe_core::event::Event;
use coldframe_core::invoke::Invocation;
use coldframe_core::observe::{Concurrency, Listener, Measured};
use tokio::sync::oneshot;

use crate::log::{Key, lock, ms};
use crate::metrics::Seen;
use crate::otlp::Context;

/// What may wait of one environment, and of all together, bytes. More is dropped and counted.
const SOURCE_BYTES_MAX: usize = 4 * 1024 * 1024;
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// With so much of one environment waiting, the writer is woken before its time, bytes.
const WAKE_BYTES: usize = 256 * 1024;

/// Values that may wait; more are lost.
const MEASURED_MAX: usize = 65_536;

/// What a line takes beside its text, bytes.
const LINE_OVERHEAD_BYTES: usize = 32;

/// One environment, as the writer knows it.
pub(crate) struct Source {
    pub(crate) function: Arc<FunctionVersion>,
    pub(crate) group: Key,
    pub(crate) stream: Arc<str>,
    buffer: Mutex<Buffer>,
    /// What the writer has made of it so far.
    pub(crate) seen: Mutex<Seen>,
    /// Of the invocation whose lines the writer sends on now.
    pub(crate) context: Mutex<Option<Arc<Context>>>,
}

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Buffer {
    /// The lines' texts behind one another.
    pub(crate) text: String,
    /// Time (ms) and length of each line.
    pub(crate) lines: Vec<(u64, usize)>,
    pub(crate) told: Vec<Told>,
    /// How many lines came before each of `told`.
    pub(crate) told_after: Vec<usize>,
    /// Lines for which there was no room, behind the others.
    pub(crate) dropped: u64,
    queued: bool,
}

impl Buffer {
    fn bytes(&self) -> usize {
        self.text.len() + self.lines.len() * LINE_OVERHEAD_BYTES
    }

    /// What it holds of memory.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.text.capacity() + self.lines.capacity() * size_of::<(u64, usize)>()
    }

    fn tell(&mut self, told: Told) {
        self.told_after.push(self.lines.len());
        self.told.push(told);
    }

    /// Empty again; what it has allocated stays.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.told.clear();
        self.told_after.clear();
        (self.dropped, self.queued) = (0, false);
    }
}

/// What metrics and traces are made of.
pub(crate) enum Told {
    Invoked(Invoked),
    Happened { at: SystemTime, event: Event },
    Ended,
}

pub(crate) struct Invoked {
    pub(crate) at: SystemTime,
    /// The alias or number the caller named, if any.
    pub(crate) qualifier: Option<Box<str>>,
    pub(crate) trace_header: Option<Box<str>>,
    /// What runs at the same time, with this one.
    pub(crate) running: Concurrency,
    /// Where it stands in its trace: the writer says, if telemetry is sent on.
    pub(crate) context: Option<Arc<Context>>,
}

/// Buffers that hold something, and the writer's alarm.
pub(crate) struct Queue {
    waiting: Mutex<Vec<Arc<Source>>>,
    /// Values that no environment tells.
    measured: Mutex<Vec<Measured>>,
    /// `None` once the writer has ended.
    barriers: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    bytes: AtomicUsize,
    /// The writer sleeps until it is woken.
    asleep: AtomicBool,
    stop: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            measured: Mutex::default(),
            barriers: Mutex::new(Some(Vec::new())),
            bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            writer: OnceLock::new(),
        }
    }
}

impl Queue {
    pub(crate) fn set_writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn push(&self, source: Arc<Source>) {
        lock(&self.waiting).push(source);
        self.rouse();
    }

    pub(crate) fn measure(&self, measured: Measured) {
        let mut all = lock(&self.measured);
        if all.len() < MEASURED_MAX {
            all.push(measured);
        }
        drop(all);
        self.rouse();
    }

    /// For the writer: what has been measured.
    pub(crate) fn take_measured(&self) -> Vec<Measured> {
        std::mem::take(&mut *lock(&self.measured))
    }

    /// Wakes the writer if it sleeps for long.
    fn rouse(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Resolves when all that has been said by now is written, or the writer has ended.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if let Some(barriers) = &mut *lock(&self.barriers) {
            barriers.push(sender);
        }
        self.wake();
        receiver
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// For the writer: who waits for a barrier, and then the buffers, in this order.
    pub(crate) fn take(&self) -> (Vec<oneshot::Sender<()>>, Vec<Arc<Source>>) {
        let barriers = lock(&self.barriers).as_mut().map(std::mem::take).unwrap_or_default();
        (barriers, std::mem::take(&mut *lock(&self.waiting)))
    }

    /// For the writer: it wants to sleep; `false` if there is something to do.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let waited_for = lock(&self.barriers).as_ref().is_some_and(|all| !all.is_empty());
        let said = !lock(&self.waiting).is_empty() || !lock(&self.measured).is_empty();
        let idle = !said && !waited_for;
        if !idle || self.is_stopped() {
            self.asleep.store(false, Ordering::SeqCst);
        }
        idle && !self.is_stopped()
    }

    /// For the writer: it ends, and nobody is to wait for it.
    pub(crate) fn end(&self) {
        *lock(&self.barriers) = None;
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Source {
    pub(crate) fn new(function: Arc<FunctionVersion>, stream: &str) -> Self {
        let group = Key {
            account: function.arn.account.clone(),
            region: function.arn.region.clone(),
            name: function.log_group.as_str().into(),
        };
        let stream = stream.into();
        let (buffer, seen, context) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { function, group, stream, buffer, seen, context }
    }

    /// What waits. The buffer given is used in its place.
    pub(crate) fn take(&self, queue: &Queue, empty: Buffer) -> Buffer {
        let taken = std::mem::replace(&mut *lock(&self.buffer), empty);
        queue.bytes.fetch_sub(taken.bytes(), Ordering::Relaxed);
        taken
    }
}

/// The engine's handle of a [`Source`].
pub(crate) struct Ear {
    source: Arc<Source>,
    queue: Arc<Queue>,
}

impl Ear {
    pub(crate) fn new(source: Arc<Source>, queue: Arc<Queue>) -> Self {
        Self { source, queue }
    }

    fn put(&self, put: impl FnOnce(&mut Buffer)) {
        let (first, much) = {
            let mut buffer = lock(&self.source.buffer);
            put(&mut buffer);
            let first = !std::mem::replace(&mut buffer.queued, true);
            (first, buffer.bytes() >= WAKE_BYTES)
        };
        if first {
            self.queue.push(self.source.clone());
        }
        if much {
            self.queue.wake();
        }
    }
}

impl Listener for Ear {
    fn line(&self, at: SystemTime, text: &str) {
        self.put(|buffer| {
            // As AWS shows them: with the newline.
            let bytes = text.len() + 1 + LINE_OVERHEAD_BYTES;
            let waiting = self.queue.bytes.load(Ordering::Relaxed);
            // A line behind dropped ones would stand before their number.
            let full = buffer.dropped > 0
                || buffer.bytes() + bytes > SOURCE_BYTES_MAX
                || waiting + bytes > QUEUE_BYTES_MAX;
            if full {
                buffer.dropped += 1;
                return;
            }
            self.queue.bytes.fetch_add(bytes, Ordering::Relaxed);
            buffer.text.push_str(text);
            buffer.text.push('\n');
            buffer.lines.push((ms(at), text.len() + 1));
        });
    }

    fn invoked(&self, at: SystemTime, invocation: &Invocation, running: &Concurrency) {
        let boxed = |text: &str| Box::<str>::from(text);
        // `arn:aws:lambda:REGION:ACCOUNT:function:NAME:QUALIFIER`
        let qualifier = invocation.invoked_arn.splitn(8, ':').nth(7).map(boxed);
        let invoked = Invoked {
            at,
            qualifier,
            trace_header: invocation.trace_header.as_deref().map(boxed),
            running: *running,
            context: None,
        };
        self.put(|buffer| buffer.tell(Told::Invoked(invoked)));
    }

    fn happened(&self, at: SystemTime, event: &Event) {
        if crate::metrics::is_of_interest(event) {
            let event = event.clone();
            self.put(|buffer| buffer.tell(Told::Happened { at, event }));
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.put(|buffer| buffer.tell(Told::Ended));
    }
}

#[cfg(test)]
mod tests;
