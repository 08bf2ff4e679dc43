//! Event source mappings: which function takes what of which source.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::functions::parse;
use crate::{Error, FunctionKey, Store, read, write};

/// An event source mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MappingRecord {
    /// It may be gone: a mapping outlives its function.
    pub function: FunctionKey,
    /// As it was given.
    pub qualifier: Option<String>,
    /// `EventSourceArn`
    pub source: String,
    pub enabled: bool,
    /// What is being done to it; once that is done, absent.
    pub transition: Option<Transition>,
    /// Milliseconds since 1970.
    pub last_modified_ms: i64,
    /// Settings that have a default or are echoed, as they are shown: `BatchSize` and its like.
    pub settings: BTreeMap<String, Value>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A state on the way to another one (service-api.md §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    Creating,
    Enabling,
    Disabling,
    Updating,
    Deleting,
}

/// All of them, in memory.
pub(crate) type Mappings = RwLock<BTreeMap<Uuid, Arc<MappingRecord>>>;

/// The step of the layout.
pub(crate) fn migrate(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE event_source_mapping (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

pub(crate) fn load(connection: &Connection) -> Result<Mappings, Error> {
    let mut mappings = BTreeMap::new();
    let mut statement = connection.prepare("SELECT id, record FROM event_source_mapping")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let record = parse(row, 1, || format!("event source mapping {id}"))?;
        // Any other row no program wrote.
        let Ok(id) = Uuid::parse_str(&id) else { continue };
        mappings.insert(id, Arc::new(record));
    }
    Ok(RwLock::new(mappings))
}

impl Store {
    /// The mapping of this id.
    pub fn mapping(&self, id: Uuid) -> Option<Arc<MappingRecord>> {
        read(&self.mappings).get(&id).cloned()
    }

    /// Every mapping of every account, in order of id.
    pub fn mappings(&self) -> Vec<(Uuid, Arc<MappingRecord>)> {
        read(&self.mappings).iter().map(|(id, record)| (*id, record.clone())).collect()
    }

    /// Lets `decide` make, change or delete a mapping, knowing all others. Once it agrees, its
    /// change is on the disk, then seen. Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change_mapping<T, E: From<Error>>(
        &self,
        id: Uuid,
        decide: impl FnOnce(&mut Option<MappingRecord>, &[(Uuid, Arc<MappingRecord>)]) -> Result<T, E>,
    ) -> Result<T, E> {
        let writer = self.writer();
        let all = self.mappings();
        let mut new = self.mapping(id).map(|record| (*record).clone());
        let decided = decide(&mut new, &all)?;
        let key = id.hyphenated().to_string();
        let write_record = || -> Result<(), Error> {
            match &new {
                Some(record) => writer.execute(
                    "INSERT OR REPLACE INTO event_source_mapping VALUES (?1, ?2)",
                    params![key, serde_json::to_string(record)?],
                )?,
                None => writer
                    .execute("DELETE FROM event_source_mapping WHERE id = ?1", params![key])?,
            };
            Ok(())
        };
        write_record()?;
        let mut mappings = write(&self.mappings);
        match new {
            Some(new) => mappings.insert(id, Arc::new(new)),
            None => mappings.remove(&id),
        };
        Ok(decided)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn record(name: &str) -> MappingRecord {
        MappingRecord {
            function: FunctionKey {
                account: "123456789012".into(),
                region: "eu-west-1".into(),
                name: name.into(),
            },
            qualifier: Some("live".into()),
            source: "arn:aws:sqs:eu-west-1:123456789012:q".into(),
            enabled: true,
            transition: Some(Transition::Creating),
            last_modified_ms: 1_700_000_000_000,
            settings: BTreeMap::from([("BatchSize".into(), 10.into())]),
            tags: BTreeMap::new(),
        }
    }

    fn set(store: &Store, id: Uuid, to: Option<MappingRecord>) {
        let changed: Result<(), Error> = store.change_mapping(id, |record, _| {
            *record = to;
            Ok(())
        });
        changed.unwrap();
    }

    fn check_kept(store: &Store, path: &Path) {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        set(store, one, Some(record("a")));
        set(store, other, Some(record("b")));
        set(store, other, None);
        let refused = store.change_mapping(one, |record, all| {
            assert_eq!(all.len(), 1);
            *record = None;
            Err::<(), _>(Error::Newer { found: 0, known: 0 })
        });
        refused.unwrap_err();
        // Not closed: a killed service closes nothing.
        let again = Store::open(Some(path)).unwrap();
        for store in [store, &again] {
            assert_eq!(store.mapping(one).as_deref(), Some(&record("a")));
            assert_eq!(store.mappings().len(), 1);
        }
    }

    #[test]
    fn changes_are_there_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        check_kept(&Store::open(Some(&path)).unwrap(), &path);
    }

    /// A store of the first release gets the table when it is opened.
    #[test]
    fn a_store_without_mappings_takes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sqlite");
        let layout = include_str!("migrations/layout-1.sql");
        Connection::open(&path).unwrap().execute_batch(layout).unwrap();
        let store = Store::open(Some(&path)).unwrap();
        assert!(store.mappings().is_empty());
        check_kept(&store, &path);
    }

    /// What this release writes is read by all later ones.
    #[test]
    fn a_record_of_this_layout_is_read() {
        let text = r#"{"function":{"account":"123456789012","region":"eu-west-1","name":"a"},
            "qualifier":"live","source":"arn:aws:sqs:eu-west-1:123456789012:q","enabled":true,
            "transition":"Creating","last_modified_ms":1700000000000,"settings":{"BatchSize":10}}"#;
        assert_eq!(serde_json::from_str::<MappingRecord>(text).unwrap(), record("a"));
    }
}
