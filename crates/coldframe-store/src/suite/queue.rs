use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use coldframe_core::RequestId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::Ground;
use crate::queue::{DeadLetter, Event, Lease, Millis, Queue, Signal, Work};
use crate::{Error, FunctionKey, lock};

/// The queue of what a killed process left.
fn open(ground: &dyn Ground) -> Box<dyn Queue> {
    ground.open().queue(Box::new(|signal| assert!(matches!(signal, Signal::Waiting)))).unwrap()
}

/// An invocation of a function of this name.
pub fn event(function: &str, payload: &[u8]) -> Event {
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

/// What tests do with a queue, waiting for it.
pub trait Waited {
    fn add_now(&self, event: Event, now: Millis) -> Result<(), Arc<Error>>;
    fn flush_now(&self);
    fn claim_all(&self, now: Millis) -> Vec<Box<dyn Lease>>;
}

impl Waited for dyn Queue {
    fn add_now(&self, event: Event, now: Millis) -> Result<(), Arc<Error>> {
        let (tell, told) = channel();
        self.add(event, now, Box::new(move |result| tell.send(result).unwrap()));
        told.recv().unwrap()
    }

    fn flush_now(&self) {
        let (tell, told) = channel();
        self.flush(Box::new(move |result| tell.send(result).unwrap()));
        told.recv().unwrap().unwrap();
    }

    fn claim_all(&self, now: Millis) -> Vec<Box<dyn Lease>> {
        self.claim(now, &mut |_| true)
    }
}

pub fn an_event_acknowledged_is_there_as_it_came(ground: &dyn Ground) {
    let first = open(ground);
    let invocation = event("f", "{\"a\":\"\u{1F331}\"}".as_bytes());
    let delivery = Event {
        work: Work::Deliver {
            destination: "arn:aws:sqs:eu-west-1:123456789012:q".into(),
            function: key("f"),
            function_arn: "arn:aws:lambda:eu-west-1:123456789012:function:f:live".into(),
            success: false,
            dead_letter: Some(DeadLetter { error_code: 200, error_message: "no".into() }),
        },
        trace_header: None,
        ..event("f", &[b'1'; 1_000_000])
    };
    first.add_now(invocation.clone(), 5).unwrap();
    first.add_now(delivery.clone(), 6).unwrap();
    let second = open(ground);
    assert_eq!(second.waiting(), 2);
    let leases = second.claim_all(6);
    let read: Vec<Event> = leases.iter().map(|lease| lease.read().unwrap().unwrap()).collect();
    assert_eq!(read, [invocation, delivery]);
    assert_eq!((leases[0].enqueued(), leases[0].attempts()), (5, 0));
    assert_eq!(&**leases[1].lane(), "arn:aws:sqs:eu-west-1:123456789012:q");
    assert!(second.claim_all(9).is_empty(), "they are held");
}

pub fn what_is_done_is_gone_and_what_follows_is_there(ground: &dyn Ground) {
    let first = open(ground);
    first.add_now(event("f", b"1"), 0).unwrap();
    let next = event("g", b"2");
    let lease = first.claim_all(0).pop().unwrap();
    lease.finish(vec![next.clone()], 7).unwrap();
    first.flush_now();
    for queue in [open(ground), first] {
        assert!(queue.claim_all(6).is_empty());
        let leases = queue.claim_all(7);
        assert_eq!(leases.len(), 1);
        assert_eq!(leases[0].read().unwrap(), Some(next.clone()));
    }
}

pub fn delays_are_counted_and_kept_and_others_are_not(ground: &dyn Ground) {
    let first = open(ground);
    first.add_now(event("f", b"1"), 0).unwrap();
    first.claim_all(0).pop().unwrap().delay(100, 1);
    assert!(first.claim_all(99).is_empty());
    assert_eq!(first.next_due(0), Some(100));
    first.claim_all(100).pop().unwrap().put_back(300);
    assert!(first.claim_all(299).is_empty());
    let lease = first.claim_all(300).pop().unwrap();
    assert_eq!((lease.attempts(), lease.put_backs()), (1, 1));
    drop(lease);
    assert_eq!(first.claim_all(300).len(), 1, "dropped, it waits again");
    first.flush_now();
    let second = open(ground);
    assert!(second.claim_all(99).is_empty());
    let lease = second.claim_all(100).pop().unwrap();
    assert_eq!((lease.attempts(), lease.put_backs()), (1, 0));
}

pub fn a_forgotten_lane_is_empty_and_a_later_event_of_it_is_not_forgotten(ground: &dyn Ground) {
    let first = open(ground);
    for name in ["f", "f", "f", "g"] {
        first.add_now(event(name, b"1"), 0).unwrap();
    }
    let lane = event("f", b"").lane();
    let mut places = 1;
    let held = first.claim(0, &mut |name| {
        places -= 1;
        **name == *lane && places >= 0
    });
    let [held] = <[_; 1]>::try_from(held).ok().unwrap();
    first.forget(&lane);
    let later = event("f", b"later");
    first.add_now(later.clone(), 1).unwrap();
    assert_eq!(held.read().unwrap(), None);
    drop(held);
    let found = |queue: &dyn Queue| -> Vec<Event> {
        let leases = queue.claim(1, &mut |name| **name == *lane);
        leases.iter().filter_map(|lease| lease.read().unwrap()).collect()
    };
    assert_eq!(found(&*first), std::slice::from_ref(&later));
    let second = open(ground);
    assert_eq!(found(&*second), [later]);
    assert_eq!(second.waiting(), 2, "other lanes' events stay");
}

pub fn lanes_take_turns(ground: &dyn Ground) {
    let queue = open(ground);
    for time in 0..5 {
        queue.add_now(event("busy", b"1"), time).unwrap();
    }
    queue.add_now(event("new", b"1"), 5).unwrap();
    let mut places = 3;
    let leases = queue.claim(9, &mut |_| {
        places -= 1;
        places >= 0
    });
    let lanes: Vec<&str> =
        leases.iter().map(|lease| lease.lane().rsplit(':').next().unwrap()).collect();
    assert_eq!(lanes, ["busy", "new", "busy"]);
}

pub fn whoever_waits_is_told_of_what_comes(ground: &dyn Ground) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let listener = move |signal: Signal<'_>| match signal {
        // Who no longer listens hears nothing.
        Signal::Waiting => drop(lock(&tell).send(())),
        Signal::Trouble(error) => panic!("{error}"),
    };
    let queue = ground.open().queue(Box::new(listener)).unwrap();
    queue.add_now(event("f", b"1"), 0).unwrap();
    told.recv().unwrap();
    let lease = queue.claim_all(0).pop().unwrap();
    while told.try_recv().is_ok() {}
    lease.put_back(1);
    told.recv().unwrap();
    let lease = queue.claim_all(1).pop().unwrap();
    while told.try_recv().is_ok() {}
    lease.finish(vec![event("g", b"2")], 2).unwrap();
    told.recv().unwrap();
    assert_eq!(queue.waiting(), 1);
}

