//! Accounts, and the access keys their users sign with.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use coldframe_core::AccountId;
use rusqlite::{Connection, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Store, read, write};

/// An account that was asked for. The default account is there without a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    pub name: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
}

/// An access key. The secret lies here as it is: signatures can't be checked by less.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub account: String,
    pub user: String,
    pub secret_key: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
}

/// All of it, in memory.
pub(crate) struct Keys {
    accounts: RwLock<BTreeMap<AccountId, Arc<AccountRecord>>>,
    keys: RwLock<BTreeMap<String, Arc<KeyRecord>>>,
    /// Signs temporary credentials: those of before a restart stay good.
    session_secret: [u8; 32],
}

/// The step of the layout.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE account (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE access_key (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE secret (
            name  TEXT NOT NULL PRIMARY KEY,
            value BLOB NOT NULL
        ) STRICT, WITHOUT ROWID;",
    )?;
    let secret = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()];
    transaction
        .execute("INSERT INTO secret VALUES ('session', ?1)", params![secret.as_flattened()])?;
    Ok(())
}

impl Keys {
    pub(crate) fn load(connection: &Connection) -> Result<Self, Error> {
        let accounts = records(connection, "SELECT id, record FROM account")?;
        let accounts =
            accounts.into_iter().filter_map(|(id, record)| Some((AccountId::parse(&id)?, record)));
        Ok(Self {
            accounts: RwLock::new(accounts.collect()),
            keys: RwLock::new(
                records(connection, "SELECT id, record FROM access_key")?.into_iter().collect(),
            ),
            session_secret: connection.query_row(
                "SELECT value FROM secret WHERE name = 'session'",
                [],
                |row| row.get(0),
            )?,
        })
    }
}

fn records<T: DeserializeOwned>(
    connection: &Connection,
    query: &str,
) -> Result<Vec<(String, Arc<T>)>, Error> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (id, record): (String, String) = row?;
        let record = serde_json::from_str(&record)
            .map_err(|source| Error::Record { what: id.clone(), source })?;
        Ok((id, Arc::new(record)))
    })
    .collect()
}

impl Store {
    /// Adds an account; `false` if there is one of that number. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn create_account(&self, id: &AccountId, record: AccountRecord) -> Result<bool, Error> {
        let writer = self.writer();
        if self.has_account(id) {
            return Ok(false);
        }
        let text = serde_json::to_string(&record)?;
        writer.execute("INSERT INTO account VALUES (?1, ?2)", params![id.as_str(), text])?;
        let mut accounts = write(&self.keys.accounts);
        accounts.insert(id.clone(), Arc::new(record));
        Ok(true)
    }

    /// Whether there is such an account.
    pub fn has_account(&self, id: &AccountId) -> bool {
        let accounts = read(&self.keys.accounts);
        *id == AccountId::default_account() || accounts.contains_key(id)
    }

    /// Every account that was asked for.
    pub fn accounts(&self) -> Vec<(AccountId, Arc<AccountRecord>)> {
        let accounts = read(&self.keys.accounts);
        accounts.iter().map(|(id, record)| (id.clone(), record.clone())).collect()
    }

    /// Adds an access key. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails, or there is such a key.
    pub fn create_key(&self, id: &str, record: KeyRecord) -> Result<(), Error> {
        let writer = self.writer();
        let text = serde_json::to_string(&record)?;
        writer.execute("INSERT INTO access_key VALUES (?1, ?2)", params![id, text])?;
        let mut keys = write(&self.keys.keys);
        keys.insert(id.to_owned(), Arc::new(record));
        Ok(())
    }

    /// An access key that hasn't been revoked.
    pub fn key(&self, id: &str) -> Option<Arc<KeyRecord>> {
        read(&self.keys.keys).get(id).cloned()
    }

    /// Every access key.
    pub fn keys(&self) -> Vec<(String, Arc<KeyRecord>)> {
        let keys = read(&self.keys.keys);
        keys.iter().map(|(id, record)| (id.clone(), record.clone())).collect()
    }

    /// From now on nobody signs with this key; `false` if there is none. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn revoke_key(&self, id: &str) -> Result<bool, Error> {
        let writer = self.writer();
        writer.execute("DELETE FROM access_key WHERE id = ?1", params![id])?;
        let mut keys = write(&self.keys.keys);
        Ok(keys.remove(id).is_some())
    }

    /// What temporary credentials are signed with, 32 bytes.
    pub fn session_secret(&self) -> &[u8; 32] {
        &self.keys.session_secret
    }
}

#[cfg(test)]
mod tests;
