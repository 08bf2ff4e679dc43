//! The one thread that changes the queue on the disk: it takes all orders that have come while it
//! was syncing into one transaction.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::index::Ticket;
use super::{Done, Millis, Row, Shared, Signal, insert};
use crate::Error;

/// Orders of one transaction at most: more make a sync no cheaper.
const BATCH_MAX: usize = 512;

/// Payload of one transaction, bytes, beyond which it takes no more orders.
const BATCH_BYTES_MAX: usize = 16 << 20;

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
    let writer = Writer { shared, connection, failed: Vec::new() };
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
        match self.commit(&batch) {
            Ok(()) => batch.into_iter().for_each(|order| self.written(order)),
            // One of them may be at fault, or there is room for some: each has its own chance.
            Err(_) => batch.into_iter().for_each(|order| self.write_one(order)),
        }
    }

    fn retry(&mut self) {
        for order in std::mem::take(&mut self.failed) {
            self.write_one(order);
        }
    }

    fn write_one(&mut self, order: Order) {
        match self.commit(std::slice::from_ref(&order)) {
            Ok(()) => self.written(order),
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
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        for order in orders {
            order.write(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn written(&self, order: Order) {
        let wait = |row: &Row| {
            let Row { id, enqueued, .. } = *row;
            let ticket = Ticket { id, due: enqueued, enqueued, attempts: 0, put_backs: 0 };
            self.shared.insert(&row.lane, ticket);
        };
        match order {
            Order::Add { row, done } => {
                wait(&row);
                done(Ok(()));
            }
            Order::Finish { successors, .. } => successors.iter().for_each(wait),
            Order::Delay { .. } => {}
            // Some may have been on their way when it was told.
            Order::Forget { lane, up_to } => self.shared.index().forget(&lane, up_to),
            Order::Flush { done } => done(Ok(())),
        }
    }
}
