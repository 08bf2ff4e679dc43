use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::Store;

/// A store in a directory of its own, its queue, and what the queue told.
struct Fixture {
    queue: Queue,
    path: PathBuf,
    troubles: Arc<Mutex<Vec<String>>>,
}

fn open(path: &Path) -> Fixture {
    let troubles: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = troubles.clone();
    let store = Store::open(Some(path)).unwrap();
    let queue = store.queue(move |signal| {
        if let Signal::Trouble(error) = signal {
            told.lock().unwrap().push(chain(error));
        }
    });
    Fixture { queue: queue.unwrap(), path: path.to_owned(), troubles }
}

fn chain(error: &Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {source}")
}

fn event(function: &str, payload: &[u8]) -> Event {
    Event {
        request_id: Uuid::new_v4().into(),
        trace_header: Some("Root=1".into()),
        work: Work::Invoke {
            function: key(function),
            qualifier: Some("live".into()),
            tenant_id: None,
        },
        payload: payload.to_vec().into(),
    }
}

fn key(name: &str) -> FunctionKey {
    FunctionKey {
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        name: name.to_owned(),
    }
}

impl Queue {
    fn add_now(&self, event: Event, now: Millis) -> Result<(), Arc<Error>> {
        let (tell, told) = channel();
        self.add(event, now, move |result| tell.send(result).unwrap());
        told.recv().unwrap()
    }

    fn flush_now(&self) {
        let (tell, told) = channel();
        self.flush(move |result| tell.send(result).unwrap());
        told.recv().unwrap().unwrap();
    }

    fn claim_all(&self, now: Millis) -> Vec<Lease> {
        self.claim(now, |_| true)
    }
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    (directory, path)
}

#[test]
fn an_event_acknowledged_is_there_as_it_came() {
    let (_directory, path) = directory();
    let first = open(&path);
    let sent = event("f", b"{\"a\":1}");
    first.queue.add_now(sent.clone(), 5).unwrap();
    // Not closed: a killed service closes nothing.
    let second = open(&path);
    let leases = second.queue.claim_all(5);
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].read().unwrap(), Some(sent));
    assert_eq!((leases[0].enqueued(), leases[0].attempts()), (5, 0));
    assert!(second.queue.claim_all(9).is_empty(), "it is held");
}

#[test]
fn what_is_done_is_gone_and_what_follows_is_there() {
    let (_directory, path) = directory();
    let first = open(&path);
    first.queue.add_now(event("f", b"1"), 0).unwrap();
    let next = event("g", b"2");
    let lease = first.queue.claim_all(0).pop().unwrap();
    lease.finish(vec![next.clone()], 7).unwrap();
    first.queue.flush_now();
    for fixture in [open(&path), first] {
        let leases = fixture.queue.claim_all(7);
        assert_eq!(leases.len(), 1);
        assert_eq!(leases[0].read().unwrap(), Some(next.clone()));
    }
}

#[test]
fn delays_are_counted_and_kept_and_others_are_not() {
    let (_directory, path) = directory();
    let first = open(&path);
    first.queue.add_now(event("f", b"1"), 0).unwrap();
    first.queue.claim_all(0).pop().unwrap().delay(100, 1);
    assert!(first.queue.claim_all(99).is_empty());
    assert_eq!(first.queue.next_due(0), Some(100));
    first.queue.claim_all(100).pop().unwrap().put_back(300);
    assert!(first.queue.claim_all(299).is_empty());
    let lease = first.queue.claim_all(300).pop().unwrap();
    assert_eq!((lease.attempts(), lease.put_backs()), (1, 1));
    drop(lease);
    assert_eq!(first.queue.claim_all(300).len(), 1, "dropped, it waits again");
    first.queue.flush_now();
    let second = open(&path);
    assert!(second.queue.claim_all(99).is_empty());
    let lease = second.queue.claim_all(100).pop().unwrap();
    assert_eq!((lease.attempts(), lease.put_backs()), (1, 0));
}

#[test]
fn a_forgotten_lane_is_empty_and_a_later_event_of_it_is_not_forgotten() {
    let (_directory, path) = directory();
    let first = open(&path);
    for name in ["f", "f", "f", "g"] {
        first.queue.add_now(event(name, b"1"), 0).unwrap();
    }
    let lane = event("f", b"").lane();
    let mut held = None;
    first.queue.claim(0, |name| **name == *lane && held.replace(()).is_none());
    let held = first.queue.claim(0, |name| **name == *lane).pop().unwrap();
    first.queue.forget(&lane);
    let later = event("f", b"later");
    first.queue.add_now(later.clone(), 1).unwrap();
    assert_eq!(held.read().unwrap(), None);
    drop(held);
    let found = |fixture: &Fixture| -> Vec<Event> {
        let leases = fixture.queue.claim(1, |name| **name == *lane);
        leases.iter().filter_map(|lease| lease.read().unwrap()).collect()
    };
    assert_eq!(found(&first), std::slice::from_ref(&later));
    assert_eq!(found(&open(&path)), [later]);
}

