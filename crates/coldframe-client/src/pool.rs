//! Connections that wait for their next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;

use crate::Endpoint;

/// How long a connection waits. Servers give them up after five seconds and more; one that is given
/// up at the wrong moment costs a second try, which the sender makes if the client may not.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections of one endpoint that wait.
const IDLE_MAX: usize = 8;

/// Until a connection has sent the rest of its request, and may wait for the next.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// One that stands. Dropped, it is closed at once: a peer that takes nothing doesn't keep it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    pub(crate) task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Of all endpoints: they are few.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    kept: Vec<Kept>,
    /// A task closes what has waited too long.
    swept: bool,
}

#[derive(Debug)]
struct Kept {
    endpoint: Endpoint,
    connection: Connection,
    since: Instant,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.idle().kept.len()
    }

    /// Ends the tasks of those that wait, which nobody has seen yet.
    #[cfg(test)]
    pub(crate) fn abort(&self) {
        self.idle().kept.iter().for_each(|kept| kept.connection.task.abort());
    }

    /// The connection that was used last, if one waits.
    pub(crate) fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let kept = &mut self.idle().kept;
        while let Some(index) = kept.iter().rposition(|kept| kept.endpoint == *endpoint) {
            let Kept { connection, since, .. } = kept.remove(index);
            if connection.sender.is_ready() && since.elapsed() < IDLE_TIMEOUT {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps it for the next request, once it can take one.
    pub(crate) fn put(self: &Arc<Self>, endpoint: &Endpoint, mut connection: Connection) {
        let (pool, endpoint) = (self.clone(), endpoint.clone());
        tokio::spawn(async move {
            let ready = tokio::time::timeout(READY_TIMEOUT, connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                pool.keep(endpoint, connection);
            }
        });
    }

    fn keep(self: &Arc<Self>, endpoint: Endpoint, connection: Connection) {
        let mut idle = self.idle();
        let same = idle.kept.iter().filter(|kept| kept.endpoint == endpoint).count();
        if same >= IDLE_MAX {
            return;
        }
        idle.kept.push(Kept { endpoint, connection, since: Instant::now() });
        if !std::mem::replace(&mut idle.swept, true) {
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE_TIMEOUT).await;
                    let Some(pool) = pool.upgrade() else { return };
                    let mut idle = pool.idle();
                    idle.kept.retain(|kept| {
                        !kept.connection.sender.is_closed() && kept.since.elapsed() < IDLE_TIMEOUT
                    });
                    if idle.kept.is_empty() {
                        *idle = Idle::default();
                        return;
                    }
                }
            });
        }
    }
}
