//! Pollers between a made-up queue and made-up functions.

use std::pin::pin;
use std::time::Instant;

use bytes::Bytes;
use coldframe_core::lineage;
use coldframe_core::observe::Metric;
use coldframe_store::Store;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::tests::{Act, Fixture, arn, fixture_with, options};

/// Resolves when what the state of a made-up service is to become has come.
pub(crate) async fn until<S>(
    what: &str,
    changed: &Notify,
    state: &Mutex<S>,
    condition: impl Fn(&S) -> bool,
) {
    let reached = async {
        loop {
            let changed = changed.notified();
            if condition(&lock(state)) {
                return;
            }
            changed.await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    reached.unwrap_or_else(|_| panic!("not within 20 s: {what}"));
}

/// An SQS of one queue, which never makes a message visible again by itself.
#[derive(Default)]
struct Sqs {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Bodies, which are ids and handles too.
    visible: Vec<String>,
    /// Of all.
    trace: Option<String>,
    deleted: Vec<String>,
    given_back: Vec<String>,
    /// Polls that wait.
    waiting: usize,
    receives: usize,
    /// It waits for no message.
    hasty: bool,
    /// Requests of these kinds are refused so often.
    refuse: HashMap<&'static str, usize>,
}

impl Sqs {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.state));
        self.changed.notify_waiters();
        changed
    }

    fn put(&self, bodies: &[&str]) {
        self.change(|state| state.visible.extend(bodies.iter().map(|body| (*body).to_owned())));
    }

    async fn wait_until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        until(what, &self.changed, &self.state, condition).await;
    }

    async fn receive(&self, asked: &Value) -> Value {
        let wait = Duration::from_secs(asked["WaitTimeSeconds"].as_u64().unwrap());
        let end = Instant::now() + wait;
        let count = usize::try_from(asked["MaxNumberOfMessages"].as_u64().unwrap()).unwrap();
        self.change(|state| {
            (state.waiting, state.receives) = (state.waiting + 1, state.receives + 1)
        });
        let bodies = loop {
            let changed = self.changed.notified();
            let taken: Vec<String> = {
                let visible = &mut lock(&self.state).visible;
                let count = count.min(visible.len());
                visible.drain(..count).collect()
            };
            let hasty = lock(&self.state).hasty;
            if hasty
                || !taken.is_empty()
                || tokio::time::timeout_at(end.into(), changed).await.is_err()
            {
                break taken;
            }
        };
        self.change(|state| state.waiting -= 1);
        let trace = lock(&self.state).trace.clone();
        let message = |body: &String| {
            let mut message =
                json!({ "MessageId": body, "ReceiptHandle": body, "Body": body, "MD5OfBody": "" });
            if let Some(trace) = &trace {
                message["Attributes"] = json!({ "AWSTraceHeader": trace });
            }
            message
        };
        json!({ "Messages": bodies.iter().map(message).collect::<Vec<_>>() })
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap();
        assert!(asked["QueueUrl"].as_str().unwrap().ends_with("/123456789012/q"), "{asked}");
        let action = target.strip_prefix("AmazonSQS.").unwrap();
        let refused = self.change(|state| {
            let left = state.refuse.get_mut(action).filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_some()
        });
        if refused {
            let mut refusal = Response::new(Full::new("{}".into()));
            *refusal.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
            return refusal;
        }
        let handles = || {
            let entries = asked["Entries"].as_array().unwrap();
            assert!(entries.len() <= 10, "{asked}");
            let handle = |entry: &Value| entry["ReceiptHandle"].as_str().unwrap().to_owned();
            entries.iter().map(handle).collect::<Vec<_>>()
        };
        let answer = match action {
            "ReceiveMessage" => self.receive(&asked).await,
            "DeleteMessageBatch" => {
                self.change(|state| state.deleted.extend(handles()));
                json!({})
            }
            "ChangeMessageVisibilityBatch" => {
                self.change(|state| state.given_back.extend(handles()));
                json!({})
            }
            "GetQueueAttributes" => json!({ "Attributes": { "VisibilityTimeout": "30" } }),
            other => panic!("{other}"),
        };
        Response::new(Full::new(answer.to_string().into()))
    }
}

