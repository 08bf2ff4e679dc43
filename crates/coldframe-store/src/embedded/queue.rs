//! The queue of the file. One thread writes it, and takes all that came while it was syncing into
//! one transaction. Which events wait is in memory too; payloads stay on the disk until they are
//! wanted.

mod index;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use self::index::{Index, Ticket};
use self::writer::Order;
use crate::queue::{Done, Event, Lease, Listener, Millis, Queue, Signal, Work};
use crate::{Error, lock};

/// The queue of an [`super::Embedded`].
pub(super) struct EmbeddedQueue {
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

impl EmbeddedQueue {
    pub(super) fn open(
        connection: Arc<Mutex<Connection>>,
        path: Option<&Path>,
        listener: Box<Listener>,
    ) -> Result<Self, Error> {
        let index = {
            let connection = lock(&connection);
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
}

impl Queue for EmbeddedQueue {
    fn add(&self, event: Event, now: Millis, done: Done) {
        match self.shared.row(event, now) {
            Ok(row) => self.shared.send(Order::Add { row, done }),
            Err(error) => done(Err(Arc::new(error))),
        }
    }

    fn claim(&self, now: Millis, admit: &mut dyn FnMut(&Arc<str>) -> bool) -> Vec<Box<dyn Lease>> {
        let claimed = self.shared.index().claim(now, admit);
        let lease = |(lane, ticket)| -> Box<dyn Lease> {
            Box::new(EmbeddedLease { shared: self.shared.clone(), lane, ticket: Some(ticket) })
        };
        claimed.into_iter().map(lease).collect()
    }

    fn next_due(&self, now: Millis) -> Option<Millis> {
        self.shared.index().next_due(now)
    }

    fn waiting(&self) -> usize {
        self.shared.index().len()
    }

    fn forget(&self, lane: &str) {
        let up_to = self.shared.next_id.load(Ordering::SeqCst) - 1;
        self.shared.index().forget(lane, up_to);
        self.shared.send(Order::Forget { lane: lane.into(), up_to });
    }

    fn flush(&self, done: Done) {
        self.shared.send(Order::Flush { done });
    }
}

impl Drop for EmbeddedQueue {
    fn drop(&mut self) {
        lock(&self.shared.orders).take();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct EmbeddedLease {
    shared: Arc<Shared>,
    lane: Arc<str>,
    ticket: Option<Ticket>,
}

impl EmbeddedLease {
    fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("only what consumes the lease takes its ticket")
    }
}

impl Lease for EmbeddedLease {
    fn lane(&self) -> &Arc<str> {
        &self.lane
    }

    fn enqueued(&self) -> Millis {
        self.ticket().enqueued
    }

    fn attempts(&self) -> u32 {
        self.ticket().attempts
    }

    fn put_backs(&self) -> u32 {
        self.ticket().put_backs
    }

    fn read(&self) -> Result<Option<Event>, Error> {
        let connection = match &self.shared.reader {
            Reader::Own(connection) => connection,
            Reader::Writers(connection) => connection,
        };
        let connection = lock(connection);
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

    fn finish(mut self: Box<Self>, successors: Vec<Event>, now: Millis) -> Result<(), Error> {
        let rows = successors.into_iter().map(|event| self.shared.row(event, now));
        let successors = rows.collect::<Result<_, _>>()?;
        if let Some(ticket) = self.ticket.take() {
            self.shared.send(Order::Finish { id: ticket.id, successors });
        }
        Ok(())
    }

    fn delay(mut self: Box<Self>, due: Millis, attempts: u32) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.send(Order::Delay { id: ticket.id, due, attempts });
            let ticket = Ticket { due, attempts, put_backs: 0, ..ticket };
            self.shared.insert(&self.lane, ticket);
        }
    }

    fn put_back(mut self: Box<Self>, due: Millis) {
        if let Some(ticket) = self.ticket.take() {
            let put_backs = ticket.put_backs.saturating_add(1);
            self.shared.insert(&self.lane, Ticket { due, put_backs, ..ticket });
        }
    }

    fn set_aside(mut self: Box<Self>) {
        self.ticket = None;
    }
}

impl Drop for EmbeddedLease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.insert(&self.lane, ticket);
        }
    }
}

impl Shared {
    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        lock(&self.index)
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
        let orders = lock(&self.orders);
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
