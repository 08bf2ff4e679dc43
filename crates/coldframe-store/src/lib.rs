//! The embedded store: what survives a restart and `kill -9`.
//!
//! One SQLite file; every answer to a reader comes from memory, every change is on disk before it
//! is seen. One writer at a time, each change one transaction; changes of the [`queue`] share one.
//!
//! **Invariant:** doesn't know HTTP, nor who calls. Reads of the catalogue never touch the disk.

mod functions;
mod keys;
mod layers;
mod mappings;
mod migrations;
pub mod queue;
mod record;
mod roles;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use coldframe_core::{AccountId, FunctionArn, LayerArn};
use rusqlite::Connection;

pub use self::keys::{AccountRecord, KeyRecord};
pub use self::mappings::{MappingRecord, Transition};
pub use self::record::{
    AliasRecord, EventInvokeRecord, Function, FunctionKey, FunctionRecord, Layer, LayerRecord,
    LayerUse, Logging, PolicyHead, Provisioned, RuntimeUpdate, Settings, State, Update, UrlRecord,
};

pub use self::roles::{Named, PolicyRecord, RoleRecord};

/// A change failed; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the store was written by a newer coldframe: it has layout {found}, this program knows {known}"
    )]
    Newer { found: i64, known: usize },
    /// Nothing is lost, and nothing more can be kept.
    #[error("the disk that holds the store is full")]
    Full(#[source] rusqlite::Error),
    /// What lies on the disk isn't what was written there: only a copy helps.
    #[error("the file of the store is damaged")]
    Damaged(#[source] rusqlite::Error),
    #[error("cannot open the store's file")]
    File(#[from] std::io::Error),
    #[error("cannot use the store")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the record of {what} cannot be read")]
    Record { what: String, source: serde_json::Error },
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

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error)
            }
            _ => Self::Sqlite(error),
        }
    }
}

/// With so many pages in SQLite's log, who writes brings them into the store. The queue has that
/// done earlier, beside its writing; after a crash, a start reads the log.
const LOG_PAGES_MAX: u32 = 4000;

/// A log that was longer, under load, is cut to this when it begins anew, bytes.
const LOG_BYTES_KEPT: i64 = 16 << 20;

/// The catalogue of functions and layers.
pub struct Store {
    writer: Arc<Mutex<Connection>>,
    path: Option<PathBuf>,
    functions: RwLock<BTreeMap<FunctionArn, Arc<Function>>>,
    layers: RwLock<BTreeMap<LayerArn, Arc<Layer>>>,
    keys: keys::Keys,
    roles: Named<RoleRecord>,
    policies: Named<PolicyRecord>,
    mappings: mappings::Mappings,
}

impl Store {
    /// Opens the file, or makes it; one of an earlier layout is brought up to date. `None` keeps
    /// everything in memory.
    ///
    /// # Errors
    /// If the file is no store, damaged, or of a newer layout.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let mut connection = match path {
            Some(path) => {
                private(path)?;
                Connection::open(path)?
            }
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An acknowledged change is on the disk, not only with the kernel.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        migrations::run(&mut connection)?;
        let functions = RwLock::new(functions::load(&connection)?);
        let layers = RwLock::new(layers::load(&connection)?);
        let keys = keys::Keys::load(&connection)?;
        let roles = Named::load(&connection, "role")?;
        let policies = Named::load(&connection, "policy")?;
        let mappings = mappings::load(&connection)?;
        Ok(Self {
            writer: Arc::new(Mutex::new(connection)),
            path: path.map(Path::to_owned),
            functions,
            layers,
            keys,
            roles,
            policies,
            mappings,
        })
    }

    /// The durable queue of the same file; at most one at a time. `listener` must not call it.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn queue(
        &self,
        listener: impl Fn(queue::Signal<'_>) + Send + Sync + 'static,
    ) -> Result<queue::Queue, Error> {
        queue::Queue::open(self.writer.clone(), self.path.as_deref(), Box::new(listener))
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the file if need be, for the owner alone: it holds secrets. SQLite's other files get the
/// same mode, unless an earlier version has left them.
fn private(path: &Path) -> Result<(), Error> {
    let file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        match fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The account, region and name that a row begins with; `None` for a row no program wrote.
fn key(row: &rusqlite::Row<'_>) -> Result<Option<FunctionArn>, Error> {
    let text = |column| row.get::<_, String>(column);
    let (account, region, name) = (text(0)?, text(1)?, text(2)?);
    Ok(AccountId::parse(&account).map(|account| FunctionArn {
        account,
        region: region.into(),
        name: name.into(),
    }))
}

#[cfg(test)]
mod tests;
