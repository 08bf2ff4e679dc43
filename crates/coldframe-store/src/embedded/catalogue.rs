//! Documents in two tables: what there is, and its parts.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::Error;
use crate::backend::{Change, Content, Part, Revision, Told};

/// All documents, one after another.
pub(super) fn read(
    connection: &Connection,
    mut tell: impl FnMut(&Told<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    // Both in the same order: each part belongs to the document that was read last.
    let mut documents =
        connection.prepare("SELECT kind, name, revision FROM document ORDER BY kind, name")?;
    let mut parts =
        connection.prepare("SELECT kind, name, part, text FROM part ORDER BY kind, name")?;
    let (mut documents, mut parts) = (documents.query([])?, parts.query([])?);
    let mut part = parts.next()?;
    while let Some(document) = documents.next()? {
        let (kind, name) = (text(document, 0)?, text(document, 1)?);
        let mut content = Vec::new();
        while let Some(row) = part {
            if (text(row, 0)?, text(row, 1)?) != (kind, name) {
                break;
            }
            content.push(Part { name: row.get(2)?, text: Some(row.get(3)?) });
            part = parts.next()?;
        }
        let revision = document.get::<_, i64>(2)?.unsigned_abs();
        tell(&Told { kind, name, revision, content: &Content::Parts(content) })?;
    }
    match part {
        None => Ok(()),
        Some(row) => Err(Error::Stray { part: row.get(2)?, of: row.get(1)? }),
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str()?)
}

/// One transaction; after `Ok` it is on the disk.
pub(super) fn commit<'a>(
    connection: &mut Connection,
    change: &Change<'a>,
) -> Result<Told<'a>, Error> {
    let Change { kind, name, seen, content } = *change;
    let transaction = connection.transaction()?;
    let found = transaction
        .prepare_cached("SELECT revision FROM document WHERE kind = ?1 AND name = ?2")?
        .query_row([kind, name], |row| row.get::<_, i64>(0))
        .optional()?;
    if found.map(i64::unsigned_abs) != seen {
        return Err(Error::Changed { what: format!("{kind} {name}") });
    }
    let revision: i64 = transaction
        .prepare_cached("UPDATE revision SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    match content {
        Content::Gone => {
            for table in ["part", "document"] {
                transaction.execute(
                    &format!("DELETE FROM {table} WHERE kind = ?1 AND name = ?2"),
                    [kind, name],
                )?;
            }
        }
        Content::Parts(parts) => {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO document VALUES (?1, ?2, ?3)")?
                .execute(params![kind, name, revision])?;
            for Part { name: part, text } in parts {
                match text {
                    Some(text) => transaction
                        .prepare_cached("INSERT OR REPLACE INTO part VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![kind, name, part, text])?,
                    None => transaction.execute(
                        "DELETE FROM part WHERE kind = ?1 AND name = ?2 AND part = ?3",
                        [kind, name, part],
                    )?,
                };
            }
        }
    }
    transaction.commit()?;
    Ok(Told { kind, name, revision: Revision::try_from(revision).unwrap_or_default(), content })
}
