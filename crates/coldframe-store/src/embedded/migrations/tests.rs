use std::path::{Path, PathBuf};

use coldframe_core::{AccountId, FunctionArn, LayerArn};

use super::*;
use crate::queue::{Event, Work};
use crate::{State, Store};

fn written_by(layout: &str, directory: &Path) -> PathBuf {
    let path = directory.join("store.sqlite");
    Connection::open(&path).unwrap().execute_batch(layout).unwrap();
    path
}

fn version(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// What a later program finds of the functions that the first release stored.
#[test]
fn a_store_of_the_first_layout_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = written_by(include_str!("layout-1.sql"), directory.path());
    let store = Store::open(Some(&path)).unwrap();
    let of = |account: &str, region: &str, name: &str| {
        let account = AccountId::parse(account).unwrap();
        store.function(&FunctionArn { account, region: region.into(), name: name.into() }).unwrap()
    };
    let hello = of("000000000000", "eu-west-1", "hello");
    assert_eq!(hello.latest.revision_id, "5d1dbf56-4be1-4a4c-96ec-0ce5a1b5ec1b");
    assert_eq!(hello.latest.environment.as_ref().unwrap()["GREETING"], "Hello");
    assert_eq!(hello.settings.tags["team"], "a");
    assert_eq!(of("123456789012", "us-east-1", "pending").latest.state, State::Pending);
    assert_eq!(store.all().len(), 2);
    drop(store);
    assert_eq!(version(&path), i64::try_from(MIGRATIONS.len()).unwrap());
    // And once more, with nothing left to do.
    assert_eq!(Store::open(Some(&path)).unwrap().all().len(), 2);
}

/// All that a store of the last layout with tables of their own holds.
#[test]
fn a_store_of_layout_7_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = written_by(include_str!("layout-7.sql"), directory.path());
    let secret: [u8; 32] = {
        let connection = Connection::open(&path).unwrap();
        let secret = connection.query_row("SELECT value FROM secret", [], |row| row.get(0));
        secret.unwrap()
    };
    let store = Store::open(Some(&path)).unwrap();
    let account = AccountId::default_account();
    let other = AccountId::parse("123456789012").unwrap();
    let arn =
        FunctionArn { account: account.clone(), region: "eu-west-1".into(), name: "hello".into() };
    let hello = store.function(&arn).unwrap();
    assert_eq!(hello.latest.environment.as_ref().unwrap()["GREETING"], "H\u{e4}llo 'x'");
    assert_eq!(hello.settings.tags["team"], "a");
    assert_eq!(hello.versions.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(hello.versions[&1].description, "one");
    assert_eq!(hello.aliases["live"].version, "1");
    assert_eq!(hello.aliases["live"].policy.len(), 1);
    assert_eq!(store.all().len(), 2);
    let layer =
        LayerArn { account: account.clone(), region: "eu-west-1".into(), name: "lib".into() };
    let layer = store.layer(&layer).unwrap();
    assert_eq!((layer.last_version, layer.versions.len()), (2, 1));
    assert_eq!(layer.versions[&1].runtimes.as_deref().unwrap(), ["python3.11"]);
    assert_eq!(store.accounts()[0].0, other);
    assert_eq!(store.accounts()[0].1.name, "team");
    assert_eq!(store.key("AKIAONE").unwrap().secret_key, "one");
    assert_eq!(*store.session_secret(), secret);
    assert!(store.role(&account, "r").unwrap().trust.contains("sts:AssumeRole"));
    assert!(store.policy(&account, "p").unwrap().document.contains("2012-10-17"));
    assert_eq!(store.mappings()[0].1.settings["BatchSize"], 10);
    let queue = store.queue(|_| {}).unwrap();
    let lease = queue.claim(i64::MAX, &mut |_| true).pop().unwrap();
    assert_eq!(lease.attempts(), 1);
    let Event { work, payload, .. } = lease.read().unwrap().unwrap();
    assert_eq!(payload, r#"{"a":1}"#);
    assert!(matches!(work, Work::Invoke { function, .. } if function.name == "hello"));
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = written_by("PRAGMA user_version = 1000000", directory.path());
    let refused = Store::open(Some(&path)).err().unwrap();
    assert!(refused.to_string().contains("layout 1000000"), "{refused}");
    assert_eq!(version(&path), 1_000_000);
    let tables = Connection::open(&path).unwrap();
    let tables: i64 =
        tables.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 0);
}

/// A step that fails leaves what the steps before it made, and is taken again.
#[test]
fn each_step_is_one_transaction() {
    fn fails(transaction: &Transaction<'_>) -> Result<(), Error> {
        transaction.execute_batch("CREATE TABLE second (a); INSERT INTO absent VALUES (1);")?;
        Ok(())
    }
    fn succeeds(transaction: &Transaction<'_>) -> Result<(), Error> {
        transaction.execute_batch("CREATE TABLE second (a);")?;
        Ok(())
    }
    let mut connection = Connection::open_in_memory().unwrap();
    let version = |connection: &Connection| -> i64 {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    };
    run_steps(&mut connection, &[functions, fails]).unwrap_err();
    assert_eq!(version(&connection), 1);
    run_steps(&mut connection, &[functions, succeeds]).unwrap();
    assert_eq!(version(&connection), 2);
}
