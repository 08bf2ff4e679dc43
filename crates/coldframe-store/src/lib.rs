//! What survives a restart and `kill -9`: the catalogue, and the queue of events.
//!
//! Every answer to a reader comes from memory; every change is kept by a [`Backend`] before it is
//! seen. Changes come one after another.
//!
//! **Invariant:** doesn't know HTTP, nor who calls. Reads of the catalogue never touch the disk.

mod backend;
mod document;
mod embedded;
mod functions;
mod keys;
mod layers;
mod mappings;
pub mod queue;
mod record;
mod roles;
#[cfg(any(test, feature = "suite"))]
#[expect(clippy::unwrap_used, reason = "tests, which other crates run too")]
pub mod suite;

use std::path::Path;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

use self::document::Memory;

pub use self::backend::{Backend, Change, Content, Part, Revision, Told, Watcher};
pub use self::document::Malformed;
pub use self::embedded::Embedded;
pub use self::keys::{AccountRecord, KeyRecord};
pub use self::mappings::{MappingRecord, Transition};
pub use self::record::{
    AliasRecord, EventInvokeRecord, Function, FunctionKey, FunctionRecord, Layer, LayerRecord,
    LayerUse, Logging, PolicyHead, Provisioned, RuntimeUpdate, Settings, State, Update, UrlRecord,
};
pub use self::roles::{PolicyRecord, RoleRecord};

use self::keys::Secret;

/// What a back end says of its own trouble.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A change failed; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the store was written by a newer coldframe: it has layout {found}, this program knows {known}"
    )]
    Newer { found: i64, known: usize },
    /// Nothing is lost, and nothing more can be kept.
    #[error("the disk that holds the store is full")]
    Full(#[source] Cause),
    /// What lies on the disk isn't what was written there: only a copy helps.
    #[error("the file of the store is damaged")]
    Damaged(#[source] Cause),
    #[error("cannot open the store's file")]
    File(#[from] std::io::Error),
    #[error("cannot use the store")]
    Backend(#[source] Cause),
    /// Its author decided on what is no longer so.
    #[error("{what} has been changed by somebody else meanwhile")]
    Changed { what: String },
    #[error("the record of {what} cannot be read")]
    Record { what: String, source: Malformed },
    #[error("{part} belongs to {of}, which isn't there: the store is damaged")]
    Stray { part: String, of: String },
    #[error("the secret of sessions is none")]
    Secret,
    #[error("a record cannot be written")]
    Unwritable(#[from] serde_json::Error),
    /// What lies on the disk isn't what was written there.
    #[error("event {id} of the queue is damaged on the disk")]
    DamagedEvent { id: i64 },
    #[error("the queue is closed")]
    Closed,
    #[error("cannot start the queue's thread")]
    Thread(#[source] std::io::Error),
}

/// The catalogue of functions, layers and all else.
pub struct Store {
    backend: Arc<dyn Backend>,
    memory: Arc<Memory>,
    /// Held while a change is decided on and written.
    changing: Mutex<()>,
    /// Signs temporary credentials: those of before a restart stay good.
    session_secret: [u8; 32],
}

impl Store {
    /// A store in a file, or in memory: see [`Embedded::open`].
    ///
    /// # Errors
    /// If the file is no store, damaged, or of a newer layout.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        Self::over(Arc::new(Embedded::open(path)?))
    }

    /// A store over any back end, which others may share.
    ///
    /// # Errors
    /// If what is there can't be read.
    pub fn over(backend: Arc<dyn Backend>) -> Result<Self, Error> {
        let memory = Arc::new(Memory::default());
        let watcher: Weak<Memory> = Arc::downgrade(&memory);
        backend.watch(watcher)?;
        let mut store =
            Self { backend, memory, changing: Mutex::default(), session_secret: [0; 32] };
        store.session_secret = keys::session_secret(&store)?;
        Ok(store)
    }

    /// The durable queue; at most one at a time. `listener` must not call it.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn queue(
        &self,
        listener: impl Fn(queue::Signal<'_>) + Send + Sync + 'static,
    ) -> Result<Box<dyn queue::Queue>, Error> {
        self.backend.queue(Box::new(listener))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
