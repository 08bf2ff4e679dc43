//! Pollers between made-up streams and made-up functions.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coldframe_core::observe::Metric;
use coldframe_core::source::{EventSources, Mapping, Position, Processed, Source, Start};
use coldframe_store::Store;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use super::super::tests::{serve, until};
use super::*;
use crate::tests::{Act, Fixture, arn, fixture_with, options};

/// A Kinesis of one stream, and DynamoDB's of the same records. Sequence numbers begin with 1 in
/// each shard.
#[derive(Default)]
struct Kinesis {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    shards: Vec<Listed>,
    /// Actions, and of iterators their kinds: how often each was asked for.
    asked: HashMap<String, usize>,
    /// Requests of these kinds are answered so, as often.
    instead: HashMap<&'static str, (usize, u16, &'static str)>,
    /// Nothing is answered.
    hangs: bool,
    /// Records of one answer at most; 0: all there are.
    page: usize,
    /// Bodies that an SQS at the same place was sent.
    sent: Vec<Value>,
}

#[derive(Clone, Default)]
struct Listed {
    id: &'static str,
    parent: Option<&'static str>,
    is_closed: bool,
    /// Key, data, and when it came, milliseconds since 1970.
    records: Vec<(&'static str, String, Millis)>,
}

fn shard(id: &'static str) -> Listed {
    Listed { id, ..Listed::default() }
}

impl Kinesis {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut lock(&self.state));
        self.changed.notify_waiters();
        changed
    }

    fn put(&self, id: &str, key: &'static str, data: impl ToString) {
        self.put_of(id, key, data, now());
    }

    fn put_of(&self, id: &str, key: &'static str, data: impl ToString, arrived: Millis) {
        self.change(|state| {
            let shard = state.shards.iter_mut().find(|shard| shard.id == id).unwrap();
            shard.records.push((key, data.to_string(), arrived));
        });
    }

    async fn wait_until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        until(what, &self.changed, &self.state, condition).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap();
        let (_, action) = target.split_once('.').unwrap();
        let kind = asked["ShardIteratorType"].as_str().unwrap_or(action).to_owned();
        let instead = self.change(|state| {
            *state.asked.entry(kind).or_default() += 1;
            let instead = state.instead.get_mut(action).filter(|(left, ..)| *left > 0)?;
            instead.0 -= 1;
            Some((instead.1, instead.2))
        });
        if lock(&self.state).hangs {
            std::future::pending::<()>().await;
        }
        let (status, body) = instead.map_or_else(
            || (200, self.said(action, &asked)),
            |(status, body)| (status, body.into()),
        );
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }

    fn said(&self, action: &str, asked: &Value) -> String {
        let text = |name: &str| asked[name].as_str().unwrap().to_owned();
        let state = &mut *lock(&self.state);
        let find = |state: &State, id: &str| {
            state.shards.iter().find(|shard| shard.id == id).cloned().unwrap()
        };
        let said = match action {
            "DescribeStreamSummary" => {
                assert_eq!(
                    (text("StreamName").as_str(), text("StreamARN")),
                    ("s", STREAM.to_owned())
                );
                json!({ "StreamDescriptionSummary": { "RetentionPeriodHours": 24 } })
            }
            "ListShards" | "DescribeStream" => {
                let shown = |shard: &Listed| {
                    let ending = shard.is_closed.then_some("9");
                    json!({
                        "ShardId": shard.id, "ParentShardId": shard.parent,
                        "SequenceNumberRange": { "EndingSequenceNumber": ending },
                    })
                };
                let shards: Vec<_> = state.shards.iter().map(shown).collect();
                json!({ "Shards": shards, "StreamDescription": { "Shards": shards } })
            }
            "GetShardIterator" => {
                let id = text("ShardId");
                let shard = find(state, &id);
                let after = match asked["ShardIteratorType"].as_str().unwrap() {
                    "TRIM_HORIZON" => 0,
                    "LATEST" => shard.records.len(),
                    "AFTER_SEQUENCE_NUMBER" => {
                        let number = &asked["StartingSequenceNumber"];
                        let number = number.as_str().or(asked["SequenceNumber"].as_str());
                        number.unwrap().parse().unwrap()
                    }
                    "AT_TIMESTAMP" => {
                        let since = (asked["Timestamp"].as_f64().unwrap() * 1000.0) as Millis;
                        shard.records.iter().filter(|(.., arrived)| *arrived < since).count()
                    }
                    other => panic!("{other}"),
                };
                json!({ "ShardIterator": format!("{id}/{after}") })
            }
            "GetRecords" => {
                let iterator = text("ShardIterator");
                let (id, after) = iterator.split_once('/').unwrap();
                let (shard, after): (_, usize) = (find(state, id), after.parse().unwrap());
                let shown = |(index, (key, data, arrived)): (usize, &(&str, String, Millis))| {
                    json!({
                        "SequenceNumber": (index + 1).to_string(), "PartitionKey": key,
                        "Data": STANDARD.encode(data),
                        "ApproximateArrivalTimestamp": *arrived as f64 / 1000.0,
                        "eventName": data,
                        "dynamodb": {
                            "SequenceNumber": (index + 1).to_string(), "Keys": key,
                            "ApproximateCreationDateTime": *arrived / 1000,
                        },
                    })
                };
                *state.asked.entry(id.to_owned()).or_default() += 1;
                let page = if state.page == 0 { usize::MAX } else { state.page };
                let all = shard.records.iter().enumerate().skip(after).take(page);
                let end = shard.records.len().min(after.saturating_add(page));
                let is_behind = end < shard.records.len();
                json!({
                    "Records": all.map(shown).collect::<Vec<_>>(),
                    "NextShardIterator":
                        (is_behind || !shard.is_closed).then(|| format!("{id}/{end}")),
                    "MillisBehindLatest": if is_behind { 1000 } else { 0 },
                })
            }
            "SendMessage" => {
                state.sent.push(serde_json::from_str(&text("MessageBody")).unwrap());
                self.changed.notify_waiters();
                json!({})
            }
            other => panic!("{other}"),
        };
        said.to_string()
    }
}

