use super::*;
use crate::tests::at_both;

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
    at_both(|open| {
        let store = open();
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
        for store in [&store, &open()] {
            assert!(store.has_account(&account));
            assert_eq!(*store.accounts()[0].1, record);
            assert_eq!(store.key("AKIAONE").unwrap().secret_key, "one");
            assert!(store.key("AKIATWO").is_none());
            assert_eq!(store.keys().len(), 1);
            assert_eq!(*store.session_secret(), secret);
        }
    });
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