/// A server that answers so; its URL.
pub(super) async fn serve<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> String
where
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| async {
                    Ok::<_, std::convert::Infallible>(answer(request).await)
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// With a function `f` that does so.
async fn fixture(acts: &[Act]) -> (Fixture, Arc<Sqs>) {
    let sqs = Arc::<Sqs>::default();
    let mut options = options(10, 1e-3);
    let served = sqs.clone();
    let answer = move |request| {
        let sqs = served.clone();
        async move { sqs.answer(request).await }
    };
    options.endpoints.sqs = Some(serve(answer).await.parse().unwrap());
    let fixture = fixture_with(Store::open(None).unwrap(), options);
    fixture.fake.function("f", acts, |_| {});
    fixture.start();
    (fixture, sqs)
}

const ID: Uuid = Uuid::from_u128(1);

fn queue() -> QueueArn {
    QueueArn::parse("arn:aws:sqs:eu-west-1:123456789012:q").unwrap()
}

fn mapping() -> Mapping {
    Mapping {
        id: ID,
        source: Source::Queue { queue: queue(), concurrency_max: None },
        function: arn("f"),
        qualifier: None,
        batch_size: 10,
        window: Duration::ZERO,
        reports_failures: false,
        filters: Vec::new(),
    }
}

fn bodies(payload: &str) -> Vec<String> {
    let event: Value = serde_json::from_str(payload).unwrap();
    let records = event["Records"].as_array().unwrap();
    records.iter().map(|record| record["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_done_is_deleted() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    assert_eq!(fixture.events.visibility_timeout(&queue()).await, Ok(Duration::from_secs(30)));
    let all: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    sqs.put(&all.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.events.start_polling(mapping());
    sqs.wait_until("all are deleted", |state| state.deleted.len() == 25).await;
    let mut seen: Vec<usize> = Vec::new();
    for (_, payload) in fixture.fake.seen_by("f") {
        seen.push(bodies(&payload).len());
    }
    seen.sort_unstable();
    assert_eq!(seen, [5, 10, 10]);
    fixture.events.drained().await;
}

#[tokio::test]
async fn what_failed_is_left_to_the_queue() {
    let (fixture, sqs) = fixture(&[Act::Fail, Act::Break, Act::Succeed]).await;
    fixture.events.start_polling(mapping());
    for (count, body) in ["fails", "breaks", "succeeds"].into_iter().enumerate() {
        sqs.put(&[body]);
        fixture.fake.wait_for("f", count + 1).await;
    }
    sqs.wait_until("the last is deleted", |state| state.deleted == ["succeeds"]).await;
    assert!(lock(&sqs.state).given_back.is_empty());
}

#[tokio::test]
async fn after_a_throttle_nothing_is_received_for_a_while() {
    let (fixture, sqs) = fixture(&[Act::Throttle, Act::Succeed]).await;
    let one = Mapping { batch_size: 1, ..mapping() };
    let source = Source::Queue { queue: queue(), concurrency_max: Some(1) };
    fixture.events.start_polling(Mapping { source, ..one });
    sqs.put(&["throttled", "next"]);
    fixture.fake.wait_for("f", 1).await;
    let since = Instant::now();
    sqs.wait_until("the next is deleted", |state| state.deleted == ["next"]).await;
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    assert!(lock(&sqs.state).given_back.is_empty());
}

#[tokio::test]
async fn deleting_is_tried_again() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    sqs.change(|state| state.refuse.insert("DeleteMessageBatch", 2));
    sqs.put(&["a"]);
    fixture.events.start_polling(mapping());
    sqs.wait_until("it is deleted", |state| state.deleted == ["a"]).await;
    assert_eq!(fixture.fake.seen_by("f").len(), 1);
}

#[tokio::test]
async fn a_queue_that_fails_is_asked_again() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    sqs.change(|state| state.refuse.insert("ReceiveMessage", 3));
    sqs.put(&["a"]);
    fixture.events.start_polling(mapping());
    sqs.wait_until("it is deleted", |state| state.deleted == ["a"]).await;
}

// Spec: service-api.md §2.14, recursion. AWS's SDKs send the header of a function on.
#[tokio::test]
async fn a_loop_by_way_of_the_queue_ends_unless_it_may_go_on() {
    for may_loop in [false, true] {
        let (fixture, sqs) = fixture(&[Act::Succeed]).await;
        fixture.fake.function("f", &[Act::Succeed], |target| target.may_loop = may_loop);
        sqs.change(|state| state.trace = Some("Root=1-a".to_owned()));
        fixture.events.start_polling(mapping());
        for times in 1..=16 {
            sqs.put(&["again"]);
            fixture.fake.wait_for("f", times).await;
            let trace = fixture.fake.traces().pop().unwrap();
            let hops = lineage::hops(&trace, &arn("f"));
            assert_eq!(usize::try_from(hops).unwrap(), times, "{trace}");
            sqs.wait_until("it is deleted", |state| state.deleted.len() == times).await;
            sqs.change(|state| state.trace = Some(trace));
        }
        sqs.put(&["once more"]);
        if may_loop {
            fixture.fake.wait_for("f", 17).await;
            continue;
        }
        let taken = |state: &State| state.visible.is_empty() && state.receives == 18;
        sqs.wait_until("a poll after it", taken).await;
        let dropped = fixture.measures.of("f", Metric::RecursiveInvocationsDropped);
        assert_eq!(dropped, [1.0]);
        assert_eq!(fixture.fake.seen_by("f").len(), 16);
        assert_eq!(lock(&sqs.state).deleted.len(), 16);
    }
}

#[tokio::test]
async fn a_server_without_long_polls_is_not_asked_all_the_time() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    sqs.change(|state| state.hasty = true);
    let since = Instant::now();
    fixture.events.start_polling(mapping());
    sqs.wait_until("a second poll", |state| state.receives == 2).await;
    assert!(since.elapsed() >= Duration::from_millis(990), "{:?}", since.elapsed());
}

/// A window's batch is handed on though the queue fails in its midst.
#[tokio::test]
async fn a_batch_waits_to_be_full_for_its_window() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    let window = Duration::from_secs(20);
    fixture.events.start_polling(Mapping { batch_size: 3, window, ..mapping() });
    for (receives, body) in ["a", "b", "c"].into_iter().enumerate() {
        let waits = |state: &State| state.receives == receives + 1 && state.waiting == 1;
        sqs.wait_until("a poll waits", waits).await;
        sqs.put(&[body]);
    }
    let seen = fixture.fake.wait_for("f", 1).await;
    assert_eq!(bodies(&seen[0].1), ["a", "b", "c"]);
    sqs.wait_until("a poll waits", |state| state.receives == 4 && state.waiting == 1).await;
    sqs.change(|state| state.refuse.insert("ReceiveMessage", 1));
    sqs.put(&["d"]);
    let seen = fixture.fake.wait_for("f", 2).await;
    assert_eq!(bodies(&seen[1].1), ["d"]);
    sqs.wait_until("all are deleted", |state| state.deleted.len() == 4).await;
}