const STREAM: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/s";
const ID: Uuid = Uuid::from_u128(1);

/// With a function `f` that does so, and a stream of one shard `a`.
async fn fixture(acts: &[Act]) -> (Fixture, Arc<Kinesis>) {
    let kinesis = Arc::<Kinesis>::default();
    kinesis.change(|state| state.shards.push(shard("a")));
    (fixture_of(&kinesis, acts, 1e-3).await, kinesis)
}

async fn fixture_of(kinesis: &Arc<Kinesis>, acts: &[Act], time_scale: f64) -> Fixture {
    let served = kinesis.clone();
    let answer = move |request| {
        let kinesis = served.clone();
        async move { kinesis.answer(request).await }
    };
    let url = serve(answer).await;
    let mut options = options(10, time_scale);
    options.endpoints.kinesis = Some(url.parse().unwrap());
    options.endpoints.dynamodb_streams = Some(url.parse().unwrap());
    options.endpoints.sqs = Some(url.parse().unwrap());
    let fixture = fixture_with(Store::open(None).unwrap(), options);
    fixture.fake.function("f", acts, |_| {});
    fixture.start();
    fixture
}

fn reading() -> Reading {
    Reading {
        start: Start::TrimHorizon,
        lanes: 1,
        retries_max: None,
        age_max: None,
        bisects: false,
        on_failure: None,
        tumbling: None,
    }
}

fn mapping(reading: Reading) -> Mapping {
    Mapping {
        id: ID,
        source: Source::Stream { stream: StreamArn::parse(STREAM).unwrap(), reading },
        function: arn("f"),
        qualifier: None,
        batch_size: 100,
        window: Duration::ZERO,
        reports_failures: false,
        filters: Vec::new(),
    }
}

/// The data of each batch that the function got.
fn seen(fixture: &Fixture) -> Vec<Vec<String>> {
    let data = |record: &Value| {
        let data = STANDARD.decode(record["kinesis"]["data"].as_str().unwrap()).unwrap();
        String::from_utf8(data).unwrap()
    };
    let batches = fixture.fake.seen_by("f").into_iter().map(|(_, payload)| {
        let event: Value = serde_json::from_str(&payload).unwrap();
        event["Records"].as_array().unwrap().iter().map(data).collect()
    });
    batches.collect()
}

async fn kept_until(fixture: &Fixture, shard: &str, position: Position) {
    fixture.progress.wait_until(shard, &position).await;
}

fn after(number: usize) -> Position {
    Position::After(number.to_string())
}

#[tokio::test]
async fn records_come_in_order_and_the_checkpoint_follows() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    assert_eq!(fixture.events.check_stream(&StreamArn::parse(STREAM).unwrap()).await, Ok(()));
    for number in 0..25 {
        kinesis.put("a", "k", number);
    }
    fixture.events.start_polling(Mapping { batch_size: 10, ..mapping(reading()) });
    kept_until(&fixture, "a", after(25)).await;
    let all: Vec<String> = (0..25).map(|number: i32| number.to_string()).collect();
    assert_eq!(seen(&fixture), [&all[..10], &all[10..20], &all[20..]]);
    let noted = lock(&fixture.progress.now).clone();
    // The first look, and one a batch.
    assert_eq!((noted.processed, noted.writes), (Some(Processed::Done), 4));
    assert_eq!(fixture.measures.of("f", Metric::IteratorAge).len(), 3);
    fixture.events.drained().await;
}

