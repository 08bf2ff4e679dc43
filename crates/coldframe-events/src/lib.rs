//! Asynchronous invocation (service-api.md §4): events are kept, tried, tried again, and told of.
//! And event source mappings ([`source`]).
//!
//! ```text
//! api ─► enqueue ─► durable queue ─► poller, as admission allows ─► attempt ─► policy ─┬─► tried again later
//!                        ▲                                                           └─► done; what tells of it
//!                        └──────────── records for destinations, dead letters ◄──────────┘    is an event too
//! ```
//! A record is put into the queue in the transaction that ends its event: neither a crash nor a
//! destination that is away loses it, nor runs the function once more for it.
//!
//! **Invariant:** knows neither environments nor the service API. It asks [`Functions`] what an
//! event runs and [`Invoker`] to run it; the binary hands both over.

mod admission;
mod attempt;
mod client;
mod destination;
mod policy;
mod poller;
mod record;
mod source;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use coldframe_client::{Client, Credentials};
use coldframe_core::asynchronous::{
    AsyncInvocation, AsyncInvoker, Functions, NoSuchDestination, NotKept,
};
use coldframe_core::error::chain;
use coldframe_core::invoke::Invoker;
use coldframe_core::observe::{Measured, Metric, Observer};
use coldframe_core::source::Progress;
use coldframe_core::{BoxFuture, Destination, FunctionArn};
use coldframe_store::queue::{Event, Millis, Queue, Signal, Work};
use coldframe_store::{FunctionKey, Store};
use tokio::sync::{Notify, oneshot};

use self::admission::Admission;
pub use self::client::Endpoints;

/// What the room may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Events that run at the same time.
    pub concurrency: usize,
    /// Memory that functions may be configured to for them together, MB.
    pub memory_mb: u64,
    /// What all times between attempts, and the age that events may reach, are multiplied by: one,
    /// but for tests.
    pub time_scale: f64,
    /// How long a poll waits at a queue for messages. AWS: 20 s, which is the most.
    pub receive_wait: Duration,
    /// Where other services are.
    pub endpoints: Endpoints,
    /// What speaks to them.
    pub client: Client,
    /// What requests to them are signed with.
    pub credentials: Credentials,
}

/// The events of all functions.
pub struct Events {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    queue: Box<dyn Queue>,
    options: Options,
    observer: Arc<dyn Observer>,
    admission: Mutex<Admission>,
    /// Told when events have come, or places have become free.
    changed: Arc<Notify>,
    /// Told when no event runs.
    idle: Notify,
    stopped: Mutex<bool>,
    /// Told once, when that becomes true.
    stopping: Notify,
    sources: source::Sources,
}

/// Who knows functions, who runs them, and who keeps how far streams are done.
pub(crate) struct World {
    pub(crate) functions: Arc<dyn Functions>,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) progress: Arc<dyn Progress>,
}

/// A function, and the alias or number it is called by.
type Of<'a> = (&'a FunctionArn, Option<&'a str>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970.
fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

impl Events {
    /// Opens the queue of the store. Nothing runs before [`Events::start`].
    ///
    /// # Errors
    /// If the queue can't be read.
    pub fn open(
        store: &Store,
        options: Options,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, coldframe_store::Error> {
        let changed = Arc::new(Notify::new());
        let woken = changed.clone();
        let queue = store.queue(move |signal| match signal {
            Signal::Waiting => woken.notify_one(),
            Signal::Trouble(error) => {
                tracing::error!(error = chain(error), "the queue could not be changed on the disk");
            }
        })?;
        let admission = Mutex::new(Admission::new(options.concurrency, options.memory_mb));
        let (idle, stopped, stopping) = (Notify::new(), Mutex::new(false), Notify::new());
        let sources = source::Sources::default();
        let shared = Shared {
            queue,
            options,
            observer,
            admission,
            changed,
            idle,
            stopped,
            stopping,
            sources,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// From now on events run, and mappings may be started. Called once, in an event loop.
    pub fn start(
        &self,
        functions: Arc<dyn Functions>,
        invoker: Arc<dyn Invoker>,
        progress: Arc<dyn Progress>,
    ) {
        let world = Arc::new(World { functions, invoker, progress });
        self.shared.sources.open(world.clone());
        tokio::spawn(poller::poll(self.shared.clone(), world));
    }

    /// No event begins to run any more, and no queue is polled.
    pub fn stop(&self) {
        *lock(&self.shared.stopped) = true;
        self.shared.sources.drain();
        self.shared.changed.notify_one();
        self.shared.stopping.notify_waiters();
    }

    /// Resolves when no event runs and all that was done is on the disk. What waits, waits on there.
    pub async fn drained(&self) {
        self.stop();
        self.shared.sources.drained().await;
        poller::idle(&self.shared).await;
        let (tell, told) = oneshot::channel();
        self.shared.queue.flush(Box::new(move |result| {
            let _ = tell.send(result);
        }));
        let _ = told.await;
    }
}

impl Shared {
    /// Tells a value of a metric (service-api.md §10.1), as of now.
    fn measure(&self, (function, qualifier): Of<'_>, metric: Metric, value: f64) {
        let (function, at) = (function.clone(), SystemTime::now());
        let qualifier = Some(qualifier.unwrap_or("$LATEST").into());
        self.observer.measured(Measured { function, qualifier, metric, at, value });
    }
}

impl Shared {
    /// Resolves when no event begins to run any more.
    async fn stopped(&self) {
        let mut stopping = std::pin::pin!(self.stopping.notified());
        // Who stops between the look and the wait is heard.
        stopping.as_mut().enable();
        if !*lock(&self.stopped) {
            stopping.await;
        }
    }
}

impl AsyncInvoker for Events {
    fn enqueue(&self, invocation: AsyncInvocation) -> BoxFuture<'_, Result<(), NotKept>> {
        let (tell, told) = oneshot::channel();
        let (function, qualifier) = (invocation.function.clone(), invocation.qualifier.clone());
        let done = move |result| {
            // Who waited may have gone; the event stays.
            let _ = tell.send(result);
        };
        self.shared.queue.add(event(invocation), now(), Box::new(done));
        Box::pin(async move {
            let result = told.await.unwrap_or(Err(Arc::new(coldframe_store::Error::Closed)));
            result.map_err(|error| NotKept(error))?;
            let of = (&function, qualifier.as_deref());
            self.shared.measure(of, Metric::AsyncEventsReceived, 1.0);
            Ok(())
        })
    }

    fn forget(&self, function: &FunctionArn) {
        self.shared.queue.forget(&function.to_string());
    }

    fn check_destination<'a>(
        &'a self,
        arn: &'a str,
    ) -> BoxFuture<'a, Result<(), NoSuchDestination>> {
        Box::pin(async move {
            match Destination::parse(arn) {
                Some(destination) => destination::check(&self.shared.options, &destination).await,
                None => Ok(()),
            }
        })
    }
}

fn event(invocation: AsyncInvocation) -> Event {
    let AsyncInvocation { request_id, function, qualifier, payload, trace_header, tenant_id } =
        invocation;
    let function = FunctionKey::from(&function);
    let tenant_id = tenant_id.map(|tenant| tenant.to_string());
    let work = Work::Invoke { function, qualifier, tenant_id };
    Event { request_id, trace_header, work, payload }
}

#[cfg(test)]
mod tests;
