use std::path::PathBuf;

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
        echoed: BTreeMap::new(),
        unzipped_size: 1,
        layers: Vec::new(),
        policy: Vec::new(),
        policy_head: None,
        runtime_update: None,
        provisioned: None,
    }
}

fn create(store: &Store, name: &str) {
    try_create(store, name).unwrap();
}

fn try_create(store: &Store, name: &str) -> Result<(), Error> {
    store.change(&arn(name), |function| {
        *function = Some(Function::new(record("1"), Settings::default()));
        Ok(())
    })
}

fn change(store: &Store, name: &str, change: impl FnOnce(&mut Function)) {
    let changed: Result<(), Error> = store.change(&arn(name), |function| {
        change(function.as_mut().unwrap());
        Ok(())
    });
    changed.unwrap();
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    (directory, path)
}

#[test]
fn changes_are_there_after_opening_again() {
    let (_directory, path) = place();
    let store = Store::open(Some(&path)).unwrap();
    create(&store, "a");
    create(&store, "b");
    change(&store, "a", |function| {
        Arc::make_mut(&mut function.latest).revision_id = "2".into();
        Arc::make_mut(&mut function.settings).last_version = 3;
        for number in 1..=3 {
            function.versions.insert(number, Arc::new(record(&number.to_string())));
        }
        let alias = AliasRecord { version: "1".into(), ..AliasRecord::default() };
        function.aliases.insert("live".into(), Arc::new(alias.clone()));
        function.aliases.insert("old".into(), Arc::new(alias));
    });
    change(&store, "a", |function| {
        function.versions.remove(&2);
        function.aliases.remove("old");
        Arc::make_mut(function.aliases.get_mut("live").unwrap()).version = "3".into();
        Arc::make_mut(function.versions.get_mut(&3).unwrap()).policy.push("{}".into());
    });
    let deleted: Result<(), Error> = store.change(&arn("b"), |function| {
        *function = None;
        Ok(())
    });
    deleted.unwrap();
    // Not closed: a killed service closes nothing.
    let again = Store::open(Some(&path)).unwrap();
    let a = again.function(&arn("a")).unwrap();
    assert_eq!(a.latest.revision_id, "2");
    assert_eq!(a.settings.last_version, 3);
    assert_eq!(a.versions.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(a.versions[&3].policy, ["{}"]);
    assert_eq!(a.aliases.len(), 1);
    assert_eq!(a.aliases["live"].version, "3");
    assert!(again.get(&arn("b")).is_none());
    drop(store);
}

/// A name that is used again doesn't meet what its predecessor left.
#[test]
fn a_deleted_function_takes_its_versions_along() {
    let (_directory, path) = place();
    let store = Store::open(Some(&path)).unwrap();
    create(&store, "a");
    change(&store, "a", |function| {
        function.versions.insert(1, Arc::new(record("1")));
    });
    let deleted: Result<(), Error> = store.change(&arn("a"), |function| {
        *function = None;
        Ok(())
    });
    deleted.unwrap();
    create(&store, "a");
    let again = Store::open(Some(&path)).unwrap();
    assert!(again.function(&arn("a")).unwrap().versions.is_empty());
}

#[test]
fn what_is_refused_changes_nothing() {
    #[derive(Debug)]
    struct Refused;
    impl From<Error> for Refused {
        fn from(_: Error) -> Self {
            Self
        }
    }
    let store = Store::open(None).unwrap();
    create(&store, "a");
    let refused: Result<(), Refused> = store.change(&arn("a"), |function| {
        *function = None;
        Err(Refused)
    });
    refused.unwrap_err();
    assert_eq!(store.get(&arn("a")).unwrap().revision_id, "1");
}

#[test]
fn lists_begin_behind_a_name_and_keep_to_their_account() {
    let store = Store::open(None).unwrap();
    for name in ["a", "b", "c"] {
        create(&store, name);
        let other = FunctionArn { account: AccountId::parse("123456789012").unwrap(), ..arn(name) };
        let created: Result<(), Error> = store.change(&other, |function| {
            *function = Some(Function::new(record("1"), Settings::default()));
            Ok(())
        });
        created.unwrap();
    }
    let names = |found: Vec<(FunctionArn, Arc<Function>)>| -> Vec<String> {
        found.into_iter().map(|(arn, _)| arn.name.to_string()).collect()
    };
    assert_eq!(names(store.list(&arn(""), 2)), ["a", "b"]);
    assert_eq!(names(store.list(&arn("b"), 9)), ["c"]);
    assert_eq!(names(store.list_from(&arn("b"), 9)), ["b", "c"]);
    assert!(store.list(&arn("c"), 9).is_empty());
}

/// What a function's change was decided on is what it changes, whoever else writes.
#[test]
fn changes_come_one_after_another() {
    let store = Store::open(None).unwrap();
    create(&store, "a");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    change(&store, "a", |function| {
                        Arc::make_mut(&mut function.settings).last_version += 1;
                    });
                }
            });
        }
    });
    assert_eq!(store.function(&arn("a")).unwrap().settings.last_version, 200);
}