#[tokio::test]
async fn the_next_poller_goes_on_at_the_checkpoint() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    for number in 1..=5 {
        kinesis.put("a", "k", number);
    }
    lock(&fixture.progress.now).positions.insert("a".to_owned(), after(3));
    let latest = Reading { start: Start::Latest, ..reading() };
    fixture.events.start_polling(mapping(latest));
    kept_until(&fixture, "a", after(5)).await;
    assert_eq!(seen(&fixture), [["4", "5"]]);
}

// Spec: service-api.md §7.3, "Failure blocks the shard".
#[tokio::test]
async fn a_batch_that_fails_is_tried_until_it_succeeds_and_nothing_overtakes_it() {
    let acts = [Act::Fail, Act::Throttle, Act::Break, Act::Fail, Act::Succeed];
    let (fixture, kinesis) = fixture(&acts).await;
    kinesis.put("a", "k", "first");
    // Refusals don't count: of two retries one is left.
    let twice = Reading { retries_max: Some(2), ..reading() };
    fixture.events.start_polling(mapping(twice));
    fixture.fake.wait_for("f", 1).await;
    kinesis.put("a", "k", "second");
    kept_until(&fixture, "a", after(2)).await;
    let seen = seen(&fixture);
    assert_eq!(seen[..5], [["first"]; 5].map(|one| one.map(str::to_owned).to_vec()));
    assert_eq!(seen[5..], [["second"]]);
}

