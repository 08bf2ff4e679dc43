//! Records in memory, and how each lies in a document of the back end.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, RwLock};

use coldframe_core::{AccountId, FunctionArn, LayerArn};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::backend::{Change, Content, Part, Revision, Told, Watcher};
use crate::{
    AccountRecord, Error, Function, KeyRecord, Layer, MappingRecord, PolicyRecord, RoleRecord,
    Secret, Store, lock, read, write,
};

/// What is read and changed as one.
pub(crate) trait Document: Clone + Send + Sync {
    const KIND: &'static str;
    type Key: Key;

    /// The parts that `old` hasn't, or has otherwise; as gone, those that only `old` has.
    fn parts_since(&self, old: Option<&Self>) -> Result<Vec<Part>, Error>;

    /// What `old` is with these parts.
    fn with(old: Option<&Self>, parts: &[Part]) -> Result<Self, Malformed>;
}

/// The name of a document, as its readers use it.
pub(crate) trait Key: Clone + Ord + Send + Sync {
    fn to_name(&self) -> String;

    /// `None` of a name that no program of ours gave.
    fn of_name(name: &str) -> Option<Self>;
}

/// A document isn't what its kind says: who wrote it, if not a damaged disk?
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("it has no {0}")]
    Lacks(&'static str),
    #[error("its {part} is none")]
    Part { part: String, source: serde_json::Error },
}

/// The documents of a kind.
pub(crate) struct Table<D: Document>(RwLock<Documents<D>>);

type Documents<D> = BTreeMap<<D as Document>::Key, (Revision, Arc<D>)>;

impl<D: Document> Default for Table<D> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<D: Document> Table<D> {
    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Arc<D>>
    where
        D::Key: Borrow<Q>,
    {
        read(&self.0).get(key).map(|(_, document)| document.clone())
    }

    fn entry(&self, key: &D::Key) -> Option<(Revision, Arc<D>)> {
        read(&self.0).get(key).cloned()
    }

    /// In order of keys.
    pub(crate) fn all(&self) -> Vec<(D::Key, Arc<D>)> {
        self.range(.., |_| true, usize::MAX)
    }

    /// In order of keys, until one isn't `wanted`, `count` at most.
    pub(crate) fn range(
        &self,
        range: impl RangeBounds<D::Key>,
        wanted: impl Fn(&D::Key) -> bool,
        count: usize,
    ) -> Vec<(D::Key, Arc<D>)> {
        let documents = read(&self.0);
        let found = documents.range(range).take_while(|(key, _)| wanted(key)).take(count);
        found.map(|(key, (_, document))| (key.clone(), document.clone())).collect()
    }

    fn hear(&self, told: &Told<'_>) -> Result<(), Error> {
        let Some(key) = D::Key::of_name(told.name) else { return Ok(()) };
        match told.content {
            Content::Gone => {
                write(&self.0).remove(&key);
            }
            Content::Parts(parts) => {
                let document = understood(self.get(&key).as_deref(), parts, told.name)?;
                write(&self.0).insert(key, (told.revision, Arc::new(document)));
            }
        }
        Ok(())
    }
}

fn understood<D: Document>(old: Option<&D>, parts: &[Part], name: &str) -> Result<D, Error> {
    D::with(old, parts)
        .map_err(|source| Error::Record { what: format!("{} {name}", D::KIND), source })
}

/// Every document, as the back end told it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) functions: Table<Function>,
    pub(crate) layers: Table<Layer>,
    pub(crate) accounts: Table<AccountRecord>,
    pub(crate) keys: Table<KeyRecord>,
    pub(crate) roles: Table<RoleRecord>,
    pub(crate) policies: Table<PolicyRecord>,
    pub(crate) mappings: Table<MappingRecord>,
    pub(crate) secrets: Table<Secret>,
}

