use std::collections::BTreeMap;

use coldframe_core::{AccountId, FunctionArn, LayerArn};

use super::*;

/// Runs a test over a file and over memory. What it gets opens what a process finds that starts
/// after another one was killed: nothing is closed before.
pub(crate) fn at_both(test: impl Fn(&dyn Fn() -> Store)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    test(&|| Store::open(Some(&path)).unwrap());
    let backend = Arc::new(Embedded::open(None).unwrap());
    test(&|| Store::over(backend.clone()).unwrap());
}

pub(crate) fn arn(name: &str) -> FunctionArn {
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

pub(crate) fn create(store: &Store, name: &str) {
    try_create(store, name).unwrap();
}

pub(crate) fn try_create(store: &Store, name: &str) -> Result<(), Error> {
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

#[test]
fn changes_are_there_after_opening_again() {
    at_both(|open| {
        let store = open();
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
        let again = open();
        let a = again.function(&arn("a")).unwrap();
        assert_eq!(a.latest.revision_id, "2");
        assert_eq!(a.settings.last_version, 3);
        assert_eq!(a.versions.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(a.versions[&3].policy, ["{}"]);
        assert_eq!(a.aliases.len(), 1);
        assert_eq!(a.aliases["live"].version, "3");
        assert!(again.get(&arn("b")).is_none());
        drop(store);
    });
}

/// A name that is used again doesn't meet what its predecessor left.
#[test]
fn a_deleted_function_takes_its_versions_along() {
    at_both(|open| {
        let store = open();
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
        let again = open();
        assert!(again.function(&arn("a")).unwrap().versions.is_empty());
    });
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

#[test]
fn the_number_of_a_deleted_layer_version_is_kept() {
    at_both(|open| {
        let store = open();
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
        let again = open();
        let versions = &again.layer(&arn).unwrap().versions;
        assert_eq!(versions.keys().copied().collect::<Vec<_>>(), [1]);
        assert_eq!(*versions[&1], layer);
        assert_eq!(publish(&again), 3);
    });
}

/// Whoever deletes what isn't there, however often, leaves nothing.
#[test]
fn a_layer_that_never_had_a_version_is_not_kept() {
    let store = Store::open(None).unwrap();
    let arn = LayerArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: "absent".into(),
    };
    let deleted: Result<(), Error> = store.change_layer(&arn, |layer| {
        layer.versions.remove(&1);
        Ok(())
    });
    deleted.unwrap();
    assert!(store.layer(&arn).is_none() && store.all_layers().is_empty());
}

/// What was decided on is no longer so: the author is told, and what others made stays.
#[test]
fn stores_of_one_backend_see_and_refuse_each_others_changes() {
    let backend = Arc::new(Embedded::open(None).unwrap());
    let one = Store::over(backend.clone()).unwrap();
    let other = Store::over(backend).unwrap();
    assert_eq!(one.session_secret(), other.session_secret());
    create(&one, "a");
    assert!(other.get(&arn("a")).is_some());
    let refused: Result<(), Error> = one.change(&arn("a"), |function| {
        change(&other, "a", |function| {
            Arc::make_mut(&mut function.settings).last_version = 7;
        });
        *function = None;
        Ok(())
    });
    assert!(matches!(refused, Err(Error::Changed { .. })), "{refused:?}");
    for store in [&one, &other] {
        assert_eq!(store.function(&arn("a")).unwrap().settings.last_version, 7);
    }
    // Who tries again has seen it.
    change(&one, "a", |function| {
        Arc::make_mut(&mut function.settings).last_version += 1;
    });
    assert_eq!(other.function(&arn("a")).unwrap().settings.last_version, 8);
}

/// All begin at once, over nothing.
#[test]
fn stores_of_one_new_backend_share_a_secret() {
    let backend = Arc::new(Embedded::open(None).unwrap());
    let secrets: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let open = || *Store::over(backend.clone()).unwrap().session_secret();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
}

/// A change writes what it changed, not the rest.
#[test]
fn a_change_writes_its_parts_only() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<Vec<String>>>);
    impl Watcher for Heard {
        fn hear(&self, told: &Told<'_>) -> Result<(), Error> {
            let Content::Parts(parts) = told.content else { panic!("{told:?}") };
            lock(&self.0).push(parts.iter().map(|part| part.name.clone()).collect());
            Ok(())
        }
    }
    let backend = Arc::new(Embedded::open(None).unwrap());
    let store = Store::over(backend.clone()).unwrap();
    create(&store, "a");
    change(&store, "a", |function| {
        function.versions.insert(1, Arc::new(record("1")));
        function.aliases.insert("old".into(), Arc::default());
    });
    let heard = Arc::new(Heard::default());
    let watcher: Weak<Heard> = Arc::downgrade(&heard);
    backend.watch(watcher).unwrap();
    lock(&heard.0).clear();
    change(&store, "a", |function| {
        Arc::make_mut(&mut function.settings).last_version += 1;
        function.versions.insert(2, Arc::new(record("2")));
        function.aliases.remove("old");
    });
    change(&store, "a", |_| {});
    change(&store, "a", |function| Arc::make_mut(&mut function.latest).memory_mb = 256);
    let heard = lock(&heard.0);
    assert_eq!(*heard, [vec!["settings", "version/2", "alias/old"], vec!["latest"]]);
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