#[tokio::test]
async fn what_fails_too_often_is_told_of_and_passed_over() {
    let (fixture, kinesis) = fixture(&[Act::Fail, Act::Fail, Act::Succeed]).await;
    kinesis.put("a", "k", "poison");
    let once = Reading {
        retries_max: Some(1),
        on_failure: Some("arn:aws:sqs:eu-west-1:123456789012:q".to_owned()),
        ..reading()
    };
    fixture.events.start_polling(mapping(once));
    fixture.fake.wait_for("f", 2).await;
    kinesis.put("a", "k", "next");
    kept_until(&fixture, "a", after(2)).await;
    kinesis.wait_until("it is told", |state| state.sent.len() == 1).await;
    let told = lock(&kinesis.state).sent[0].clone();
    assert_eq!(told["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(told["requestContext"]["approximateInvokeCount"], 2);
    let last = fixture.fake.seen_by("f")[1].0.to_string();
    assert_eq!(told["requestContext"]["requestId"], last);
    assert_eq!(told["KinesisBatchInfo"]["endSequenceNumber"], "1");
    fixture.events.drained().await;
}

#[tokio::test]
async fn what_is_too_old_is_given_up_without_an_attempt() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    // Ten minutes, scaled, are 600 ms; and no stream keeps what is two days old.
    let day = 24 * 3600 * 1000;
    kinesis.put_of("a", "k", "gone", now() - 2 * day);
    kinesis.put_of("a", "k", "old", now() - 60_000);
    let aged = Reading { age_max: Some(Duration::from_secs(20_000)), ..reading() };
    kinesis.put_of("a", "k", "young", now() + 60_000);
    fixture.events.start_polling(mapping(aged));
    kept_until(&fixture, "a", after(3)).await;
    assert_eq!(seen(&fixture), [["young"]]);
}

/// A clock of ours that is ahead, or times that a source makes up, lose nothing.
#[tokio::test]
async fn what_could_be_read_is_tried_once_however_old_it_seems() {
    let (fixture, kinesis) = fixture(&[Act::Fail, Act::Succeed]).await;
    let two_days = 2 * 24 * 3600 * 1000;
    kinesis.put_of("a", "k", "fails", now() - two_days);
    fixture.events.start_polling(mapping(reading()));
    kept_until(&fixture, "a", after(1)).await;
    kinesis.put_of("a", "k", "of 1969", -1);
    kept_until(&fixture, "a", after(2)).await;
    assert_eq!(seen(&fixture), [["fails"], ["of 1969"]]);
    fixture.events.stop_polling(ID).await;
    // The last call of a window, too.
    kinesis.put_of("a", "k", "one", now() - two_days);
    kinesis.put_of("a", "k", "next window", now());
    let tumbling = Reading { tumbling: Some(Duration::from_secs(900)), ..reading() };
    fixture.events.start_polling(mapping(tumbling));
    fixture.fake.wait_for("f", 5).await;
    assert_eq!(seen(&fixture)[2..], [vec!["one"], vec![], vec!["next window"]]);
}

#[tokio::test]
async fn halving_finds_the_one_that_fails() {
    // All four; the first two; the last two; of these the first, the second.
    let acts = [Act::Fail, Act::Succeed, Act::Fail, Act::Succeed, Act::Fail, Act::Succeed];
    let (fixture, kinesis) = fixture(&acts).await;
    for number in 1..=4 {
        kinesis.put("a", "k", number);
    }
    let halving = Reading { retries_max: Some(0), bisects: true, ..reading() };
    fixture.events.start_polling(mapping(halving));
    kept_until(&fixture, "a", after(4)).await;
    let expected: [&[&str]; 5] = [&["1", "2", "3", "4"], &["1", "2"], &["3", "4"], &["3"], &["4"]];
    assert_eq!(seen(&fixture), expected);
}

/// An object in S3 is named by it: halves of a batch have its last answer in common.
#[tokio::test]
async fn no_two_records_of_failure_have_the_same_name() {
    let (fixture, _) = fixture(&[Act::Succeed]).await;
    let shared = fixture.events.shared.clone();
    let world = shared.sources.world.get().unwrap().clone();
    let polled = Polled { shared, world, mapping: mapping(reading()), filters: Vec::new() };
    let stream = StreamArn::parse(STREAM).unwrap();
    let last = failure::Last {
        request_id: Uuid::nil().into(),
        version: "$LATEST".into(),
        function_error: true,
    };
    let told = |number| {
        let given_up = failure::GivenUp {
            shard: "a",
            records: &[record::tests::record(number, 0)],
            condition: failure::Condition::RecordAgeExceeded,
            invokes: 1,
            last: Some(&last),
        };
        given_up.telling(&polled, &stream, "arn:aws:s3:::b")
    };
    let (first, second) = (told(1), told(2));
    assert_ne!(first.request_id, second.request_id);
    for one in [first, second] {
        let told: Value = serde_json::from_slice(&one.payload).unwrap();
        assert_eq!(told["requestContext"]["requestId"], Uuid::nil().to_string());
    }
}

#[tokio::test]
async fn what_passes_no_filter_is_passed_over() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    for data in [r#"{"a":1}"#, r#"{"a":2}"#, "text"] {
        kinesis.put("a", "k", data);
    }
    let filters = vec![r#"{"data":{"a":[2]}}"#.to_owned()];
    fixture.events.start_polling(Mapping { filters, ..mapping(reading()) });
    kept_until(&fixture, "a", after(3)).await;
    assert_eq!(seen(&fixture), [[r#"{"a":2}"#]]);
    // Though there is nothing to run.
    kinesis.put("a", "k", "text");
    kept_until(&fixture, "a", after(4)).await;
}

// Spec: service-api.md §7.3, "New child shards".
#[tokio::test]
async fn children_are_read_when_their_parent_is_done() {
    let (fixture, kinesis) = fixture(&[Act::Hang, Act::Succeed]).await;
    kinesis.put("a", "k", "parent");
    fixture.events.start_polling(mapping(reading()));
    fixture.fake.wait_for("f", 1).await;
    kinesis.change(|state| {
        state.shards[0].is_closed = true;
        for id in ["b", "c"] {
            state.shards.push(Listed { parent: Some("a"), ..shard(id) });
        }
    });
    kinesis.put("b", "k", "child b");
    kinesis.put("c", "k", "child c");
    let reads = lock(&kinesis.state).asked["GetRecords"];
    kinesis.wait_until("the end was read", |state| state.asked["GetRecords"] > reads).await;
    assert_eq!(seen(&fixture), [["parent"]]);
    fixture.fake.gate.send_replace(true);
    kept_until(&fixture, "b", after(1)).await;
    kept_until(&fixture, "c", after(1)).await;
    assert_eq!(lock(&fixture.progress.now).positions["a"], Position::End);
    let mut children = seen(&fixture).split_off(1);
    children.sort();
    assert_eq!(children, [["child b"], ["child c"]]);
}

#[tokio::test]
async fn children_wait_though_they_are_listed_from_the_beginning() {
    let (fixture, kinesis) = fixture(&[Act::Hang, Act::Succeed]).await;
    kinesis.change(|state| {
        state.shards[0].is_closed = true;
        state.shards.push(Listed { parent: Some("a"), ..shard("b") });
    });
    kinesis.put("a", "k", "parent");
    kinesis.put("b", "k", "child");
    fixture.events.start_polling(mapping(reading()));
    fixture.fake.wait_for("f", 1).await;
    assert_eq!(lock(&kinesis.state).asked["TRIM_HORIZON"], 1);
    fixture.fake.gate.send_replace(true);
    kept_until(&fixture, "b", after(1)).await;
    assert_eq!(seen(&fixture), [["parent"], ["child"]]);
}

#[tokio::test]
async fn many_shards_share_their_writes() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let ids = ["b", "c", "d", "e", "f", "g", "h", "i", "j"];
    kinesis.change(|state| state.shards.extend(ids.map(shard)));
    fixture.events.start_polling(mapping(reading()));
    kept_until(&fixture, "a", Position::Begin).await;
    fixture.progress.hold(true);
    for id in ids {
        kinesis.put(id, "k", id);
    }
    fixture.fake.wait_for("f", ids.len()).await;
    fixture.progress.hold(false);
    for id in ids {
        kept_until(&fixture, id, after(1)).await;
    }
    // All who wanted to write have.
    fixture.events.drained().await;
    // The first look; one that was under way; the rest, and who came late for it.
    let writes = lock(&fixture.progress.now).writes;
    assert!(writes <= 5, "{writes}");
}

#[tokio::test]
async fn it_begins_where_it_is_told() {
    for (start, expected) in [
        (Start::TrimHorizon, &["before", "after"][..]),
        (Start::Latest, &["after"][..]),
        (Start::At(now() - 10_000), &["after"][..]),
        (Start::At(now() - 30_000), &["before", "after"][..]),
    ] {
        let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
        kinesis.put_of("a", "k", "before", now() - 20_000);
        fixture.events.start_polling(mapping(Reading { start, ..reading() }));
        kinesis.put("a", "k", "after");
        kept_until(&fixture, "a", after(2)).await;
        assert_eq!(seen(&fixture).concat(), expected, "{start:?}");
    }
}

#[tokio::test]
async fn lanes_run_side_by_side_and_the_checkpoint_waits_for_the_slower() {
    let (fixture, kinesis) = fixture(&[Act::Hang, Act::Succeed]).await;
    // These keys are of different lanes.
    let keys = ["k0", "k1", "k2", "k3"];
    let other = keys.iter().find(|key| record::hash(key) % 2 != record::hash(keys[0]) % 2).unwrap();
    kinesis.put("a", keys[0], "slow");
    fixture.events.start_polling(mapping(Reading { lanes: 2, ..reading() }));
    fixture.fake.wait_for("f", 1).await;
    kinesis.put("a", keys[0], "behind");
    kinesis.put("a", other, "fast");
    fixture.fake.wait_for("f", 2).await;
    assert_eq!(seen(&fixture), [["slow"], ["fast"]]);
    assert_eq!(lock(&fixture.progress.now).positions["a"], Position::Begin);
    fixture.fake.gate.send_replace(true);
    kept_until(&fixture, "a", after(3)).await;
    assert_eq!(seen(&fixture)[2..], [["behind"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lanes_that_end_at_the_same_time_take_no_checkpoint_back() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    // One key of each lane.
    let keys: [&str; 4] = std::array::from_fn(|lane| {
        let of_lane = |key: &String| record::hash(key) % 4 == lane as u64;
        let key = (0..).map(|number| format!("k{number}")).find(of_lane);
        key.unwrap().leak() as &str
    });
    for number in 0..4000 {
        kinesis.put("a", keys[number % keys.len()], number);
    }
    let reading = Reading { lanes: 4, ..reading() };
    fixture.events.start_polling(Mapping { batch_size: 1, ..mapping(reading) });
    kept_until(&fixture, "a", after(4000)).await;
    assert!(!lock(&fixture.progress.now).went_back);
}

#[tokio::test]
async fn a_batch_waits_for_its_window_unless_it_is_full() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let window = Duration::from_secs(20);
    fixture.events.start_polling(Mapping { batch_size: 2, window, ..mapping(reading()) });
    kinesis.put("a", "k", 1);
    kinesis.wait_until("another read", |state| state.asked.get("GetRecords") == Some(&2)).await;
    assert!(seen(&fixture).is_empty());
    kinesis.put("a", "k", 2);
    kept_until(&fixture, "a", after(2)).await;
    assert_eq!(seen(&fixture), [["1", "2"]]);
}

#[tokio::test]
async fn a_stream_that_misbehaves_is_asked_again() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let expired = r#"{"__type":"ExpiredIteratorException"}"#;
    let troubles: [(&str, u16, &str); 10] = [
        ("GetRecords", 400, expired),
        ("GetRecords", 400, r#"{"__type":"ProvisionedThroughputExceededException"}"#),
        ("GetRecords", 500, "{}"),
        ("GetRecords", 200, "no json"),
        // Not the end of the shard.
        ("GetRecords", 200, "{}"),
        ("GetRecords", 200, r#"{"Records":[{"SequenceNumber":"../x","PartitionKey":"k"}]}"#),
        ("GetRecords", 400, r#"{"__type":"ResourceNotFoundException"}"#),
        ("ListShards", 200, r#"{"Shards":[],"NextToken":"again"}"#),
        ("ListShards", 200, r#"{"Shards":[{"ShardId":"a/../b"}]}"#),
        ("DescribeStreamSummary", 200, "[]"),
    ];
    for (number, (action, status, body)) in troubles.into_iter().enumerate() {
        let times = if body.contains("NextToken") { 201 } else { 2 };
        kinesis.change(|state| state.instead.insert(action, (times, status, body)));
        kinesis.put("a", "k", number);
        fixture.events.start_polling(mapping(reading()));
        kinesis.wait_until(body, |state| state.instead[action].0 == 0).await;
        kept_until(&fixture, "a", after(number + 1)).await;
        fixture.events.stop_polling(ID).await;
    }
    let expected: Vec<[String; 1]> = (0..troubles.len()).map(|one| [one.to_string()]).collect();
    assert_eq!(seen(&fixture), expected);
}

#[tokio::test]
async fn a_stream_that_hangs_holds_nothing_up() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    fixture.events.start_polling(mapping(reading()));
    let read = |state: &State| state.asked.contains_key("GetRecords");
    kinesis.wait_until("a read", read).await;
    let reads = kinesis.change(|state| {
        state.hangs = true;
        state.asked["GetRecords"]
    });
    kinesis.wait_until("another", |state| state.asked["GetRecords"] > reads).await;
    let since = Instant::now();
    fixture.events.stop_polling(ID).await;
    fixture.events.start_polling(mapping(reading()));
    let looks = |state: &State| state.asked["DescribeStreamSummary"] == 2;
    kinesis.wait_until("a look", looks).await;
    fixture.events.drained().await;
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_batch_that_waits_to_be_retried_ends_with_the_poller() {
    let (fixture, kinesis) = fixture(&[Act::Fail]).await;
    kinesis.put("a", "k", 1);
    fixture.events.start_polling(mapping(reading()));
    fixture.fake.wait_for("f", 3).await;
    fixture.events.stop_polling(ID).await;
    let tried = fixture.fake.seen_by("f").len();
    assert_eq!(lock(&fixture.progress.now).positions["a"], Position::Begin);
    assert_eq!(lock(&fixture.progress.now).processed, Some(Processed::Failed));
    fixture.fake.function("f", &[Act::Succeed], |_| {});
    fixture.events.start_polling(mapping(reading()));
    kept_until(&fixture, "a", after(1)).await;
    assert_eq!(fixture.fake.seen_by("f").len(), tried + 1);
}

/// It would overwrite what the next poller keeps.
#[tokio::test]
async fn no_write_of_a_checkpoint_outlives_its_poller() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    kinesis.put("a", "k", 1);
    fixture.progress.hold(true);
    fixture.events.start_polling(mapping(reading()));
    fixture.progress.wait_for_write().await;
    let mut stopped = fixture.events.stop_polling(ID);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stopped).await;
    fixture.progress.hold(false);
    assert!(early.is_err(), "it has ended while it writes");
    stopped.await;
    assert_eq!(lock(&fixture.progress.now).writes, 1);
}

// Spec: service-api.md §7.3, "Tumbling windows".
#[tokio::test]
async fn a_window_is_added_up_and_closed_before_the_checkpoint_moves() {
    let (fixture, kinesis) = fixture(&[Act::Fail, Act::Succeed]).await;
    let minute = 60_000;
    let begin = (now() / minute - 1) * minute;
    kinesis.put_of("a", "k", "one", begin + 1000);
    kinesis.put_of("a", "k", "two", begin + 2000);
    kinesis.put_of("a", "k", "next window", begin + 10 * minute);
    let tumbling = Reading { tumbling: Some(Duration::from_secs(60)), lanes: 2, ..reading() };
    fixture.events.start_polling(mapping(tumbling));
    fixture.fake.wait_for("f", 4).await;
    kept_until(&fixture, "a", after(2)).await;
    let events: Vec<Value> = fixture
        .fake
        .seen_by("f")
        .iter()
        .map(|(_, text)| serde_json::from_str(text).unwrap())
        .collect();
    let sizes: Vec<_> =
        events.iter().map(|event| event["Records"].as_array().unwrap().len()).collect();
    // Failed, and again; the last of the first window; the next one's.
    assert_eq!(sizes, [2, 2, 0, 1]);
    let finals: Vec<_> =
        events.iter().map(|event| event["isFinalInvokeForWindow"] == true).collect();
    assert_eq!(finals, [false, false, true, false]);
    assert_eq!(events[0]["window"], events[2]["window"]);
    assert_ne!(events[0]["window"], events[3]["window"]);
    assert_eq!(events[0]["shardId"], "a");
    // The window that is open is read again, also that what is done of it.
    fixture.events.stop_polling(ID).await;
    assert_eq!(lock(&fixture.progress.now).positions["a"], after(2));
    // The end of a shard closes it.
    kinesis.change(|state| state.shards[0].is_closed = true);
    let tumbling = Reading { tumbling: Some(Duration::from_secs(60)), ..reading() };
    fixture.events.start_polling(mapping(tumbling));
    kept_until(&fixture, "a", Position::End).await;
    let last: Value = serde_json::from_str(&fixture.fake.seen_by("f").pop().unwrap().1).unwrap();
    assert_eq!(last["isFinalInvokeForWindow"], true);
    assert_eq!(fixture.fake.seen_by("f").len(), 6);
}

#[tokio::test]
async fn a_window_closes_when_its_time_is_over() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    kinesis.put("a", "k", "one");
    let tumbling = Reading { tumbling: Some(Duration::from_secs(1)), ..reading() };
    fixture.events.start_polling(mapping(tumbling));
    kept_until(&fixture, "a", after(1)).await;
    assert_eq!(seen(&fixture), [vec!["one"], vec![]]);
}

/// There are no moments in DynamoDB: what came before the mapping is told by the records' times.
#[tokio::test]
async fn the_latest_of_a_table_is_not_lost_between_two_pollers() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    kinesis.put_of("a", "k", "before", now() - 10_000);
    let mapping = table(Start::Latest);
    fixture.events.start_polling(mapping.clone());
    let read = |state: &State| state.asked.contains_key("GetRecords");
    kinesis.wait_until("a read", read).await;
    let asked = |kind: &str| lock(&kinesis.state).asked.get(kind).copied();
    assert_eq!((asked("LATEST"), asked("TRIM_HORIZON")), (Some(1), None));
    fixture.events.stop_polling(ID).await;
    kinesis.put("a", "k", "between");
    fixture.events.start_polling(mapping);
    kept_until(&fixture, "a", after(2)).await;
    assert_eq!((asked("LATEST"), asked("TRIM_HORIZON")), (Some(1), Some(1)));
    assert_eq!(names(&fixture), [["between"]]);
}

#[tokio::test]
async fn the_latest_of_a_table_outlives_its_iterator() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    fixture.events.start_polling(table(Start::Latest));
    let read = |state: &State| state.asked.contains_key("GetRecords");
    kinesis.wait_until("a read", read).await;
    let expired = (1, 400, r#"{"__type":"ExpiredIteratorException"}"#);
    kinesis.change(|state| state.instead.insert("GetRecords", expired));
    kinesis.put("a", "k", "meanwhile");
    kept_until(&fixture, "a", after(1)).await;
    assert_eq!(names(&fixture), [["meanwhile"]]);
}

#[tokio::test]
async fn what_came_before_the_latest_of_a_table_is_passed_over_on_every_page() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    for name in ["one", "two", "three"] {
        kinesis.put_of("a", "k", name, now() - 10_000);
    }
    kinesis.put("a", "k", "after");
    kinesis.change(|state| state.page = 1);
    // By the poller before.
    let begun = Position::Since(now() - 5000);
    lock(&fixture.progress.now).positions.insert("a".to_owned(), begun);
    fixture.events.start_polling(table(Start::Latest));
    kept_until(&fixture, "a", after(4)).await;
    assert_eq!(names(&fixture), [["after"]]);
}

/// Pages of DynamoDB end where they like, and don't say whether there is more.
#[tokio::test]
async fn a_window_of_a_table_is_open_until_all_that_came_was_read() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let minute = 60_000;
    let begin = (now() / minute - 1) * minute;
    kinesis.put_of("a", "k", "one", begin + 1000);
    kinesis.put_of("a", "k", "two", begin + 2000);
    kinesis.change(|state| state.page = 1);
    let Mapping { source: Source::Stream { stream, reading }, .. } = table(Start::TrimHorizon)
    else {
        panic!("it is a table's")
    };
    let reading = Reading { tumbling: Some(Duration::from_secs(60)), ..reading };
    let source = Source::Stream { stream, reading };
    fixture.events.start_polling(Mapping { source, ..table(Start::TrimHorizon) });
    kept_until(&fixture, "a", after(2)).await;
    assert_eq!(names(&fixture), [vec!["one"], vec!["two"], vec![]]);
}

#[tokio::test]
async fn the_latest_of_a_table_is_not_lost_when_its_first_read_fails() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    kinesis.put_of("a", "k", "before", now() - 10_000);
    kinesis.change(|state| state.instead.insert("GetRecords", (1, 500, "{}")));
    fixture.events.start_polling(table(Start::Latest));
    kinesis.wait_until("it failed", |state| state.instead["GetRecords"].0 == 0).await;
    kinesis.put("a", "k", "meanwhile");
    kept_until(&fixture, "a", after(2)).await;
    assert_eq!(names(&fixture), [["meanwhile"]]);
}

/// The `eventName`s of each batch of a table.
fn names(fixture: &Fixture) -> Vec<Vec<String>> {
    let batches = fixture.fake.seen_by("f").into_iter().map(|(_, payload)| {
        let event: Value = serde_json::from_str(&payload).unwrap();
        let records = event["Records"].as_array().unwrap();
        records.iter().map(|record| record["eventName"].as_str().unwrap().to_owned()).collect()
    });
    batches.collect()
}

fn table(start: Start) -> Mapping {
    let table = "arn:aws:dynamodb:eu-west-1:123456789012:table/t/stream/2026";
    let stream = StreamArn::parse(table).unwrap();
    let source = Source::Stream { stream, reading: Reading { start, ..reading() } };
    Mapping { source, ..mapping(reading()) }
}

#[tokio::test]
async fn a_shard_that_is_listed_twice_is_read_once() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    kinesis.change(|state| state.shards.push(shard("a")));
    kinesis.put("a", "k", "one");
    fixture.events.start_polling(mapping(reading()));
    let twice = |state: &State| state.asked.get("GetRecords") == Some(&2);
    kinesis.wait_until("two reads", twice).await;
    fixture.events.stop_polling(ID).await;
    assert_eq!(lock(&kinesis.state).asked["TRIM_HORIZON"], 1);
    assert_eq!(seen(&fixture), [["one"]]);
}

#[tokio::test]
async fn a_stream_that_says_it_keeps_nothing_is_not_believed() {
    let (fixture, kinesis) = fixture(&[Act::Fail, Act::Succeed]).await;
    let nothing = r#"{"StreamDescriptionSummary":{"RetentionPeriodHours":0}}"#;
    kinesis.change(|state| state.instead.insert("DescribeStreamSummary", (100, 200, nothing)));
    kinesis.put_of("a", "k", "old", now() - 60_000);
    fixture.events.start_polling(mapping(reading()));
    kept_until(&fixture, "a", after(1)).await;
    assert_eq!(seen(&fixture), [["old"], ["old"]]);
}

#[tokio::test]
async fn a_list_of_too_many_shards_is_not_believed() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let shards: Vec<_> = (0..=100_000).map(|one| json!({ "ShardId": one.to_string() })).collect();
    let listed = json!({ "Shards": shards }).to_string().leak();
    kinesis.change(|state| state.instead.insert("ListShards", (1, 200, listed)));
    kinesis.put("a", "k", "one");
    fixture.events.start_polling(mapping(reading()));
    kept_until(&fixture, "a", after(1)).await;
    assert_eq!(lock(&fixture.progress.now).positions.len(), 1);
}

