//! Functions with their versions and aliases: one transaction a change, of what it changed only.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use coldframe_core::FunctionArn;
use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Function, FunctionRecord, Store, key, read, write};

impl Store {
    /// The function with all that is of it.
    pub fn function(&self, arn: &FunctionArn) -> Option<Arc<Function>> {
        read(&self.functions).get(arn).cloned()
    }

    /// `$LATEST` of the function.
    pub fn get(&self, arn: &FunctionArn) -> Option<Arc<FunctionRecord>> {
        Some(read(&self.functions).get(arn)?.latest.clone())
    }

    /// Functions of an account and region in order of name, beginning behind `after`.
    pub fn list(&self, after: &FunctionArn, count: usize) -> Vec<(FunctionArn, Arc<Function>)> {
        self.of_namespace(Bound::Excluded(after), count)
    }

    /// As [`Store::list`], beginning with `first` itself.
    pub fn list_from(
        &self,
        first: &FunctionArn,
        count: usize,
    ) -> Vec<(FunctionArn, Arc<Function>)> {
        self.of_namespace(Bound::Included(first), count)
    }

    fn of_namespace(
        &self,
        begin: Bound<&FunctionArn>,
        count: usize,
    ) -> Vec<(FunctionArn, Arc<Function>)> {
        let (Bound::Included(of) | Bound::Excluded(of)) = begin else { return Vec::new() };
        read(&self.functions)
            .range((begin, Bound::Unbounded))
            .take_while(|(arn, _)| arn.account == of.account && arn.region == of.region)
            .take(count)
            .map(|(arn, function)| (arn.clone(), function.clone()))
            .collect()
    }

    /// Every function of every account.
    pub fn all(&self) -> Vec<(FunctionArn, Arc<Function>)> {
        read(&self.functions).iter().map(|(arn, found)| (arn.clone(), found.clone())).collect()
    }

    /// Lets `decide` make, change or delete a function. Nothing else changes meanwhile; once it
    /// agrees, its change is on the disk, then seen. Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change<T, E: From<Error>>(
        &self,
        arn: &FunctionArn,
        decide: impl FnOnce(&mut Option<Function>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = self.writer();
        let old = self.function(arn);
        let mut new = old.as_deref().cloned();
        let decided = decide(&mut new)?;
        let mut write_all = || -> Result<(), Error> {
            let transaction = writer.transaction()?;
            match &new {
                Some(new) => update(&transaction, arn, old.as_deref(), new)?,
                None => delete(&transaction, arn)?,
            }
            Ok(transaction.commit()?)
        };
        write_all()?;
        let mut functions = write(&self.functions);
        match new {
            Some(new) => functions.insert(arn.clone(), Arc::new(new)),
            None => functions.remove(arn),
        };
        Ok(decided)
    }
}

/// Writes the parts that are others than before.
fn update(
    transaction: &Transaction<'_>,
    arn: &FunctionArn,
    old: Option<&Function>,
    new: &Function,
) -> Result<(), Error> {
    let FunctionArn { account, region, name } = arn;
    let account = account.as_str();
    let same = old.is_some_and(|old| {
        Arc::ptr_eq(&old.latest, &new.latest) && Arc::ptr_eq(&old.settings, &new.settings)
    });
    if !same {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO function VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![account, region, name, json(&new.latest)?, json(&new.settings)?])?;
    }
    for (number, record) in changed(old.map(|old| &old.versions), &new.versions) {
        // A number fits: it counts up from one.
        let number = i64::try_from(*number).unwrap_or(i64::MAX);
        match record {
            Some(record) => transaction.execute(
                "INSERT OR REPLACE INTO version VALUES (?1, ?2, ?3, ?4, ?5)",
                params![account, region, name, number, json(record)?],
            )?,
            None => transaction.execute(
                "DELETE FROM version WHERE account = ?1 AND region = ?2 AND name = ?3 AND number = ?4",
                params![account, region, name, number],
            )?,
        };
    }
    for (alias, record) in changed(old.map(|old| &old.aliases), &new.aliases) {
        match record {
            Some(record) => transaction.execute(
                "INSERT OR REPLACE INTO alias VALUES (?1, ?2, ?3, ?4, ?5)",
                params![account, region, name, alias, json(record)?],
            )?,
            None => transaction.execute(
                "DELETE FROM alias WHERE account = ?1 AND region = ?2 AND name = ?3 AND alias = ?4",
                params![account, region, name, alias],
            )?,
        };
    }
    Ok(())
}

fn delete(transaction: &Transaction<'_>, arn: &FunctionArn) -> Result<(), Error> {
    let FunctionArn { account, region, name } = arn;
    for table in ["function", "version", "alias"] {
        transaction.execute(
            &format!("DELETE FROM {table} WHERE account = ?1 AND region = ?2 AND name = ?3"),
            params![account.as_str(), region, name],
        )?;
    }
    Ok(())
}

/// Parts that are new or others, and, as `None`, those that are gone.
pub(crate) fn changed<'a, K: Ord, V>(
    old: Option<&'a BTreeMap<K, Arc<V>>>,
    new: &'a BTreeMap<K, Arc<V>>,
) -> impl Iterator<Item = (&'a K, Option<&'a Arc<V>>)> {
    let before = move |key: &K| old.and_then(|old| old.get(key));
    let written = new
        .iter()
        .filter(move |(key, part)| before(key).is_none_or(|before| !Arc::ptr_eq(before, part)))
        .map(|(key, part)| (key, Some(part)));
    let gone = old.into_iter().flatten().filter(|(key, _)| !new.contains_key(key));
    written.chain(gone.map(|(key, _)| (key, None)))
}

pub(crate) fn json<T: Serialize>(record: &Arc<T>) -> Result<String, Error> {
    Ok(serde_json::to_string(&**record)?)
}

/// Everything, into memory.
pub(crate) fn load(connection: &Connection) -> Result<BTreeMap<FunctionArn, Arc<Function>>, Error> {
    let mut functions = BTreeMap::new();
    let mut statement =
        connection.prepare("SELECT account, region, name, record, settings FROM function")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(arn) = key(row)? else { continue };
        let what = || arn.to_string();
        let latest = parse(row, 3, what)?;
        functions.insert(arn.clone(), Function::new(latest, parse(row, 4, what)?));
    }
    let mut statement =
        connection.prepare("SELECT account, region, name, number, record FROM version")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(arn) = key(row)? else { continue };
        let number = row.get::<_, i64>(3)?.unsigned_abs();
        let record = parse(row, 4, || arn.qualified(&number.to_string()))?;
        if let Some(function) = functions.get_mut(&arn) {
            function.versions.insert(number, Arc::new(record));
        }
    }
    let mut statement =
        connection.prepare("SELECT account, region, name, alias, record FROM alias")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(arn) = key(row)? else { continue };
        let alias: String = row.get(3)?;
        let record = parse(row, 4, || arn.qualified(&alias))?;
        if let Some(function) = functions.get_mut(&arn) {
            function.aliases.insert(alias, Arc::new(record));
        }
    }
    Ok(functions.into_iter().map(|(arn, function)| (arn, Arc::new(function))).collect())
}

pub(crate) fn parse<T: DeserializeOwned>(
    row: &rusqlite::Row<'_>,
    column: usize,
    what: impl Fn() -> String,
) -> Result<T, Error> {
    let text = row.get_ref(column)?.as_bytes().map_err(rusqlite::Error::from)?;
    serde_json::from_slice(text).map_err(|source| Error::Record { what: what(), source })
}
