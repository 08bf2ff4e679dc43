//! Telemetry and Logs APIs of one environment (execution-environment.md §4).
//!
//! ```text
//! engine ──emit──► Hub ──► early records, for who subscribes later in init
//!                   └────► one queue and one task for each subscriber ──► its destination inside
//! ```
//! Nothing here ever makes the engine wait: what a subscriber doesn't take in time is dropped and
//! counted.

mod delivery;
mod record;
mod subscription;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use coldframe_core::event::{self, Event};
use coldframe_core::{BoxFuture, LogFormat};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use uuid::Uuid;

pub use self::record::{About, RuntimeVersion, level_and_timestamp, render, time};
pub(crate) use self::subscription::{Api, Subscription};

use self::delivery::Queue;
use self::subscription::Kind;

/// Makes sockets of the environment's network.
pub trait Dial: Send + Sync {
    /// A TCP socket that connects as a process inside would. Not yet connected.
    fn socket(&self) -> BoxFuture<'_, std::io::Result<OwnedFd>>;
}

/// Kept for subscribers to come, bytes of text. Init that prints more loses the later part.
const EARLY_BYTES_MAX: usize = 1024 * 1024;

/// How long a freeze waits for a delivery that is under way.
const PAUSE_LIMIT: Duration = Duration::from_millis(20);

/// Something a subscriber may want to know.
#[derive(Clone, Debug)]
pub enum Item {
    Platform(Event),
    /// A line or framed record of the runtime's.
    Function(Arc<str>),
    /// A line of an external extension's.
    Extension(Arc<str>),
}

impl Item {
    fn kind(&self) -> Kind {
        match self {
            Self::Platform(_) => Kind::Platform,
            Self::Function(_) => Kind::Function,
            Self::Extension(_) => Kind::Extension,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Platform(_) => 512,
            Self::Function(text) | Self::Extension(text) => text.len() + 64,
        }
    }
}

/// A subscriber lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub reason: &'static str,
    pub records: u64,
    pub bytes: u64,
}

/// Whether deliveries happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mode {
    /// The environment is frozen, or about to be.
    paused: bool,
    /// The environment shuts down: nothing waits for its batch to fill.
    draining: bool,
}

/// All subscribers of one environment.
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    about: About,
    dial: Arc<dyn Dial>,
    dropped: Box<dyn Fn(Dropped) + Send + Sync>,
    /// Whether anybody is there, or may still come.
    listening: AtomicBool,
    inner: Mutex<Inner>,
    mode: watch::Sender<Mode>,
    /// Deliveries under way.
    under_way: AtomicUsize,
    /// When the first of them began.
    since: Mutex<Option<Instant>>,
    settled: Notify,
}

#[derive(Default)]
struct Inner {
    /// Subscriptions are taken.
    open: bool,
    early: VecDeque<(SystemTime, Item)>,
    early_bytes: usize,
    early_dropped: (u64, u64),
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    extension: Uuid,
    subscription: Subscription,
    queue: Arc<Queue>,
    task: AbortHandle,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Init is over.
    Closed,
    /// The extension uses the other API already.
    OtherApi,
}

impl Hub {
    /// `dropped` is told of every loss.
    pub(crate) fn new(
        about: About,
        dial: Arc<dyn Dial>,
        dropped: impl Fn(Dropped) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            about,
            dial,
            dropped: Box::new(dropped),
            listening: AtomicBool::new(false),
            inner: Mutex::default(),
            mode: watch::channel(Mode::default()).0,
            under_way: AtomicUsize::new(0),
            since: Mutex::new(None),
            settled: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// An init begins: whoever subscribed before is gone, subscriptions are taken.
    pub fn open(&self) {
        let mut inner = self.shared.lock();
        *inner = Inner { open: true, ..Inner::default() };
        self.shared.listening.store(true, Ordering::Release);
        drop(inner);
        self.shared.mode.send_replace(Mode::default());
    }

    /// The init is over: no subscription is taken any more.
    pub fn close(&self) {
        let mut inner = self.shared.lock();
        inner.open = false;
        inner.early = VecDeque::new();
        inner.early_bytes = 0;
        self.shared.listening.store(!inner.subscribers.is_empty(), Ordering::Release);
    }

    /// The processes are gone, and with them everybody who listened.
    pub fn clear(&self) {
        *self.shared.lock() = Inner::default();
        self.shared.listening.store(false, Ordering::Release);
    }

    /// Whether subscriptions are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.lock().open
    }

    /// Whether [`Hub::emit`] would be for anybody.
    pub fn is_listening(&self) -> bool {
        self.shared.listening.load(Ordering::Acquire)
    }

