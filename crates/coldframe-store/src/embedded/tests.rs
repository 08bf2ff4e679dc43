use std::path::PathBuf;

use super::*;
use crate::Store;
use crate::suite::Ground;
use crate::tests::{arn, create, try_create};

/// A file in a directory of its own.
struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Ground for File {
    fn open(&self) -> Arc<dyn Backend> {
        Arc::new(Embedded::open(Some(&self.0.path().join("store.sqlite"))).unwrap())
    }
}

/// Nothing of it survives a process: it is opened once.
struct Memory(Arc<Embedded>);

impl Memory {
    fn new() -> Self {
        Self(Arc::new(Embedded::open(None).unwrap()))
    }
}

impl Ground for Memory {
    fn open(&self) -> Arc<dyn Backend> {
        self.0.clone()
    }
}

mod in_a_file {
    crate::backend_suite!(super::File::new());
}

mod in_memory {
    crate::backend_suite!(super::Memory::new());
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    (directory, path)
}

/// SQLite's own bound stands for the disk's: it fails in the same place with the same code.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let (_directory, path) = place();
    let backend = Arc::new(Embedded::open(Some(&path)).unwrap());
    let store = Store::over(backend.clone()).unwrap();
    let limit = |pages: i64| {
        lock(&backend.writer).pragma_update(None, "max_page_count", pages).unwrap();
    };
    create(&store, "first");
    limit(24);
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
    limit(1_000_000);
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
            Err(
                Error::Damaged(_) | Error::Backend(_) | Error::Record { .. } | Error::Stray { .. },
            ) => told += 1,
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
fn only_the_owner_reads_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    // As an earlier version has made it.
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Store::open(Some(&path)).unwrap();
    create(&store, "a");
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}
