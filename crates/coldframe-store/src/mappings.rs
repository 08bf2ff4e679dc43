//! Event source mappings: which function takes what of which source.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::document::Single;
use crate::{Error, FunctionKey, Store};

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
    /// Of a stream: how far each shard is done, by its id, as its poller writes it.
    #[serde(default)]
    pub shards: BTreeMap<String, String>,
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

impl Single for MappingRecord {
    const NAME: &'static str = "event_source_mapping";
    type Id = Uuid;
}

impl Store {
    /// The mapping of this id.
    pub fn mapping(&self, id: Uuid) -> Option<Arc<MappingRecord>> {
        self.memory.mappings.get(&id)
    }

    /// Every mapping of every account, in order of id.
    pub fn mappings(&self) -> Vec<(Uuid, Arc<MappingRecord>)> {
        self.memory.mappings.all()
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
        self.change_document(
            |memory| &memory.mappings,
            &id,
            |record| decide(record, &self.mappings()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::at_both;

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
            shards: BTreeMap::new(),
        }
    }

    fn set(store: &Store, id: Uuid, to: Option<MappingRecord>) {
        let changed: Result<(), Error> = store.change_mapping(id, |record, _| {
            *record = to;
            Ok(())
        });
        changed.unwrap();
    }

    #[test]
    fn changes_are_there_after_opening_again() {
        at_both(|open| {
            let store = open();
            let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
            set(&store, one, Some(record("a")));
            set(&store, other, Some(record("b")));
            set(&store, other, None);
            let refused = store.change_mapping(one, |record, all| {
                assert_eq!(all.len(), 1);
                *record = None;
                Err::<(), _>(Error::Closed)
            });
            refused.unwrap_err();
            for store in [&store, &open()] {
                assert_eq!(store.mapping(one).as_deref(), Some(&record("a")));
                assert_eq!(store.mappings().len(), 1);
            }
        });
    }

    /// What this release writes is read by all later ones.
    #[test]
    fn a_record_of_this_layout_is_read() {
        let text = r#"{"function":{"account":"123456789012","region":"eu-west-1","name":"a"},
            "qualifier":"live","source":"arn:aws:sqs:eu-west-1:123456789012:q","enabled":true,
            "transition":"Creating","last_modified_ms":1700000000000,"settings":{"BatchSize":10}}"#;
        assert_eq!(serde_json::from_str::<MappingRecord>(text).unwrap(), record("a"));
        let read = MappingRecord {
            shards: BTreeMap::from([("shardId-0".into(), "after:49".into())]),
            ..record("a")
        };
        let text = text.replace("}}", r#"},"shards":{"shardId-0":"after:49"}}"#);
        assert_eq!(serde_json::from_str::<MappingRecord>(&text).unwrap(), read);
    }
}
