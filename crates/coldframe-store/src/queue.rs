//! The durable queue: events that were promised, until they are done.
//!
//! ```text
//! add ────────────► writer thread ─► one transaction for up to 512 changes, one sync ─► done(Ok)
//! claim ─► Lease ─► finish │ delay │ put_back      (dropped: the event waits again at once)
//! ```
//! Only what must survive is written: that an event is there, that it is done, and how often it was
//! tried. Who holds what right now is in memory, so after a crash every event waits again: each runs
//! at least once. Payloads stay on the disk until they are wanted.
//!
//! Events wait in lanes. A lane's events become due by time; which lanes may go on is the caller's
//! policy.

mod index;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use coldframe_core::RequestId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};

use self::index::{Index, Ticket};
use self::writer::Order;
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
        /// What `functionArn` of the record says.
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

type Listener = dyn Fn(Signal<'_>) + Send + Sync;
type Done = Box<dyn FnOnce(Result<(), Arc<Error>>) + Send>;

/// The queue. Dropped, it writes what it was told; leases may outlive it and change nothing more.
pub struct Queue {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    index: Mutex<Index>,
    orders: Mutex<Option<Sender<Order>>>,
    next_id: AtomicI64,
    reader: Reader,
    /// Absent of a store in memory.
    path: Option<PathBuf>,
    listener: Box<Listener>,
}

/// Where payloads are read.
enum Reader {
    /// A connection of its own: doesn't wait for the writer's syncs.
    Own(Mutex<Connection>),
    /// A store in memory has one connection.
    Writers(Arc<Mutex<Connection>>),
}

/// A row as it lies on the disk.
struct Row {
    id: i64,
    lane: Arc<str>,
    enqueued: Millis,
    head: String,
    payload: Bytes,
}

/// Everything of an event but lane, times and payload, as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Head {
    request_id: String,
    trace_header: Option<String>,
    work: Work,
}

/// The step of the layout that brings the queue.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE event (
            id          INTEGER PRIMARY KEY,
            lane        TEXT NOT NULL,
            due_ms      INTEGER NOT NULL,
            enqueued_ms INTEGER NOT NULL,
            attempts    INTEGER NOT NULL,
            checksum    INTEGER NOT NULL,
            head        TEXT NOT NULL,
            payload     BLOB NOT NULL
        ) STRICT;
        -- Holds all that a start needs, so that it reads no payload.
        CREATE INDEX event_waiting ON event (lane, due_ms, enqueued_ms, attempts);",
    )?;
    Ok(())
}

