//! The embedded store: what survives a restart and `kill -9`.
//!
//! One SQLite file; every answer to a reader comes from memory, every change is on disk before it
//! is seen. One writer at a time, each change one transaction.
//!
//! **Invariant:** doesn't know HTTP, nor who calls. Reads never touch the disk.

mod migrations;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use coldframe_core::FunctionArn;
use rusqlite::{Connection, params};

pub use self::record::{FunctionRecord, Logging, State, Update};

/// A change was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the function exists already")]
    Exists,
    #[error("the function does not exist")]
    Absent,
    /// Somebody else has changed it since it was read.
    #[error("the function has changed meanwhile")]
    Changed,
    #[error(
        "the store was written by a newer coldframe: it has layout {found}, this program knows {known}"
    )]
    Newer { found: i64, known: usize },
    #[error("cannot use the store")]
    Sqlite(#[from] rusqlite::Error),
    #[error("a record of the store cannot be read")]
    Record(#[from] serde_json::Error),
}

/// The catalogue of functions.
pub struct Store {
    writer: Mutex<Connection>,
    functions: RwLock<BTreeMap<FunctionArn, Arc<FunctionRecord>>>,
}

impl Store {
    /// Opens the file, or makes it; one of an earlier layout is brought up to date. `None` keeps
    /// everything in memory.
    ///
    /// # Errors
    /// If the file is no store, or of a newer layout.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let mut connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // An acknowledged change is on the disk, not only with the kernel.
        connection.pragma_update(None, "synchronous", "FULL")?;
        migrations::run(&mut connection)?;
        let functions = load(&connection)?;
        Ok(Self { writer: Mutex::new(connection), functions: RwLock::new(functions) })
    }

    /// The function as it stands.
    pub fn get(&self, arn: &FunctionArn) -> Option<Arc<FunctionRecord>> {
        self.read().get(arn).cloned()
    }

    /// Functions of an account and region in order of name, beginning behind `after`.
    pub fn list(&self, of: &FunctionArn, count: usize) -> Vec<(FunctionArn, Arc<FunctionRecord>)> {
        let functions = self.read();
        functions
            .range((std::ops::Bound::Excluded(of), std::ops::Bound::Unbounded))
            .take_while(|(arn, _)| arn.account == of.account && arn.region == of.region)
            .take(count)
            .map(|(arn, record)| (arn.clone(), record.clone()))
            .collect()
    }

    /// Every function of every account.
    pub fn all(&self) -> Vec<(FunctionArn, Arc<FunctionRecord>)> {
        self.read().iter().map(|(arn, record)| (arn.clone(), record.clone())).collect()
    }

    /// Adds a function. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one of that name.
    pub fn create(
        &self,
        arn: &FunctionArn,
        record: FunctionRecord,
    ) -> Result<Arc<FunctionRecord>, Error> {
        self.change(arn, |current| match current {
            Some(_) => Err(Error::Exists),
            None => Ok(Some(record)),
        })
        .map(|record| record.expect("a created record is there"))
    }

    /// Replaces the record whose revision is `revision`. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::Changed`] if the revision is another by now, [`Error::Absent`] if it is gone.
    pub fn replace(
        &self,
        arn: &FunctionArn,
        revision: &str,
        record: FunctionRecord,
    ) -> Result<Arc<FunctionRecord>, Error> {
        self.change(arn, |current| match current {
            None => Err(Error::Absent),
            Some(current) if current.revision_id != revision => Err(Error::Changed),
            Some(_) => Ok(Some(record)),
        })
        .map(|record| record.expect("a replaced record is there"))
    }

    /// Deletes a function. Blocks for the disk.
    ///
    /// # Errors
    /// [`Error::Absent`] if there is none.
    pub fn delete(&self, arn: &FunctionArn) -> Result<(), Error> {
        self.change(arn, |current| match current {
            None => Err(Error::Absent),
            Some(_) => Ok(None),
        })
        .map(drop)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<FunctionArn, Arc<FunctionRecord>>> {
        self.functions.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on the current record under the writer's lock; disk first, then memory.
    fn change(
        &self,
        arn: &FunctionArn,
        decide: impl FnOnce(Option<&FunctionRecord>) -> Result<Option<FunctionRecord>, Error>,
    ) -> Result<Option<Arc<FunctionRecord>>, Error> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.get(arn);
        let new = decide(current.as_deref())?.map(Arc::new);
        let FunctionArn { account, region, name } = arn;
        match &new {
            Some(record) => writer.execute(
                "INSERT OR REPLACE INTO function VALUES (?1, ?2, ?3, ?4)",
                params![account.as_str(), region, name, serde_json::to_string(&**record)?],
            )?,
            None => writer.execute(
                "DELETE FROM function WHERE account = ?1 AND region = ?2 AND name = ?3",
                params![account.as_str(), region, name],
            )?,
        };
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        match &new {
            Some(record) => functions.insert(arn.clone(), record.clone()),
            None => functions.remove(arn),
        };
        Ok(new)
    }
}

fn load(connection: &Connection) -> Result<BTreeMap<FunctionArn, Arc<FunctionRecord>>, Error> {
    let mut functions = BTreeMap::new();
    let mut statement = connection.prepare("SELECT account, region, name, record FROM function")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column| row.get::<_, String>(column);
        let Some(account) = coldframe_core::AccountId::parse(&text(0)?) else { continue };
        let arn = FunctionArn { account, region: text(1)?.into(), name: text(2)?.into() };
        functions.insert(arn, Arc::new(serde_json::from_str(&text(3)?)?));
    }
    Ok(functions)
}

#[cfg(test)]
mod tests;