#[test]
fn lanes_take_turns() {
    let (_directory, path) = directory();
    let fixture = open(&path);
    for time in 0..5 {
        fixture.queue.add_now(event("busy", b"1"), time).unwrap();
    }
    fixture.queue.add_now(event("new", b"1"), 5).unwrap();
    let mut places = 3;
    let leases = fixture.queue.claim(9, |_| {
        places -= 1;
        places >= 0
    });
    let lanes: Vec<&str> =
        leases.iter().map(|lease| lease.lane().rsplit(':').next().unwrap()).collect();
    assert_eq!(lanes, ["busy", "new", "busy"]);
}

/// Room on the disk ends: nobody is told that an event was kept which wasn't, what was promised
/// stays, and what is done is written once there is room again.
#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let (_directory, path) = directory();
    let store = Store::open(Some(&path)).unwrap();
    let troubles: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = troubles.clone();
    let queue = store.queue(move |signal| {
        if let Signal::Trouble(error) = signal {
            told.lock().unwrap().push(chain(error));
        }
    });
    let queue = queue.unwrap();
    let limit = |pages: i64| {
        let connection = store.writer.lock().unwrap();
        connection.pragma_update(None, "max_page_count", pages).unwrap();
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
    let lease = queue.claim(0, |_| true).swap_remove(0);
    let mut found: Vec<RequestId> = vec![lease.read().unwrap().unwrap().request_id];
    lease.finish(vec![event("g", &[b'2'; 80_000])], 0).unwrap();
    queue.flush_now();
    assert!(troubles.lock().unwrap()[0].contains("full"));
    limit(1000);
    drop(queue);
    drop(store);
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
    let Fixture { queue, path, .. } = fixture;
    drop(queue);
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
    let store = Store::open(Some(&path)).unwrap();
    let error = store.queue(|_| {}).err().expect("names are no text any more");
    assert!(matches!(error, Error::Sqlite(_) | Error::Damaged(_)), "{error}");
    // The catalogue lies on other pages.
    assert!(store.all().is_empty());
}

#[test]
fn a_closed_queue_refuses() {
    let store = Store::open(None).unwrap();
    let queue = store.queue(|_| {}).unwrap();
    queue.add_now(event("f", b"1"), 0).unwrap();
    let lease = queue.claim_all(0).pop().unwrap();
    assert_eq!(lease.read().unwrap().unwrap().payload, "1");
    drop(queue);
    lease.finish(Vec::new(), 0).unwrap();
    drop(store);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Finish,
    Delay(i64),
    PutBack,
    Drop,
    Forget(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3u8).prop_map(Step::Add),
        2 => Just(Step::Finish),
        2 => (0..50i64).prop_map(Step::Delay),
        1 => Just(Step::PutBack),
        1 => Just(Step::Drop),
        1 => (0..3u8).prop_map(Step::Forget),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Random changes and restarts, beside a map of what must be there.
    #[test]
    fn it_keeps_what_a_map_would(steps in steps()) {
        let (_directory, path) = directory();
        let mut fixture = open(&path);
        let mut model: BTreeMap<RequestId, (u8, Millis, u32)> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            now += 10;
            let first = |fixture: &Fixture| {
                let mut one = Some(());
                fixture.queue.claim(now, |_| one.take().is_some()).pop()
            };
            match step {
                Step::Add(lane) => {
                    let event = event(&lane.to_string(), b"1");
                    model.insert(event.request_id, (lane, now, 0));
                    fixture.queue.add_now(event, now).unwrap();
                }
                Step::Forget(lane) => {
                    fixture.queue.forget(&event(&lane.to_string(), b"").lane());
                    model.retain(|_, (of, ..)| *of != lane);
                }
                Step::Reopen => {
                    fixture.queue.flush_now();
                    drop(fixture);
                    fixture = open(&path);
                }
                taken => {
                    let Some(lease) = first(&fixture) else {
                        prop_assert!(model.values().all(|(_, due, _)| *due > now));
                        continue;
                    };
                    let id = lease.read().unwrap().unwrap().request_id;
                    let (_, due, attempts) = model.get_mut(&id).unwrap();
                    prop_assert!(*due <= now);
                    prop_assert_eq!(lease.attempts(), *attempts);
                    match taken {
                        Step::Finish => {
                            lease.finish(Vec::new(), now).unwrap();
                            model.remove(&id);
                        }
                        Step::Delay(by) => {
                            (*due, *attempts) = (now + by, *attempts + 1);
                            lease.delay(*due, *attempts);
                        }
                        // After a crash it would wait no longer, which the model doesn't know.
                        Step::PutBack => lease.put_back(*due),
                        _ => drop(lease),
                    }
                }
            }
            prop_assert_eq!(fixture.queue.waiting(), model.len());
        }
        prop_assert!(fixture.troubles.lock().unwrap().is_empty());
    }
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
        queue.add(event("f", payload.as_bytes()), number, move |kept| tell.send(kept).unwrap());
    }
    assert!((0..150).all(|_| told.recv().unwrap().is_ok()));
    let log = std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len();
    assert!(log < 105_000_000, "{log} bytes of 135,000,000");
    drop(queue);
    assert_eq!(open(&path).queue.waiting(), 150);
}
