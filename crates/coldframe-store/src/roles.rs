//! Roles and policies of IAM, as far as deployment tools make them.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use coldframe_core::AccountId;
use rusqlite::{Connection, Transaction, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Store, read, write};

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleRecord {
    /// Begins and ends with a slash.
    pub path: String,
    /// `AssumeRolePolicyDocument`, JSON text as it was given.
    pub trust: String,
    pub description: String,
    pub max_session_s: u64,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
    pub tags: BTreeMap<String, String>,
    /// Managed policies by ARN, with their names.
    pub attached: BTreeMap<String, String>,
    /// Policies of its own by name, JSON text as it was given.
    pub inline: BTreeMap<String, String>,
}

/// A managed policy; it has one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRecord {
    /// Begins and ends with a slash.
    pub path: String,
    /// JSON text as it was given.
    pub document: String,
    pub description: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
    pub tags: BTreeMap<String, String>,
}

/// Records by account and name: in memory, and in a table of this name.
pub struct Named<R> {
    table: &'static str,
    records: RwLock<BTreeMap<(AccountId, String), Arc<R>>>,
}

/// The step of the layout.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<(), Error> {
    for table in ["role", "policy"] {
        transaction.execute_batch(&format!(
            "CREATE TABLE {table} (
                account TEXT NOT NULL,
                name    TEXT NOT NULL,
                record  TEXT NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT, WITHOUT ROWID;"
        ))?;
    }
    Ok(())
}

impl<R: Clone + PartialEq + Serialize + DeserializeOwned> Named<R> {
    pub(crate) fn load(connection: &Connection, table: &'static str) -> Result<Self, Error> {
        let mut records = BTreeMap::new();
        let mut statement =
            connection.prepare(&format!("SELECT account, name, record FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text = |column| row.get::<_, String>(column);
            let (account, name) = (text(0)?, text(1)?);
            let Some(account) = AccountId::parse(&account) else { continue };
            let record = serde_json::from_str(&text(2)?)
                .map_err(|source| Error::Record { what: format!("{table} {name}"), source })?;
            records.insert((account, name), Arc::new(record));
        }
        Ok(Self { table, records: RwLock::new(records) })
    }

    /// The record of this name.
    pub fn get(&self, account: &AccountId, name: &str) -> Option<Arc<R>> {
        read(&self.records).get(&(account.clone(), name.to_owned())).cloned()
    }

    /// All of the account, in order of name.
    pub fn all(&self, account: &AccountId) -> Vec<(String, Arc<R>)> {
        read(&self.records)
            .range((account.clone(), String::new())..)
            .take_while(|((of, _), _)| of == account)
            .map(|((_, name), record)| (name.clone(), record.clone()))
            .collect()
    }
}

impl Store {
    pub fn roles(&self) -> &Named<RoleRecord> {
        &self.roles
    }

    pub fn policies(&self) -> &Named<PolicyRecord> {
        &self.policies
    }

    /// Lets `decide` make, change or delete a record; what it agrees to is on the disk, then seen.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change_named<R, T, E: From<Error>>(
        &self,
        of: impl FnOnce(&Self) -> &Named<R>,
        account: &AccountId,
        name: &str,
        decide: impl FnOnce(&mut Option<R>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        R: Clone + PartialEq + Serialize + DeserializeOwned,
    {
        let named = of(self);
        let writer = self.writer();
        let old = named.get(account, name);
        let mut new = old.as_deref().cloned();
        let decided = decide(&mut new)?;
        if new.as_ref() == old.as_deref() {
            return Ok(decided);
        }
        let table = named.table;
        let write_record = || -> Result<(), Error> {
            match &new {
                Some(record) => writer.execute(
                    &format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3)"),
                    params![account.as_str(), name, serde_json::to_string(record)?],
                )?,
                None => writer.execute(
                    &format!("DELETE FROM {table} WHERE account = ?1 AND name = ?2"),
                    params![account.as_str(), name],
                )?,
            };
            Ok(())
        };
        write_record()?;
        let mut records = write(&named.records);
        let key = (account.clone(), name.to_owned());
        match new {
            Some(new) => records.insert(key, Arc::new(new)),
            None => records.remove(&key),
        };
        Ok(decided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        let store = Store::open(Some(&path)).unwrap();
        let (one, other) =
            (AccountId::default_account(), AccountId::parse("123456789012").unwrap());
        let set = |account: &AccountId, name: &str, role: Option<RoleRecord>| {
            let changed = store.change_named(Store::roles, account, name, |record| {
                *record = role;
                Ok::<_, Error>(())
            });
            changed.unwrap();
        };
        let role = RoleRecord { trust: "{}".into(), ..RoleRecord::default() };
        set(&one, "a", Some(role.clone()));
        set(&one, "b", Some(role.clone()));
        set(&one, "b", None);
        set(&other, "a", Some(role.clone()));
        let refused = store.change_named(Store::roles, &one, "a", |record| {
            *record = None;
            Err::<(), _>(Error::Newer { found: 0, known: 0 })
        });
        assert!(refused.is_err());
        let again = Store::open(Some(&path)).unwrap();
        for store in [&store, &again] {
            assert_eq!(store.roles().get(&one, "a").as_deref(), Some(&role));
            let names: Vec<String> =
                store.roles().all(&one).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["a"]);
            assert!(store.policies().all(&one).is_empty());
        }
    }
}