/// A stream that was there again is read by all who left it, after one wait for all.
#[tokio::test]
async fn readers_whose_stream_was_gone_come_back_together() {
    let kinesis = Arc::<Kinesis>::default();
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let gone = (ids.len(), 400, r#"{"__type":"ResourceNotFoundException"}"#);
    kinesis.change(|state| {
        state.shards.extend(ids.map(shard));
        state.instead.insert("GetRecords", gone);
    });
    // Were each waited for, it would take 40 s.
    let fixture = fixture_of(&kinesis, &[Act::Succeed], 0.2).await;
    for id in ids {
        kinesis.put(id, "k", id);
    }
    let since = Instant::now();
    fixture.events.start_polling(mapping(reading()));
    for id in ids {
        kept_until(&fixture, id, after(1)).await;
    }
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
}

/// Else all of them would be remembered, for as long as the stream keeps its records.
#[tokio::test]
async fn not_too_many_records_are_read_behind_one_that_isnt_done() {
    let (fixture, kinesis) = fixture(&[Act::Hang, Act::Succeed]).await;
    kinesis.change(|state| {
        state.shards.push(shard("b"));
        state.page = 10_000;
    });
    kinesis.put("a", "k", r#"{"a":1}"#);
    for _ in 1..20_001 {
        kinesis.put("a", "k", "passed over");
    }
    let filters = vec![r#"{"data":{"a":[1]}}"#.to_owned()];
    fixture.events.start_polling(Mapping { filters, ..mapping(reading()) });
    fixture.fake.wait_for("f", 1).await;
    let much = |state: &State| state.asked.get("a") >= Some(&2);
    kinesis.wait_until("much was read", much).await;
    // Of which there is nothing to read: it is asked once a second, the other one more often.
    let reads = lock(&kinesis.state).asked["b"];
    kinesis.wait_until("other reads", |state| state.asked["b"] >= reads + 3).await;
    assert_eq!(lock(&kinesis.state).asked["a"], 2);
    fixture.fake.gate.send_replace(true);
    kept_until(&fixture, "a", after(20_001)).await;
}

// Spec: service-api.md §7.3, "Poll Kinesis 1×/s".
#[tokio::test]
async fn an_empty_shard_is_read_once_a_second() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    let since = Instant::now();
    fixture.events.start_polling(mapping(reading()));
    let thrice = |state: &State| state.asked.get("GetRecords") == Some(&3);
    kinesis.wait_until("three reads", thrice).await;
    assert!(since.elapsed() >= Duration::from_millis(1990), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_disk_that_fails_holds_up_nothing_and_gets_all_later() {
    let (fixture, kinesis) = fixture(&[Act::Succeed]).await;
    lock(&fixture.progress.now).refuse = 3;
    for number in 0..4 {
        kinesis.put("a", "k", number);
    }
    fixture.events.start_polling(Mapping { batch_size: 1, ..mapping(reading()) });
    kept_until(&fixture, "a", after(4)).await;
    assert_eq!(seen(&fixture), [["0"], ["1"], ["2"], ["3"]]);
}