impl Queue {
    pub(crate) fn open(
        connection: Arc<Mutex<Connection>>,
        path: Option<&Path>,
        listener: Box<Listener>,
    ) -> Result<Self, Error> {
        let index = {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            load(&connection)?
        };
        let next_id = AtomicI64::new(index.last_id() + 1);
        let reader = match path {
            Some(path) => Reader::Own(Mutex::new(Connection::open(path)?)),
            None => Reader::Writers(connection.clone()),
        };
        let (orders, received) = mpsc::channel();
        let shared = Arc::new(Shared {
            index: Mutex::new(index),
            orders: Mutex::new(Some(orders)),
            next_id,
            reader,
            path: path.map(Path::to_owned),
            listener,
        });
        let writer = writer::start(shared.clone(), connection, received)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Keeps an event that is due at once. `done` is called when it is on the disk, or when it is
    /// not going to be.
    pub fn add(
        &self,
        event: Event,
        now: Millis,
        done: impl FnOnce(Result<(), Arc<Error>>) + Send + 'static,
    ) {
        match self.shared.row(event, now) {
            Ok(row) => self.shared.send(Order::Add { row, done: Box::new(done) }),
            Err(error) => done(Err(Arc::new(error))),
        }
    }

    /// Takes what is due, the longest due first. `admit` is asked for each event, by its lane; once
    /// it says no for a lane, that lane isn't asked for again in this call.
    pub fn claim(&self, now: Millis, mut admit: impl FnMut(&Arc<str>) -> bool) -> Vec<Lease> {
        let claimed = self.shared.index().claim(now, &mut admit);
        claimed
            .into_iter()
            .map(|(lane, ticket)| Lease { shared: self.shared.clone(), lane, ticket: Some(ticket) })
            .collect()
    }

    /// When the next lane that isn't due yet will be.
    pub fn next_due(&self, now: Millis) -> Option<Millis> {
        self.shared.index().next_due(now)
    }

    /// Events that wait, whether due or not.
    pub fn waiting(&self) -> usize {
        self.shared.index().len()
    }

    /// Drops a lane's events: all that were added before.
    pub fn forget(&self, lane: &str) {
        let up_to = self.shared.next_id.load(Ordering::SeqCst) - 1;
        self.shared.index().forget(lane, up_to);
        self.shared.send(Order::Forget { lane: lane.into(), up_to });
    }

    /// Calls `done` when all that was told before is on the disk, or isn't going to be.
    pub fn flush(&self, done: impl FnOnce(Result<(), Arc<Error>>) + Send + 'static) {
        self.shared.send(Order::Flush { done: Box::new(done) });
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// One event that nobody else gets meanwhile. Dropped, it waits again, due as it was.
pub struct Lease {
    shared: Arc<Shared>,
    lane: Arc<str>,
    ticket: Option<Ticket>,
}

impl Lease {
    fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("only what consumes the lease takes its ticket")
    }

    pub fn lane(&self) -> &Arc<str> {
        &self.lane
    }

    /// When the event was added.
    pub fn enqueued(&self) -> Millis {
        self.ticket().enqueued
    }

    /// Attempts so far, as [`Lease::delay`] counted them.
    pub fn attempts(&self) -> u32 {
        self.ticket().attempts
    }

    /// How often in a row it was put back since.
    pub fn put_backs(&self) -> u32 {
        self.ticket().put_backs
    }

    /// The event; `None` if it has been dropped with its lane. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::DamagedEvent`] if it isn't what was written; that it can't be read.
    pub fn read(&self) -> Result<Option<Event>, Error> {
        let connection = match &self.shared.reader {
            Reader::Own(connection) => connection,
            Reader::Writers(connection) => connection,
        };
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement =
            connection.prepare_cached("SELECT checksum, head, payload FROM event WHERE id = ?1")?;
        let row = statement.query_row([self.ticket().id], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
        });
        let Some((sum, head, payload)) = row.optional()? else { return Ok(None) };
        if sum != checksum(&head, &payload) {
            return Err(Error::DamagedEvent { id: self.ticket().id });
        }
        let damaged = || Error::DamagedEvent { id: self.ticket().id };
        let head: Head = serde_json::from_str(&head).map_err(|_| damaged())?;
        Ok(Some(Event {
            request_id: head.request_id.parse().map_err(|_| damaged())?,
            trace_header: head.trace_header,
            work: head.work,
            payload: payload.into(),
        }))
    }

    /// The event is done; what follows from it is added in the same transaction. Doesn't wait for
    /// the disk: until then a crash lets the event run again.
    pub fn finish(mut self, successors: Vec<Event>, now: Millis) -> Result<(), Error> {
        let rows = successors.into_iter().map(|event| self.shared.row(event, now));
        let successors = rows.collect::<Result<_, _>>()?;
        if let Some(ticket) = self.ticket.take() {
            self.shared.send(Order::Finish { id: ticket.id, successors });
        }
        Ok(())
    }

    /// An attempt failed: the event waits until `due`. Survives a crash soon after.
    pub fn delay(mut self, due: Millis, attempts: u32) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.send(Order::Delay { id: ticket.id, due, attempts });
            let ticket = Ticket { due, attempts, put_backs: 0, ..ticket };
            self.shared.insert(&self.lane, ticket);
        }
    }

    /// The event could not be tried: it waits until `due`. After a crash it waits no longer.
    pub fn put_back(mut self, due: Millis) {
        if let Some(ticket) = self.ticket.take() {
            let put_backs = ticket.put_backs.saturating_add(1);
            self.shared.insert(&self.lane, Ticket { due, put_backs, ..ticket });
        }
    }

    /// Nobody gets the event until the store is opened again: it can't be read.
    pub fn set_aside(mut self) {
        self.ticket = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.insert(&self.lane, ticket);
        }
    }
}

impl Shared {
    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, lane: &Arc<str>, ticket: Ticket) {
        self.index().insert(lane, ticket);
        (self.listener)(Signal::Waiting);
    }

    fn row(&self, event: Event, now: Millis) -> Result<Row, Error> {
        let lane = event.lane().into();
        let head = serde_json::to_string(&Head {
            request_id: event.request_id.to_string(),
            trace_header: event.trace_header,
            work: event.work,
        })?;
        let id = self.next_id.fetch_add(1, Ordering::SeqCst);
        Ok(Row { id, lane, enqueued: now, head, payload: event.payload })
    }

    /// After the queue's end orders are refused; only additions have somebody to tell.
    fn send(&self, order: Order) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = match &*orders {
            Some(orders) => orders.send(order).err().map(|refused| refused.0),
            None => Some(order),
        };
        drop(orders);
        if let Some(Order::Add { done, .. } | Order::Flush { done }) = refused {
            done(Err(Arc::new(Error::Closed)));
        }
    }
}

fn load(connection: &Connection) -> Result<Index, Error> {
    let mut index = Index::default();
    let mut statement =
        connection.prepare("SELECT lane, due_ms, enqueued_ms, attempts, id FROM event")?;
    let mut rows = statement.query([])?;
    let mut lane: Arc<str> = "".into();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if name != &*lane {
            lane = name.into();
        }
        let ticket = Ticket {
            id: row.get(4)?,
            due: row.get(1)?,
            enqueued: row.get(2)?,
            attempts: row.get(3)?,
            put_backs: 0,
        };
        index.insert(&lane, ticket);
    }
    Ok(index)
}

/// Tells bytes that went bad on the disk, which SQLite itself doesn't look for.
fn checksum(head: &str, payload: &[u8]) -> i64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(payload);
    hasher.finalize().into()
}

fn insert(connection: &Connection, row: &Row) -> Result<(), Error> {
    let mut statement =
        connection.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?3, 0, ?4, ?5, ?6)")?;
    let sum = checksum(&row.head, &row.payload);
    statement.execute(params![
        row.id,
        &*row.lane,
        row.enqueued,
        sum,
        row.head,
        &row.payload[..]
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests;
