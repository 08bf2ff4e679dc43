use std::os::unix::fs::PermissionsExt;

use super::*;

fn key(secret: &str) -> KeyRecord {
    KeyRecord {
        account: "123456789012".into(),
        user: "ann".into(),
        secret_key: secret.into(),
        created: "2026-11-27T00:00:00Z".into(),
    }
}

#[test]
fn accounts_and_keys_are_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = Store::open(Some(&path)).unwrap();
    let account = AccountId::parse("123456789012").unwrap();
    let record = AccountRecord { name: "team".into(), created: "2026-11-27T00:00:00Z".into() };
    assert!(store.create_account(&account, record.clone()).unwrap());
    assert!(!store.create_account(&account, record.clone()).unwrap());
    store.create_key("AKIAONE", key("one")).unwrap();
    store.create_key("AKIATWO", key("two")).unwrap();
    assert!(store.create_key("AKIAONE", key("else")).is_err());
    assert!(store.revoke_key("AKIATWO").unwrap());
    assert!(!store.revoke_key("AKIATWO").unwrap());
    let secret = *store.session_secret();
    // Not closed: a killed service closes nothing.
    let again = Store::open(Some(&path)).unwrap();
    for store in [&store, &again] {
        assert!(store.has_account(&account));
        assert_eq!(*store.accounts()[0].1, record);
        assert_eq!(store.key("AKIAONE").unwrap().secret_key, "one");
        assert!(store.key("AKIATWO").is_none());
        assert_eq!(store.keys().len(), 1);
        assert_eq!(*store.session_secret(), secret);
    }
}

#[test]
fn the_default_account_is_always_there_and_nobodys_to_make() {
    let store = Store::open(None).unwrap();
    let account = AccountId::default_account();
    assert!(store.has_account(&account));
    let record = AccountRecord { name: String::new(), created: String::new() };
    assert!(!store.create_account(&account, record).unwrap());
    assert!(store.accounts().is_empty());
}

#[test]
fn only_the_owner_reads_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    // As an earlier version has made it.
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(Some(&path)).unwrap();
    store.create_key("AKIAONE", key("one")).unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}