#[tokio::test]
async fn what_passes_no_filter_is_deleted_unseen() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    sqs.put(&["no", "yes", "no again"]);
    let filters = vec![r#"{"body":["yes"]}"#.to_owned()];
    fixture.events.start_polling(Mapping { filters, ..mapping() });
    sqs.wait_until("all are deleted", |state| state.deleted.len() == 3).await;
    let seen = fixture.fake.seen_by("f");
    assert_eq!(seen.len(), 1);
    assert_eq!(bodies(&seen[0].1), ["yes"]);
}

#[tokio::test]
async fn what_one_invocation_cannot_take_goes_back() {
    let (fixture, sqs) = fixture(&[Act::Succeed]).await;
    let large: Vec<String> = (0..7).map(|number| number.to_string().repeat(1 << 20)).collect();
    sqs.put(&large.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.events.start_polling(mapping());
    // Body, handle and id are as long here: one fits.
    sqs.wait_until("the rest is given back", |state| state.given_back.len() == 6).await;
    sqs.wait_until("the first is deleted", |state| state.deleted.len() == 1).await;
    let state = lock(&sqs.state);
    assert!(state.deleted[0].starts_with('0') && state.given_back[0].starts_with('1'));
}

#[tokio::test]
async fn stopping_waits_for_the_poll_and_what_it_brings() {
    let (fixture, sqs) = fixture(&[Act::Hang, Act::Succeed]).await;
    fixture.events.start_polling(mapping());
    sqs.wait_until("a poll waits", |state| state.waiting == 1).await;
    sqs.put(&["runs"]);
    fixture.fake.wait_for("f", 1).await;
    sqs.wait_until("a poll waits", |state| state.receives == 2 && state.waiting == 1).await;
    let mut stop = pin!(fixture.events.stop_polling(ID));
    let begun = tokio::select! {
        biased;
        () = &mut stop => false,
        () = std::future::ready(()) => true,
    };
    assert!(begun, "a poll waits and a batch runs");
    sqs.put(&["late"]);
    sqs.wait_until("it is deleted", |state| state.deleted == ["late"]).await;
    fixture.fake.gate.send_replace(true);
    stop.await;
    let state = lock(&sqs.state);
    assert_eq!((state.waiting, state.receives), (0, 2));
    assert_eq!(state.deleted, ["late", "runs"]);
}

#[tokio::test]
async fn the_end_of_the_service_waits_for_what_runs_only() {
    let (fixture, sqs) = fixture(&[Act::Hang, Act::Drain]).await;
    fixture.events.start_polling(mapping());
    sqs.put(&["runs"]);
    fixture.fake.wait_for("f", 1).await;
    sqs.put(&["too late"]);
    // The next service has it at once.
    sqs.wait_until("it is given back", |state| state.given_back == ["too late"]).await;
    sqs.wait_until("a poll waits", |state| state.receives == 3 && state.waiting == 1).await;
    fixture.events.stop();
    fixture.fake.gate.send_replace(true);
    let drained = tokio::time::timeout(Duration::from_secs(10), fixture.events.drained()).await;
    drained.expect("the poll of 20 s is cut");
    assert_eq!(lock(&sqs.state).deleted, ["runs"]);
    // And nothing begins any more.
    fixture.events.start_polling(mapping());
    assert!(lock(&fixture.events.shared.sources.pollers).is_empty());
}