    /// Tells every subscriber, now or to come.
    pub fn emit(&self, at: SystemTime, item: Item) {
        if !self.is_listening() {
            return;
        }
        let mut inner = self.shared.lock();
        for subscriber in &inner.subscribers {
            self.shared.push(&subscriber.subscription, &subscriber.queue, at, &item);
        }
        if inner.open {
            let bytes = item.bytes();
            if inner.early_bytes + bytes > EARLY_BYTES_MAX {
                inner.early_dropped.0 += 1;
                inner.early_dropped.1 += bytes as u64;
            } else {
                inner.early_bytes += bytes;
                inner.early.push_back((at, item));
            }
        }
    }

    /// Takes a subscription and hands over what has happened before. `None` if it is the one that
    /// the extension has already.
    pub(crate) fn subscribe(
        &self,
        extension: Uuid,
        name: &str,
        subscription: Subscription,
    ) -> Result<Option<event::Subscription>, Refused> {
        let mut inner = self.shared.lock();
        if !inner.open {
            return Err(Refused::Closed);
        }
        let own = inner.subscribers.iter().position(|known| known.extension == extension);
        if let Some(own) = own {
            let known = &inner.subscribers[own].subscription;
            if *known == subscription {
                return Ok(None);
            }
            if known.api != subscription.api {
                return Err(Refused::OtherApi);
            }
            // Other arguments: the new ones count from now on.
            inner.subscribers.remove(own);
        }
        let queue = Arc::new(Queue::new(subscription.buffering));
        for (at, item) in &inner.early {
            self.shared.push(&subscription, &queue, *at, item);
        }
        let (records, bytes) = inner.early_dropped;
        if records > 0 && own.is_none() {
            queue.drop_records(records, bytes);
        }
        let told = event::Subscription {
            name: name.to_owned(),
            types: subscription.types.iter().map(|kind| kind.as_str()).collect(),
            logs_api: subscription.api == Api::Logs,
        };
        let destination = subscription.destination.clone();
        let task = tokio::spawn(delivery::deliver(self.shared.clone(), queue.clone(), destination));
        let task = task.abort_handle();
        inner.subscribers.push(Subscriber { extension, subscription, queue, task });
        Ok(Some(told))
    }

    /// Deliveries stop until [`Hub::resume`]: the environment is about to be frozen. A delivery under
    /// way gets a moment, once; what isn't finished then goes on after the thaw.
    pub async fn pause(&self) {
        if !self.is_listening() {
            return;
        }
        self.shared.mode.send_modify(|mode| mode.paused = true);
        let settled = async {
            loop {
                let notified = self.shared.settled.notified();
                if self.shared.under_way.load(Ordering::Acquire) == 0 {
                    return;
                }
                notified.await;
            }
        };
        let since = *self.shared.since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = since {
            let _ = tokio::time::timeout_at(since + PAUSE_LIMIT, settled).await;
        }
    }

    /// The environment runs again.
    pub fn resume(&self) {
        if self.is_listening() {
            self.shared.mode.send_modify(|mode| mode.paused = false);
        }
    }

    /// The environment shuts down: from now on records are delivered as they come. Waits until the
    /// ones so far are, or until the limit.
    pub async fn drain(&self, limit: Duration) {
        if !self.is_listening() {
            return;
        }
        self.shared.mode.send_replace(Mode { paused: false, draining: true });
        let queues: Vec<_> = {
            let inner = self.shared.lock();
            inner.subscribers.iter().map(|subscriber| subscriber.queue.clone()).collect()
        };
        let empty = async {
            for queue in queues {
                queue.emptied().await;
            }
        };
        let _ = tokio::time::timeout(limit, empty).await;
    }
}

impl Drop for Hub {
    /// Subscribers' tasks hold what they deliver from: they end with the hub.
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, subscription: &Subscription, queue: &Queue, at: SystemTime, item: &Item) {
        if !subscription.types.contains(&item.kind()) || !queue.has_room(item.bytes()) {
            return;
        }
        let objects =
            subscription.takes_objects() && self.about.function.log_format == LogFormat::Json;
        match item {
            Item::Function(text) => queue.push(record::line(at, "function", text, objects), false),
            Item::Extension(text) => {
                queue.push(record::line(at, "extension", text, objects), false);
            }
            Item::Platform(event) => {
                let of_drops = matches!(event, Event::LogsDropped { .. });
                if subscription.api == Api::Logs {
                    let runtime_done = subscription.schema == "2021-03-18";
                    for record in record::render_for_logs_api(&self.about, at, event, runtime_done)
                    {
                        queue.push(record, of_drops);
                    }
                } else if let Some(record) = render(&self.about, at, event) {
                    queue.push(record, of_drops);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
