//! The durable queue: events that were promised, until they are done.
//!
//! ```text
//! add ──────────────► done(Ok): no crash loses it
//! claim ─► Lease ─► finish │ delay │ put_back      (dropped: the event waits again at once)
//! ```
//! Only what must survive is kept: that an event is there, that it is done, and how often it was
//! tried. Who holds what right now isn't, so after a crash every event waits again: each runs at
//! least once.
//!
//! Events wait in lanes. A lane's events become due by time; which lanes may go on is the caller's
//! policy.

use std::sync::Arc;

use bytes::Bytes;
use coldframe_core::RequestId;
use serde::{Deserialize, Serialize};

use crate::{Error, FunctionKey};

/// Milliseconds since 1970.
pub type Millis = i64;

/// Something to be done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub request_id: RequestId,
    pub trace_header: Option<String>,
    pub work: Work,
    /// JSON text.
    pub payload: Bytes,
}

/// What is to be done with an event's payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// The function gets it.
    Invoke {
        function: FunctionKey,
        qualifier: Option<String>,
        #[serde(default)]
        tenant_id: Option<String>,
    },
    /// A destination gets it, which tells of an invocation that is over.
    Deliver {
        destination: String,
        function: FunctionKey,
        /// What `functionArn` of the record says; of a stream, its mapping and shard.
        function_arn: String,
        success: bool,
        /// Then the payload is the event itself.
        dead_letter: Option<DeadLetter>,
    },
}

/// The attributes of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub error_code: u16,
    pub error_message: String,
}

impl Event {
    /// What it waits behind: the function's ARN, or the destination's.
    pub fn lane(&self) -> String {
        match &self.work {
            Work::Invoke { function, .. } => function.arn().to_string(),
            Work::Deliver { destination, .. } => destination.clone(),
        }
    }
}

/// What a queue tells of itself, from a thread of its own or of the caller.
#[derive(Debug)]
pub enum Signal<'a> {
    /// An event has come that may be due.
    Waiting,
    /// A change other than an addition could not be written, and will be tried again.
    Trouble(&'a Error),
}

/// Hears a queue's signals.
pub type Listener = dyn Fn(Signal<'_>) + Send + Sync;

/// Hears whether something was kept.
pub type Done = Box<dyn FnOnce(Result<(), Arc<Error>>) + Send>;

/// The queue. Dropped, it writes what it was told; leases may outlive it and change nothing more.
pub trait Queue: Send + Sync {
    /// Keeps an event that is due at once. `done` is called when no crash loses it any more, or when
    /// it is not going to be kept. Doesn't block.
    fn add(&self, event: Event, now: Millis, done: Done);

    /// Takes what is due, the longest due first, lanes in turn. `admit` is asked for each event, by
    /// its lane; once it says no for a lane, that lane isn't asked for again in this call.
    fn claim(&self, now: Millis, admit: &mut dyn FnMut(&Arc<str>) -> bool) -> Vec<Box<dyn Lease>>;

    /// When the next lane that isn't due yet will be.
    fn next_due(&self, now: Millis) -> Option<Millis>;

    /// Events that wait, whether due or not.
    fn waiting(&self) -> usize;

    /// Drops a lane's events: all that were added before. Those that are leased are done, then.
    fn forget(&self, lane: &str);

    /// Calls `done` when all that was told before is on the disk, or isn't going to be.
    fn flush(&self, done: Done);
}

/// One event that nobody else gets meanwhile. Dropped, it waits again, due as it was.
pub trait Lease: Send + Sync {
    fn lane(&self) -> &Arc<str>;

    /// When the event was added.
    fn enqueued(&self) -> Millis;

    /// Attempts so far, as [`Lease::delay`] counted them.
    fn attempts(&self) -> u32;

    /// How often in a row it was put back since.
    fn put_backs(&self) -> u32;

    /// The event; `None` if it has been dropped with its lane. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::DamagedEvent`] if it isn't what was written; that it can't be read.
    fn read(&self) -> Result<Option<Event>, Error>;

    /// The event is done, and what follows from it is added: both, or none of it. Doesn't wait for
    /// the disk: until then a crash lets the event run again.
    ///
    /// # Errors
    /// If a successor can't be written.
    fn finish(self: Box<Self>, successors: Vec<Event>, now: Millis) -> Result<(), Error>;

    /// An attempt failed: the event waits until `due`. Survives a crash soon after.
    fn delay(self: Box<Self>, due: Millis, attempts: u32);

    /// The event could not be tried: it waits until `due`. After a crash it waits no longer.
    fn put_back(self: Box<Self>, due: Millis);

    /// Nobody gets the event until the queue is opened again: it can't be read.
    fn set_aside(self: Box<Self>);
}
