//! The one thread that changes the queue on the disk: it takes all orders that have come while it
//! was syncing into one transaction.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::index::Ticket;
use super::{Row, Shared, insert};
use crate::queue::{Done, Millis, Signal};
use crate::{Error, lock};

/// Orders of one transaction at most: more make a sync no cheaper.
const BATCH_MAX: usize = 512;

/// Payload of one transaction, bytes, beyond which it takes no more orders.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// What a change takes beside its payload, about, bytes.
const ROW_OVERHEAD_BYTES: usize = 400;

/// So much is written between two checkpoints, bytes.
const CHECKPOINT_BYTES: usize = 4 << 20;

/// With so much written, about, the log begins anew: who writes all the time is never caught up with.
const LOG_BYTES_MAX: usize = 64 << 20;

/// How long after a failure the writer tries again what it has promised to nobody.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) enum Order {
    Add { row: Row, done: Done },
    Finish { id: i64, successors: Vec<Row> },
    Delay { id: i64, due: Millis, attempts: u32 },
    Forget { lane: String, up_to: i64 },
    Flush { done: Done },
}

impl Order {
    fn bytes(&self) -> usize {
        match self {
            Self::Add { row, .. } => row.payload.len(),
            Self::Finish { successors, .. } => successors.iter().map(|row| row.payload.len()).sum(),
            Self::Delay { .. } | Self::Forget { .. } | Self::Flush { .. } => 0,
        }
    }

    fn write(&self, connection: &Connection) -> Result<(), Error> {
        match self {
            Self::Add { row, .. } => insert(connection, row)?,
            Self::Finish { id, successors } => {
                let mut statement = connection.prepare_cached("DELETE FROM event WHERE id = ?1")?;
                statement.execute([id])?;
                for row in successors {
                    insert(connection, row)?;
                }
            }
            Self::Delay { id, due, attempts } => {
                let mut statement = connection
                    .prepare_cached("UPDATE event SET due_ms = ?2, attempts = ?3 WHERE id = ?1")?;
                statement.execute(params![id, due, attempts])?;
            }
            Self::Forget { lane, up_to } => {
                let mut statement =
                    connection.prepare_cached("DELETE FROM event WHERE lane = ?1 AND id <= ?2")?;
                statement.execute(params![lane, up_to])?;
            }
            Self::Flush { .. } => {}
        }
        Ok(())
    }
}

pub(super) fn start(
    shared: Arc<Shared>,
    connection: Arc<Mutex<Connection>>,
    orders: Receiver<Order>,
) -> Result<JoinHandle<()>, Error> {
    let writer = Writer {
        shared,
        connection,
        failed: Vec::new(),
        unsettled: 0,
        logged: 0,
        checkpoints: None,
    };
    std::thread::Builder::new()
        .name("coldframe-queue".to_owned())
        .spawn(move || writer.run(&orders))
        .map_err(Error::Thread)
}