/// SQLite's own bound stands for the disk's: it fails in the same place with the same code.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let (_directory, path) = place();
    let store = Store::open(Some(&path)).unwrap();
    create(&store, "first");
    store.writer().pragma_update(None, "max_page_count", 20).unwrap();
    let mut kept = vec!["first".to_owned()];
    let error = loop {
        let name = format!("f{}", kept.len());
        match try_create(&store, &name) {
            Ok(()) => kept.push(name),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full(_)), "{error:?}");
    assert!(kept.len() > 5);
    let names = |store: &Store| store.all().len();
    assert_eq!(names(&store), kept.len(), "what failed is not seen");
    let again = Store::open(Some(&path)).unwrap();
    assert!(kept.iter().all(|name| again.get(&arn(name)).is_some()));
    assert_eq!(names(&again), kept.len());
    // And once there is room, it goes on.
    store.writer().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    create(&store, "afterwards");
}

/// A write that power loss cut: what was acknowledged before it is there.
#[test]
fn a_torn_write_loses_nothing_acknowledged() {
    let (directory, path) = place();
    let store = Store::open(Some(&path)).unwrap();
    create(&store, "kept");
    let log = directory.path().join("store.sqlite-wal");
    let acknowledged = std::fs::metadata(&log).unwrap().len();
    create(&store, "torn");
    let whole = std::fs::read(&log).unwrap();
    let copy = directory.path().join("copy.sqlite");
    for length in [acknowledged + 1, acknowledged + 100, whole.len() as u64 - 1] {
        let length = usize::try_from(length).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        let _ = std::fs::remove_file(directory.path().join("copy.sqlite-shm"));
        // The rest of the sectors that were being written: anything.
        let torn = [&whole[..length], &vec![0xA5; whole.len() - length]].concat();
        std::fs::write(directory.path().join("copy.sqlite-wal"), torn).unwrap();
        let again = Store::open(Some(&copy)).unwrap();
        assert!(again.get(&arn("kept")).is_some());
        assert!(again.get(&arn("torn")).is_none());
        create(&again, "next");
    }
}

/// A page of garbage is refused by name, never read as fewer functions.
#[test]
fn a_corrupt_page_is_told() {
    let (_directory, path) = place();
    {
        let store = Store::open(Some(&path)).unwrap();
        for number in 0..40 {
            create(&store, &format!("f{number}"));
        }
    }
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 10 * 4096, "the log has been written back");
    let mut told = 0;
    for page in 0..whole.len() / 4096 {
        let mut corrupt = whole.clone();
        corrupt[page * 4096..(page + 1) * 4096].fill(0xA5);
        std::fs::write(&path, corrupt).unwrap();
        match Store::open(Some(&path)) {
            // A page that holds nothing.
            Ok(store) => assert_eq!(store.all().len(), 40, "page {page}"),
            Err(Error::Damaged(_) | Error::Sqlite(_) | Error::Record { .. }) => told += 1,
            Err(error) => panic!("page {page}: {error:?}"),
        }
    }
    assert!(told > 10, "{told} pages");
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let (_directory, path) = place();
    std::fs::write(&path, "something else, and of some length, that no program should overwrite")
        .unwrap();
    let refused = Store::open(Some(&path)).err().unwrap();
    assert!(matches!(refused, Error::Damaged(_)), "{refused:?}");
}

#[test]
fn the_number_of_a_deleted_layer_version_is_kept() {
    let (_directory, path) = place();
    let store = Store::open(Some(&path)).unwrap();
    let arn = LayerArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: "l".into(),
    };
    let layer = LayerRecord {
        description: String::new(),
        created: "2026-01-01T00:00:00.000+0000".into(),
        sha256: "00".into(),
        code_size: 1,
        unzipped_size: 1,
        architectures: None,
        runtimes: Some(vec!["python3.11".into()]),
        license: None,
        policy: Vec::new(),
        revision_id: "1".into(),
    };
    let publish = |store: &Store| -> u64 {
        let published: Result<u64, Error> = store.change_layer(&arn, |versions| {
            versions.last_version += 1;
            versions.versions.insert(versions.last_version, Arc::new(layer.clone()));
            Ok(versions.last_version)
        });
        published.unwrap()
    };
    assert_eq!((publish(&store), publish(&store)), (1, 2));
    let deleted: Result<(), Error> = store.change_layer(&arn, |layer| {
        layer.versions.remove(&2);
        Ok(())
    });
    deleted.unwrap();
    let again = Store::open(Some(&path)).unwrap();
    let versions = &again.layer(&arn).unwrap().versions;
    assert_eq!(versions.keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(*versions[&1], layer);
    assert_eq!(publish(&again), 3);
}

/// Reads come from memory: they go on while a change waits for the disk.
#[test]
fn reads_do_not_wait_for_the_disk() {
    let store = Store::open(None).unwrap();
    create(&store, "a");
    let changed: Result<usize, Error> = store.change(&arn("a"), |_| {
        // The writer's lock is held here, as it is while the disk works.
        Ok(store.all().len() + store.list(&arn(""), 9).len())
    });
    assert_eq!(changed.unwrap(), 2);
}
