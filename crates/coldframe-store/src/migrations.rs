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
const MIGRATIONS: &[Migration] = &[
    functions,
    versions,
    layers,
    crate::queue::migrate,
    crate::keys::migrate,
    crate::roles::migrate,
    crate::mappings::migrate,
];

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

#[cfg(test)]
mod tests;