impl Watcher for Memory {
    fn hear(&self, told: &Told<'_>) -> Result<(), Error> {
        match told.kind {
            Function::KIND => self.functions.hear(told),
            Layer::KIND => self.layers.hear(told),
            AccountRecord::KIND => self.accounts.hear(told),
            KeyRecord::KIND => self.keys.hear(told),
            RoleRecord::KIND => self.roles.hear(told),
            PolicyRecord::KIND => self.policies.hear(told),
            MappingRecord::KIND => self.mappings.hear(told),
            Secret::KIND => self.secrets.hear(told),
            // Of a later program, which shares the back end.
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Lets `decide` make, change or delete a document. Nothing else changes here meanwhile; once it
    /// agrees, its change is on the disk, then seen.
    pub(crate) fn change_document<D: Document, T, E: From<Error>>(
        &self,
        table: impl Fn(&Memory) -> &Table<D>,
        key: &D::Key,
        decide: impl FnOnce(&mut Option<D>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _changing = lock(&self.changing);
        let (seen, old) = table(&self.memory).entry(key).unzip();
        let old = old.as_deref();
        let mut new = old.cloned();
        let decided = decide(&mut new)?;
        if let Some(content) = difference(old, new.as_ref())? {
            let name = key.to_name();
            if let Content::Parts(parts) = &content {
                // What could not be read again isn't written.
                understood(old, parts, &name)?;
            }
            let change = Change { kind: D::KIND, name: &name, seen, content: &content };
            self.backend.commit(&change)?;
        }
        Ok(decided)
    }
}

/// `None` if there is none.
fn difference<D: Document>(old: Option<&D>, new: Option<&D>) -> Result<Option<Content>, Error> {
    let Some(new) = new else { return Ok(old.map(|_| Content::Gone)) };
    let parts = new.parts_since(old)?;
    Ok((old.is_none() || !parts.is_empty()).then_some(Content::Parts(parts)))
}

/// A record that is a document's only part.
pub(crate) trait Single:
    Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync
{
    const NAME: &'static str;
    type Id: Key;
}

const RECORD: &str = "record";

impl<R: Single> Document for R {
    const KIND: &'static str = R::NAME;
    type Key = R::Id;

    fn parts_since(&self, old: Option<&Self>) -> Result<Vec<Part>, Error> {
        let same = old == Some(self);
        if same { Ok(Vec::new()) } else { Ok(vec![Part::json(RECORD.to_owned(), self)?]) }
    }

    fn with(old: Option<&Self>, parts: &[Part]) -> Result<Self, Malformed> {
        let mut record = old.cloned();
        for part in parts.iter().filter(|part| part.name == RECORD) {
            record = part.parse()?;
        }
        record.ok_or(Malformed::Lacks(RECORD))
    }
}

impl Part {
    pub(crate) fn json<T: Serialize>(name: String, value: &T) -> Result<Self, Error> {
        Ok(Self { name, text: Some(serde_json::to_string(value)?) })
    }

    pub(crate) fn gone(name: String) -> Self {
        Self { name, text: None }
    }

    /// `None` if it is gone.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<Option<T>, Malformed> {
        let text = self.text.as_deref();
        text.map(serde_json::from_str)
            .transpose()
            .map_err(|source| Malformed::Part { part: self.name.clone(), source })
    }
}

/// Of parts that are shared: those that are new or others, and those that are gone.
pub(crate) fn shared_since<K: Ord, V: Serialize>(
    old: Option<&BTreeMap<K, Arc<V>>>,
    new: &BTreeMap<K, Arc<V>>,
    name: impl Fn(&K) -> String,
    parts: &mut Vec<Part>,
) -> Result<(), Error> {
    let before = |key: &K| old.and_then(|old| old.get(key));
    for (key, value) in new {
        if before(key).is_none_or(|before| !Arc::ptr_eq(before, value)) {
            parts.push(Part::json(name(key), &**value)?);
        }
    }
    let gone = old.into_iter().flatten().filter(|(key, _)| !new.contains_key(key));
    parts.extend(gone.map(|(key, _)| Part::gone(name(key))));
    Ok(())
}

/// Puts a part where it belongs, or takes it away.
pub(crate) fn set<K: Ord, V: DeserializeOwned>(
    values: &mut BTreeMap<K, Arc<V>>,
    key: K,
    part: &Part,
) -> Result<(), Malformed> {
    match part.parse()? {
        Some(value) => values.insert(key, Arc::new(value)),
        None => values.remove(&key),
    };
    Ok(())
}

impl Key for FunctionArn {
    fn to_name(&self) -> String {
        format!("{}/{}/{}", self.account.as_str(), self.region, self.name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut words = name.splitn(3, '/');
        let (account, region, name) = (words.next()?, words.next()?, words.next()?);
        let account = AccountId::parse(account)?;
        Some(Self { account, region: region.into(), name: name.into() })
    }
}

impl Key for LayerArn {
    fn to_name(&self) -> String {
        format!("{}/{}/{}", self.account.as_str(), self.region, self.name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let FunctionArn { account, region, name } = FunctionArn::of_name(name)?;
        Some(Self { account, region, name })
    }
}

impl Key for (AccountId, String) {
    fn to_name(&self) -> String {
        format!("{}/{}", self.0.as_str(), self.1)
    }

    fn of_name(name: &str) -> Option<Self> {
        let (account, name) = name.split_once('/')?;
        Some((AccountId::parse(account)?, name.to_owned()))
    }
}

impl Key for AccountId {
    fn to_name(&self) -> String {
        self.as_str().to_owned()
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::parse(name)
    }
}

impl Key for String {
    fn to_name(&self) -> String {
        self.clone()
    }

    fn of_name(name: &str) -> Option<Self> {
        Some(name.to_owned())
    }
}

impl Key for Uuid {
    fn to_name(&self) -> String {
        self.hyphenated().to_string()
    }

    fn of_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}