struct Writer {
    shared: Arc<Shared>,
    connection: Arc<Mutex<Connection>>,
    /// What could not be written and has nobody to be told: a full disk may have room again.
    failed: Vec<Order>,
    /// Written since the last checkpoint was asked for, bytes.
    unsettled: usize,
    /// Written since the log began anew, bytes.
    logged: usize,
    checkpoints: Option<Checkpoints>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let first = if self.failed.is_empty() {
                orders.recv().map_err(RecvTimeoutError::from)
            } else {
                orders.recv_timeout(RETRY_AFTER)
            };
            let mut batch: Vec<Order> = match first {
                Ok(first) => vec![first],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut bytes: usize = batch.iter().map(Order::bytes).sum();
            while !batch.is_empty() && batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(order) = orders.try_recv() else { break };
                bytes += order.bytes();
                batch.push(order);
            }
            if batch.is_empty() {
                self.retry();
            } else {
                self.write(batch);
            }
        }
        self.retry();
    }

    fn write(&mut self, batch: Vec<Order>) {
        let bytes = batch.iter().map(|order| order.bytes() + ROW_OVERHEAD_BYTES).sum::<usize>();
        match self.commit(&batch) {
            Ok(()) => {
                self.written(batch);
                self.settle(bytes);
            }
            // One of them may be at fault, or there is room for some: each has its own chance.
            Err(_) => batch.into_iter().for_each(|order| self.write_one(order)),
        }
    }

    /// Has the log of what was written brought into the store beside the writing.
    fn settle(&mut self, bytes: usize) {
        self.unsettled += bytes;
        self.logged += bytes;
        if self.logged >= LOG_BYTES_MAX && self.shared.path.is_some() {
            self.begin_log();
        }
        if self.unsettled < CHECKPOINT_BYTES {
            return;
        }
        self.unsettled = 0;
        if self.checkpoints.is_none() {
            self.checkpoints = self.shared.path.as_deref().and_then(Checkpoints::start);
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.ask();
        }
    }

    /// Brings all of the log into the store. Most of it is there already.
    fn begin_log(&mut self) {
        // SQLite doesn't wait for another checkpoint.
        let _alone = self.checkpoints.as_ref().map(|checkpoints| lock(&checkpoints.working));
        let connection = lock(&self.connection);
        let begun = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
        // Who reads this long from outside: the next batch asks again. A full disk, say, lets the
        // log go on, and the next change tells.
        let is_busy = begun.unwrap_or(0) != 0;
        if !is_busy {
            self.logged = 0;
        }
    }

    fn retry(&mut self) {
        for order in std::mem::take(&mut self.failed) {
            self.write_one(order);
        }
    }

    fn write_one(&mut self, order: Order) {
        match self.commit(std::slice::from_ref(&order)) {
            Ok(()) => self.written(vec![order]),
            Err(error) => match order {
                Order::Add { done, .. } | Order::Flush { done } => done(Err(Arc::new(error))),
                order => {
                    (self.shared.listener)(Signal::Trouble(&error));
                    self.failed.push(order);
                }
            },
        }
    }

    /// All or nothing; after `Ok` it is on the disk.
    fn commit(&self, orders: &[Order]) -> Result<(), Error> {
        if orders.iter().all(|order| matches!(order, Order::Flush { .. })) {
            return Ok(());
        }
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction()?;
        for order in orders {
            order.write(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn written(&self, batch: Vec<Order>) {
        let mut waiting = false;
        let mut wait = |row: &Row| {
            let Row { id, enqueued, .. } = *row;
            let ticket = Ticket { id, due: enqueued, enqueued, attempts: 0, put_backs: 0 };
            self.shared.index().insert(&row.lane, ticket);
            waiting = true;
        };
        for order in batch {
            match order {
                Order::Add { row, done } => {
                    wait(&row);
                    done(Ok(()));
                }
                Order::Finish { successors, .. } => successors.iter().for_each(&mut wait),
                Order::Delay { .. } => {}
                // Some may have been on their way when it was told.
                Order::Forget { lane, up_to } => self.shared.index().forget(&lane, up_to),
                Order::Flush { done } => done(Ok(())),
            }
        }
        if waiting {
            (self.shared.listener)(Signal::Waiting);
        }
    }
}

/// A thread that moves what the log holds into the store while others write on. Without it the
/// writer would, every few thousand events, and all that arrive meanwhile would wait for it.
struct Checkpoints {
    /// Held during one.
    working: Arc<Mutex<()>>,
    asked: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// `None` if the host lacks something for it: then the writer checkpoints, as SQLite does.
    fn start(path: &Path) -> Option<Self> {
        let connection = Connection::open(path).ok()?;
        let (asked, requests) = mpsc::sync_channel(1);
        let working = Arc::new(Mutex::new(()));
        let held = working.clone();
        let work = move || {
            while requests.recv().is_ok() {
                let _alone = lock(&held);
                // A full disk, say: the log stays, and the writer hears of it when it writes.
                let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            }
        };
        let thread = std::thread::Builder::new().name("coldframe-settle".to_owned()).spawn(work);
        Some(Self { working, asked: Some(asked), thread: Some(thread.ok()?) })
    }

    /// One at a time: who asks during one asks for the next.
    fn ask(&self) {
        if let Some(asked) = &self.asked {
            let _ = asked.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
