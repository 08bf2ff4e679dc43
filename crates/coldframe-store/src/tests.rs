use coldframe_core::AccountId;

use super::*;

fn arn(name: &str) -> FunctionArn {
    FunctionArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: name.into(),
    }
}

fn record(revision: &str) -> FunctionRecord {
    FunctionRecord {
        runtime: Some("python3.11".into()),
        handler: Some("app.handler".into()),
        role: "arn:aws:iam::000000000000:role/r".into(),
        description: String::new(),
        memory_mb: 128,
        timeout_s: 3,
        ephemeral_storage_mb: 512,
        environment: None,
        architectures: vec!["x86_64".into()],
        tracing: "PassThrough".into(),
        logging: Logging {
            format: "Text".into(),
            application_level: None,
            system_level: None,
            group: "/aws/lambda/f".into(),
        },
        code_sha256: "00".into(),
        code_size: 1,
        package_type: "Zip".into(),
        last_modified: "2026-01-01T00:00:00.000+0000".into(),
        revision_id: revision.into(),
        generation: "g".into(),
        state: State::Active,
        update: None,
        tags: BTreeMap::new(),
        echoed: BTreeMap::new(),
    }
}

#[test]
fn changes_are_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let store = Store::open(Some(&path)).unwrap();
    store.create(&arn("a"), record("1")).unwrap();
    store.create(&arn("b"), record("1")).unwrap();
    store.replace(&arn("a"), "1", record("2")).unwrap();
    store.delete(&arn("b")).unwrap();
    // Not closed: a killed service closes nothing.
    let again = Store::open(Some(&path)).unwrap();
    assert_eq!(again.get(&arn("a")).unwrap().revision_id, "2");
    assert!(again.get(&arn("b")).is_none());
    drop(store);
}

#[test]
fn conflicts_change_nothing() {
    let store = Store::open(None).unwrap();
    store.create(&arn("a"), record("1")).unwrap();
    assert!(matches!(store.create(&arn("a"), record("9")), Err(Error::Exists)));
    assert!(matches!(store.replace(&arn("a"), "0", record("9")), Err(Error::Changed)));
    assert!(matches!(store.replace(&arn("x"), "0", record("9")), Err(Error::Absent)));
    assert!(matches!(store.delete(&arn("x")), Err(Error::Absent)));
    assert_eq!(store.get(&arn("a")).unwrap().revision_id, "1");
}

#[test]
fn lists_begin_behind_a_name_and_keep_to_their_account() {
    let store = Store::open(None).unwrap();
    for name in ["a", "b", "c"] {
        store.create(&arn(name), record("1")).unwrap();
        let other = FunctionArn { account: AccountId::parse("123456789012").unwrap(), ..arn(name) };
        store.create(&other, record("1")).unwrap();
    }
    let names = |after: &str, count| -> Vec<String> {
        store.list(&arn(after), count).into_iter().map(|(arn, _)| arn.name.to_string()).collect()
    };
    assert_eq!(names("", 2), ["a", "b"]);
    assert_eq!(names("b", 9), ["c"]);
    assert!(names("c", 9).is_empty());
}
