use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use coldframe_core::RequestId;

use super::*;
use crate::Backend;
use crate::embedded::Embedded;
use crate::queue::Signal;
use crate::suite::{Waited, event};

/// A file in a directory of its own, its queue, and what the queue told.
struct Fixture {
    backend: Embedded,
    queue: Box<dyn Queue>,
    path: PathBuf,
    troubles: Arc<Mutex<Vec<String>>>,
}

fn open(path: &Path) -> Fixture {
    let troubles: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = troubles.clone();
    let backend = Embedded::open(Some(path)).unwrap();
    let queue = backend.queue(Box::new(move |signal| {
        if let Signal::Trouble(error) = signal {
            told.lock().unwrap().push(chain(error));
        }
    }));
    Fixture { queue: queue.unwrap(), backend, path: path.to_owned(), troubles }
}

fn chain(error: &Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    (directory, path)
}

/// Room on the disk ends: nobody is told that an event was kept which wasn't, what was promised
/// stays, and what is done is written once there is room again.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let (_directory, path) = directory();
    let Fixture { backend, queue, troubles, .. } = open(&path);
    let limit = |pages: i64| {
        lock(&backend.writer).pragma_update(None, "max_page_count", pages).unwrap();
    };
    limit(64);
    let mut kept = Vec::new();
    let refused = loop {
        let event = event("f", &[b'1'; 8000]);
        match queue.add_now(event.clone(), 0) {
            Ok(()) => kept.push(event.request_id),
            Err(error) => break error,
        }
    };
    assert!(chain(&refused).contains("full"), "{}", chain(&refused));
    assert!(kept.len() > 10);
    // What is done makes no room for what follows, which is larger.
    let lease = queue.claim_all(0).swap_remove(0);
    let mut found: Vec<RequestId> = vec![lease.read().unwrap().unwrap().request_id];
    lease.finish(vec![event("g", &[b'2'; 80_000])], 0).unwrap();
    queue.flush_now();
    assert!(troubles.lock().unwrap()[0].contains("full"));
    limit(1000);
    drop(queue);
    drop(backend);
    let again = open(&path);
    let leases = again.queue.claim_all(0);
    for lease in &leases {
        let event = lease.read().unwrap().unwrap();
        match event.payload.len() {
            8000 => found.push(event.request_id),
            _ => assert!(lease.lane().ends_with(":g")),
        }
    }
    found.sort();
    kept.sort();
    assert_eq!(found, kept);
    assert_eq!(again.queue.waiting(), 0);
}

/// Overwrites every place of the file where the bytes are.
fn damage(path: &Path, bytes: &[u8], with: u8) {
    let mut file = std::fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..file.len() - bytes.len()).filter(|place| file[*place..].starts_with(bytes)).collect();
    assert!(!places.is_empty());
    for place in places {
        file[place..place + bytes.len()].fill(with);
    }
    std::fs::write(path, file).unwrap();
}

/// Writes all into the main file, so that it is what a reader gets.
fn close(fixture: Fixture) {
    let Fixture { queue, path, backend, .. } = fixture;
    drop((queue, backend));
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_damaged_payload_is_told_and_hurts_no_other() {
    let (_directory, path) = directory();
    let fixture = open(&path);
    fixture.queue.add_now(event("f", &[b'a'; 20_000]), 0).unwrap();
    fixture.queue.add_now(event("f", &[b'b'; 20_000]), 1).unwrap();
    close(fixture);
    damage(&path, &[b'a'; 2000], b'?');
    let again = open(&path);
    let mut leases = again.queue.claim_all(1);
    let error = leases[0].read().unwrap_err();
    assert!(error.to_string().contains("damaged on the disk"), "{error}");
    assert_eq!(leases[1].read().unwrap().unwrap().payload, vec![b'b'; 20_000]);
    leases.remove(0).set_aside();
    drop(leases);
    assert_eq!(again.queue.claim_all(1).len(), 1);
    // It is still there for whoever can repair it.
    assert_eq!(open(&path).queue.waiting(), 2);
}

#[test]
fn a_page_that_is_none_is_told() {
    let (_directory, path) = directory();
    let fixture = open(&path);
    for _ in 0..200 {
        fixture.queue.add_now(event("f", b"1"), 0).unwrap();
    }
    close(fixture);
    let lane = event("f", b"").lane();
    damage(&path, lane.as_bytes(), 0xff);
    let backend = Arc::new(Embedded::open(Some(&path)).unwrap());
    let error = backend.queue(Box::new(|_| {})).err().expect("names are no text any more");
    assert!(matches!(error, Error::Backend(_) | Error::Damaged(_)), "{error}");
    // The catalogue lies on other pages.
    assert!(crate::Store::over(backend).unwrap().all().is_empty());
}

/// Nobody who adds waits for it: so much is far below what the writer itself would settle.
#[test]
fn the_log_is_brought_into_the_store_beside_the_writing() {
    let (_directory, path) = directory();
    let Fixture { queue, .. } = open(&path);
    let payload = format!("\"{}\"", "x".repeat(100_000));
    for number in 0..60 {
        queue.add_now(event("f", payload.as_bytes()), number).unwrap();
    }
    let begin = std::time::Instant::now();
    // The store without its log.
    while std::fs::metadata(&path).unwrap().len() < 4_000_000 {
        assert!(begin.elapsed().as_secs() < 60, "the log stays a log");
        std::thread::yield_now();
    }
    drop(queue);
    assert_eq!(open(&path).queue.waiting(), 60);
}

#[test]
fn a_log_that_is_written_all_the_time_has_an_end() {
    let (_directory, path) = directory();
    let Fixture { queue, .. } = open(&path);
    let payload = format!("\"{}\"", "x".repeat(900_000));
    let (tell, told) = channel();
    for number in 0..150 {
        let tell = tell.clone();
        let done = Box::new(move |kept| tell.send(kept).unwrap());
        queue.add(event("f", payload.as_bytes()), number, done);
    }
    assert!((0..150).all(|_| told.recv().unwrap().is_ok()));
    let log = std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len();
    assert!(log < 105_000_000, "{log} bytes of 135,000,000");
    drop(queue);
    assert_eq!(open(&path).queue.waiting(), 150);
}
