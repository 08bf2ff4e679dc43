//! The layout of the file, as the ordered steps that made it.
//!
//! A file's `user_version` says how many steps it has behind it; opening it takes the others, each
//! in one transaction. A step is never changed once it is released: what it made lies on disks.
//! New tables and changes of old ones are new steps at the end.

use rusqlite::{Connection, Transaction};

use crate::Error;

/// One step, from the layout before it to the next.
type Migration = fn(&Transaction<'_>) -> Result<(), Error>;

/// All steps, in order. Their number is the layout's version.
const MIGRATIONS: &[Migration] =
    &[functions, versions, layers, queue, keys, roles, mappings, documents];

/// Brings the file up to this program's layout.
///
/// # Errors
/// [`Error::Newer`] if a later program wrote the file: it isn't touched then.
pub(crate) fn run(connection: &mut Connection) -> Result<(), Error> {
    run_steps(connection, MIGRATIONS)
}

fn run_steps(connection: &mut Connection, steps: &[Migration]) -> Result<(), Error> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let newer = || Error::Newer { found: version, known: steps.len() };
    let done = usize::try_from(version).map_err(|_| newer())?;
    let missing = steps.get(done..).ok_or_else(newer)?;
    for (step, number) in missing.iter().zip(version + 1..) {
        let transaction = connection.transaction()?;
        step(&transaction)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}

/// 1: the functions.
fn functions(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE function (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            record  TEXT NOT NULL,
            PRIMARY KEY (account, region, name)
        ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

/// 2: versions and aliases; what belongs to all versions of a function lies apart.
fn versions(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE version (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            number  INTEGER NOT NULL,
            record  TEXT NOT NULL,
            PRIMARY KEY (account, region, name, number)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE alias (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            alias   TEXT NOT NULL,
            record  TEXT NOT NULL,
            PRIMARY KEY (account, region, name, alias)
        ) STRICT, WITHOUT ROWID;
        ALTER TABLE function ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
        UPDATE function SET
            settings = json_object('tags', json_extract(record, '$.tags')),
            record = json_remove(record, '$.tags');",
    )?;
    Ok(())
}

/// 3: layer versions; of a deleted one the number stays.
fn layers(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE layer (
            account TEXT NOT NULL,
            region  TEXT NOT NULL,
            name    TEXT NOT NULL,
            number  INTEGER NOT NULL,
            record  TEXT,
            PRIMARY KEY (account, region, name, number)
        ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

/// 4: the queue.
fn queue(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE event (
            id          INTEGER PRIMARY KEY,
            lane        TEXT NOT NULL,
            due_ms      INTEGER NOT NULL,
            enqueued_ms INTEGER NOT NULL,
            attempts    INTEGER NOT NULL,
            checksum    INTEGER NOT NULL,
            head        TEXT NOT NULL,
            payload     BLOB NOT NULL
        ) STRICT;
        -- Holds all that a start needs, so that it reads no payload.
        CREATE INDEX event_waiting ON event (lane, due_ms, enqueued_ms, attempts);",
    )?;
    Ok(())
}

/// 5: accounts and keys.
fn keys(transaction: &Transaction<'_>) -> Result<(), Error> {
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
    Ok(())
}

/// 6: roles and policies.
fn roles(transaction: &Transaction<'_>) -> Result<(), Error> {
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

/// 7: event source mappings.
fn mappings(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(
        "CREATE TABLE event_source_mapping (
            id     TEXT NOT NULL PRIMARY KEY,
            record TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;",
    )?;
    Ok(())
}

/// 8: everything but the queue is a document, as every back end keeps it.
fn documents(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute_batch(include_str!("migrations/documents.sql"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