pub fn many_add_at_the_same_time(ground: &dyn Ground) {
    let queue = open(ground);
    let mut sent: Vec<RequestId> = std::thread::scope(|scope| {
        let adds = |thread: i64| {
            let queue = &queue;
            move || -> Vec<RequestId> {
                let add = |number| {
                    let event = event(&format!("f{}", number % 3), b"1");
                    queue.add_now(event.clone(), thread).unwrap();
                    event.request_id
                };
                (0..50).map(add).collect()
            }
        };
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(adds(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let again = open(ground);
    let leases = again.claim_all(9);
    let mut found: Vec<RequestId> =
        leases.iter().map(|lease| lease.read().unwrap().unwrap().request_id).collect();
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
}

pub fn a_dropped_queue_has_written_all_and_its_leases_do_no_harm(ground: &dyn Ground) {
    let queue = open(ground);
    for payload in [b"1", b"2", b"3"] {
        queue.add_now(event("f", payload), 0).unwrap();
    }
    let mut leases = queue.claim_all(0);
    leases.pop().unwrap().delay(50, 2);
    let (late, held) = (leases.pop().unwrap(), leases.pop().unwrap());
    held.finish(Vec::new(), 0).unwrap();
    drop(queue);
    late.finish(Vec::new(), 0).unwrap();
    let again = open(ground);
    assert_eq!(again.claim_all(49).len(), 1, "what was finished too late");
    assert_eq!(again.claim_all(50).pop().unwrap().attempts(), 2);
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

/// Random changes and restarts, beside a map of what must be there.
pub fn events_are_kept_as_a_map_would(ground: &dyn Ground) {
    let step = prop_oneof![
        4 => (0..3u8).prop_map(Step::Add),
        2 => Just(Step::Finish),
        2 => (0..50i64).prop_map(Step::Delay),
        1 => Just(Step::PutBack),
        1 => Just(Step::Drop),
        1 => (0..3u8).prop_map(Step::Forget),
        1 => Just(Step::Reopen),
    ];
    let steps = proptest::collection::vec(step, 1..40);
    let mut runner = TestRunner::new(Config::with_cases(40));
    runner.run(&steps, |steps| events_as_a_map(ground, steps)).unwrap();
}

fn events_as_a_map(ground: &dyn Ground, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut queue = open(ground);
    // What the case before left.
    for lease in queue.claim_all(Millis::MAX) {
        lease.finish(Vec::new(), 0).unwrap();
    }
    let mut model: BTreeMap<RequestId, (u8, Millis, u32)> = BTreeMap::new();
    let mut now = 0;
    for step in steps {
        now += 10;
        let first = |queue: &dyn Queue| {
            let mut one = Some(());
            queue.claim(now, &mut |_| one.take().is_some()).pop()
        };
        match step {
            Step::Add(lane) => {
                let event = event(&lane.to_string(), b"1");
                model.insert(event.request_id, (lane, now, 0));
                queue.add_now(event, now).unwrap();
            }
            Step::Forget(lane) => {
                queue.forget(&event(&lane.to_string(), b"").lane());
                model.retain(|_, (of, ..)| *of != lane);
            }
            Step::Reopen => {
                queue.flush_now();
                drop(queue);
                queue = open(ground);
            }
            taken => {
                let Some(lease) = first(&*queue) else {
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
        prop_assert_eq!(queue.waiting(), model.len());
    }
    Ok(())
}
