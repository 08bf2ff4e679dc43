//! The embedded back end: one SQLite file, or memory.
//!
//! One writer at a time. A change of a document is one transaction; changes of the queue share one.

mod catalogue;
mod migrations;
mod queue;

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rusqlite::Connection;

use self::queue::EmbeddedQueue;
use crate::backend::{Backend, Change, Revision, Watcher};
use crate::queue::{Listener, Queue};
use crate::{Error, lock};

/// With so many pages in SQLite's log, who writes brings them into the store. The queue has that
/// done earlier, beside its writing; after a crash, a start reads the log.
const LOG_PAGES_MAX: u32 = 4000;

/// A log that was longer, under load, is cut to this when it begins anew, bytes.
const LOG_BYTES_KEPT: i64 = 16 << 20;

/// State on this machine's disk.
pub struct Embedded {
    writer: Arc<Mutex<Connection>>,
    path: Option<PathBuf>,
    watchers: Mutex<Vec<Weak<dyn Watcher>>>,
}

impl Embedded {
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
        Ok(Self {
            writer: Arc::new(Mutex::new(connection)),
            path: path.map(Path::to_owned),
            watchers: Mutex::default(),
        })
    }
}

impl Backend for Embedded {
    fn watch(&self, watcher: Weak<dyn Watcher>) -> Result<(), Error> {
        // Nobody changes anything between what is read and what is told next.
        let writer = lock(&self.writer);
        if let Some(watcher) = watcher.upgrade() {
            catalogue::read(&writer, |told| watcher.hear(told))?;
        }
        lock(&self.watchers).push(watcher);
        Ok(())
    }

    fn commit(&self, change: &Change<'_>) -> Result<Revision, Error> {
        let mut writer = lock(&self.writer);
        let told = catalogue::commit(&mut writer, change)?;
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            // Who can't understand it has what it had: it is not the author's to know.
            let _ = watcher.hear(&told);
        }
        Ok(told.revision)
    }

    fn queue(&self, listener: Box<Listener>) -> Result<Box<dyn Queue>, Error> {
        let queue = EmbeddedQueue::open(self.writer.clone(), self.path.as_deref(), listener)?;
        Ok(Box::new(queue))
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

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error.into()),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.into())
            }
            _ => Self::Backend(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
