//! The room between a real queue and made-up functions.

use std::collections::HashMap;
use std::sync::Condvar;
use std::time::Duration;

use coldframe_core::asynchronous::{AsyncTarget, NoTarget};
use coldframe_core::invoke::{
    Answer, ConcurrencyPlan, Invocation, ProvisionedState, Refusal, StreamedAnswer,
};
use coldframe_core::observe::Listener;
use coldframe_core::source::{NotNoted, Position, Positions, Processed};
use coldframe_core::{
    AccountId, EnvironmentId, FunctionVersion, LogFormat, MemorySize, RequestId, Runtime, Tracing,
};
use serde_json::Value;
use uuid::Uuid;

use super::*;

/// What a function does with one event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Throttle,
    Break,
    /// The service ends.
    Drain,
    /// Until the gate opens.
    Hang,
}

/// Functions by name: what they do, in order, the last for ever; and how they are configured.
#[derive(Default)]
pub(crate) struct Fake {
    acts: Mutex<HashMap<String, Vec<Act>>>,
    targets: Mutex<HashMap<String, AsyncTarget>>,
    /// Name, request id and payload of each attempt.
    seen: Mutex<Vec<(String, RequestId, String)>>,
    /// Name and tenant of each attempt.
    tenants: Mutex<Vec<(String, Option<String>)>>,
    /// The tracing header of each attempt.
    traces: Mutex<Vec<String>>,
    changed: Notify,
    pub(crate) gate: tokio::sync::watch::Sender<bool>,
}

pub(crate) fn arn(name: &str) -> FunctionArn {
    FunctionArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: name.into(),
    }
}

impl Fake {
    pub(crate) fn function(&self, name: &str, acts: &[Act], change: impl FnOnce(&mut AsyncTarget)) {
        let version = FunctionVersion {
            arn: arn(name),
            version: "$LATEST".into(),
            revision: "r".into(),
            runtime: Runtime::parse("provided.al2023"),
            role: "arn:aws:iam::000000000000:role/any".into(),
            handler: "x".into(),
            memory: MemorySize::from_mb(128),
            timeout: Duration::from_secs(3),
            ephemeral_storage_mb: 512,
            environment: std::collections::BTreeMap::new(),
            code: "/".into(),
            layers: None,
            tracing: Tracing::PassThrough,
            log_format: LogFormat::Text,
            application_log_level: None,
            system_log_level: None,
            tenant_isolation: false,
            log_group: String::new(),
        };
        let mut target = AsyncTarget {
            version: Arc::new(version),
            retries_max: 2,
            // Six hours, scaled down for tests, are two seconds: nothing for a busy machine.
            age_max: Duration::from_secs(21_600 * 1_000),
            on_success: None,
            on_failure: None,
            dead_letter: None,
            switched_off: false,
            may_loop: false,
        };
        change(&mut target);
        lock(&self.targets).insert(name.to_owned(), target);
        lock(&self.acts).insert(name.to_owned(), acts.to_vec());
    }

    /// Headers of all attempts.
    pub(crate) fn traces(&self) -> Vec<String> {
        lock(&self.traces).clone()
    }

    /// Attempts of a function: request ids and payloads.
    pub(crate) fn seen_by(&self, name: &str) -> Vec<(RequestId, String)> {
        let seen = lock(&self.seen);
        let own = seen.iter().filter(|(function, ..)| function == name);
        own.map(|(_, request_id, payload)| (*request_id, payload.clone())).collect()
    }

    pub(crate) async fn wait_for(&self, name: &str, count: usize) -> Vec<(RequestId, String)> {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                let seen = self.seen_by(name);
                if seen.len() >= count {
                    return seen;
                }
                changed.await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        reached.unwrap_or_else(|_| panic!("{name}: {:?}", self.seen_by(name)))
    }
}

impl Functions for Fake {
    fn async_target(
        &self,
        function: &FunctionArn,
        _: Option<&str>,
    ) -> Result<AsyncTarget, NoTarget> {
        lock(&self.targets).get(&*function.name).cloned().ok_or(NoTarget::Gone)
    }
}

impl Invoker for Fake {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Answer, Refusal>> {
        let name = invocation.function.arn.name.to_string();
        let payload = String::from_utf8(invocation.payload.to_vec()).unwrap();
        let act = {
            let mut acts = lock(&self.acts);
            let acts = acts.get_mut(&name).unwrap();
            if acts.len() > 1 { acts.remove(0) } else { acts[0] }
        };
        let tenant_id = invocation.tenant_id.as_deref().map(str::to_owned);
        lock(&self.tenants).push((name.clone(), tenant_id));
        lock(&self.traces).push(invocation.trace_header.unwrap_or_default());
        lock(&self.seen).push((name, invocation.request_id, payload));
        self.changed.notify_waiters();
        let answer = |payload: &'static str, function_error| {
            Ok(Answer {
                payload: payload.into(),
                content_type: None,
                function_error,
                log_tail: None,
            })
        };
        let mut gate = self.gate.subscribe();
        Box::pin(async move {
            match act {
                Act::Succeed => answer("{\"done\":true}", false),
                Act::Fail => answer("{\"errorMessage\":\"no\"}", true),
                Act::Throttle => Err(Refusal::Throttled { reason: "x" }),
                Act::Drain => Err(Refusal::Draining),
                Act::Break => Err(Refusal::Platform("x".to_owned())),
                Act::Hang => {
                    gate.wait_for(|open| *open).await.unwrap();
                    answer("null", false)
                }
            }
        })
    }

    fn invoke_with_response_stream(
        &self,
        _: Invocation,
    ) -> BoxFuture<'_, Result<StreamedAnswer, Refusal>> {
        Box::pin(async { Err(Refusal::Platform("events are not streamed".to_owned())) })
    }

    fn retire(&self, _: &FunctionArn, _: &[&str]) {}

    fn plan(&self, _: &FunctionArn, _: &ConcurrencyPlan) {}

    fn provisioned(&self, _: &str) -> ProvisionedState {
        ProvisionedState::default()
    }

    fn concurrency_limit(&self) -> u32 {
        u32::MAX
    }

    fn runtime_missing(&self, _: &Runtime) -> Option<String> {
        None
    }
}

pub(crate) struct Fixture {
    pub(crate) events: Events,
    pub(crate) fake: Arc<Fake>,
    store: Store,
    pub(crate) measures: Arc<Measures>,
    pub(crate) progress: Arc<Kept>,
}

/// Keeps how far streams are done.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) now: Mutex<Noted>,
    changed: Notify,
    /// While true, the disk takes its time.
    held: (Mutex<bool>, Condvar),
}

#[derive(Clone, Default)]
pub(crate) struct Noted {
    pub(crate) positions: Positions,
    pub(crate) processed: Option<Processed>,
    pub(crate) writes: usize,
    /// With those that are under way.
    pub(crate) begun: usize,
    /// The disk fails so often.
    pub(crate) refuse: usize,
    /// Some shard was kept as done further than it is now.
    pub(crate) went_back: bool,
}

impl Kept {
    pub(crate) fn hold(&self, held: bool) {
        *lock(&self.held.0) = held;
        self.held.1.notify_all();
    }

    pub(crate) async fn wait_for_write(&self) {
        let begun = async {
            loop {
                let changed = self.changed.notified();
                if lock(&self.now).begun > 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), begun).await.expect("nothing is written");
    }

    pub(crate) async fn wait_until(&self, shard: &str, position: &Position) {
        let reached = async {
            loop {
                let changed = self.changed.notified();
                if lock(&self.now).positions.get(shard) == Some(position) {
                    return;
                }
                changed.await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        let found = lock(&self.now).positions.clone();
        reached.unwrap_or_else(|_| panic!("{shard} isn't {position:?}: {found:?}"));
    }
}

impl Progress for Kept {
    fn positions(&self, _: Uuid) -> Positions {
        lock(&self.now).positions.clone()
    }

    fn keep(&self, _: Uuid, positions: Positions, processed: Processed) -> Result<(), NotNoted> {
        lock(&self.now).begun += 1;
        self.changed.notify_waiters();
        drop(self.held.1.wait_while(lock(&self.held.0), |held| *held).unwrap());
        let mut now = lock(&self.now);
        now.writes += 1;
        if now.refuse > 0 {
            now.refuse -= 1;
            return Err(NotNoted(Arc::new(coldframe_store::Error::Closed)));
        }
        let number = |position: &Position| match position {
            Position::After(number) => number.parse::<u64>().ok(),
            _ => None,
        };
        let went_back = |(shard, before): (&String, &Position)| {
            positions.get(shard).is_some_and(|position| number(position) < number(before))
        };
        now.went_back |= now.positions.iter().any(went_back);
        (now.positions, now.processed) = (positions, Some(processed));
        drop(now);
        self.changed.notify_waiters();
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Measures(Mutex<Vec<Measured>>);

impl Measures {
    /// Of a function, called by no qualifier.
    pub(crate) fn of(&self, name: &str, metric: Metric) -> Vec<f64> {
        let all = lock(&self.0);
        let is = |one: &&Measured| {
            let latest = one.qualifier.as_deref() == Some("$LATEST");
            one.function == arn(name) && one.metric == metric && latest
        };
        all.iter().filter(is).map(|one| one.value).collect()
    }
}

impl Observer for Measures {
    fn environment(
        &self,
        _: &Arc<FunctionVersion>,
        _: EnvironmentId,
        _: &str,
    ) -> Box<dyn Listener> {
        Box::new(())
    }

    fn measured(&self, measured: Measured) {
        lock(&self.0).push(measured);
    }
}

fn fixture(concurrency: usize, time_scale: f64) -> Fixture {
    fixture_of(Store::open(None).unwrap(), concurrency, time_scale)
}

fn fixture_of(store: Store, concurrency: usize, time_scale: f64) -> Fixture {
    fixture_with(store, options(concurrency, time_scale))
}

pub(crate) fn options(concurrency: usize, time_scale: f64) -> Options {
    Options {
        concurrency,
        memory_mb: 1_000_000,
        time_scale,
        receive_wait: Duration::from_secs(20),
        endpoints: Endpoints::default(),
        client: Client::default(),
        credentials: Credentials {
            access_key: "test".into(),
            secret_key: "test".into(),
            session_token: None,
        },
    }
}

pub(crate) fn fixture_with(store: Store, options: Options) -> Fixture {
    let measures = Arc::<Measures>::default();
    let events = Events::open(&store, options, measures.clone()).unwrap();
    Fixture { events, fake: Arc::default(), store, measures, progress: Arc::default() }
}

impl Fixture {
    pub(crate) fn start(&self) {
        self.events.start(self.fake.clone(), self.fake.clone(), self.progress.clone());
    }

    async fn send(&self, name: &str, payload: &str) -> RequestId {
        self.send_for(name, payload, None).await
    }

    async fn send_for(&self, name: &str, payload: &str, tenant: Option<&str>) -> RequestId {
        let request_id = Uuid::new_v4().into();
        let invocation = AsyncInvocation {
            request_id,
            function: arn(name),
            qualifier: None,
            payload: payload.to_owned().into(),
            trace_header: None,
            tenant_id: tenant.map(Into::into),
        };
        self.events.enqueue(invocation).await.unwrap();
        request_id
    }

    /// Nothing is left to be done.
    async fn check_done(self) {
        self.events.drained().await;
        assert_eq!(self.events.shared.queue.waiting(), 0);
    }
}

fn record(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn errors_are_retried_with_one_request_id_and_the_end_is_told() {
    let fixture = fixture(10, 1e-4);
    fixture.fake.function("f", &[Act::Fail, Act::Fail, Act::Succeed], |target| {
        target.on_success = Some(arn("told").to_string());
    });
    fixture.fake.function("told", &[Act::Succeed], |_| {});
    fixture.start();
    let request_id = fixture.send("f", "{\"a\":1}").await;
    let told = fixture.fake.wait_for("told", 1).await;
    let attempts = vec![(request_id, "{\"a\":1}".to_owned()); 3];
    assert_eq!(fixture.fake.seen_by("f"), attempts);
    let record = record(&told[0].1);
    assert_ne!(told[0].0, request_id, "it is another invocation");
    assert_eq!(record["requestContext"]["requestId"], request_id.to_string());
    assert_eq!(record["requestContext"]["condition"], "Success");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(record["requestContext"]["functionArn"], arn("f").qualified("$LATEST"));
    assert_eq!(record["responsePayload"]["done"], true);
    fixture.events.drained().await;
    let of = |name: &str, metric| fixture.measures.of(name, metric);
    assert_eq!(of("f", Metric::AsyncEventsReceived), [1.0]);
    let ages = of("f", Metric::AsyncEventAge);
    assert!(ages.len() == 3 && ages.is_sorted() && ages[2] >= 18.0, "{ages:?}");
    assert!(of("f", Metric::AsyncEventsDropped).is_empty());
    assert_eq!(of("told", Metric::AsyncEventsReceived), [1.0]);
    fixture.check_done().await;
}

#[tokio::test]
async fn what_fails_to_the_end_is_told() {
    for (retries, condition, age_s, attempts) in [
        (2, "RetriesExhausted", 21_600, 3),
        (0, "RetriesExhausted", 21_600, 1),
        (2, "EventAgeExceeded", 60, 1),
    ] {
        let fixture = fixture(10, 1e-3);
        fixture.fake.function("f", &[Act::Fail], |target| {
            target.retries_max = retries;
            target.age_max = Duration::from_secs(age_s);
            target.on_failure = Some(arn("told").to_string());
        });
        fixture.fake.function("told", &[Act::Succeed], |_| {});
        fixture.start();
        fixture.send("f", "1").await;
        let told = fixture.fake.wait_for("told", 1).await;
        let record = record(&told[0].1);
        assert_eq!(record["requestContext"]["condition"], condition);
        assert_eq!(record["requestContext"]["approximateInvokeCount"], attempts);
        assert_eq!(record["responseContext"]["functionError"], "Unhandled");
        assert_eq!(fixture.fake.seen_by("f").len(), attempts);
        fixture.events.drained().await;
        assert_eq!(fixture.measures.of("f", Metric::AsyncEventsDropped), [1.0]);
        fixture.check_done().await;
    }
}

#[tokio::test]
async fn refusals_cost_no_attempt() {
    let fixture = fixture(10, 1e-4);
    let acts = [Act::Throttle, Act::Break, Act::Throttle, Act::Fail, Act::Throttle, Act::Succeed];
    fixture.fake.function("f", &acts, |target| {
        target.retries_max = 1;
        target.on_success = Some(arn("told").to_string());
    });
    fixture.fake.function("told", &[Act::Succeed], |_| {});
    fixture.start();
    fixture.send("f", "1").await;
    let told = fixture.fake.wait_for("told", 1).await;
    assert_eq!(record(&told[0].1)["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(fixture.fake.seen_by("f").len(), acts.len());
    fixture.check_done().await;
}

// Spec: service-api.md §10.1.
#[tokio::test]
async fn deliveries_that_fail_are_measured() {
    let fixture = fixture(10, 1e-4);
    fixture.fake.function("f", &[Act::Fail], |target| {
        target.retries_max = 0;
        // No endpoint is configured.
        target.on_failure = Some("arn:aws:sqs:eu-west-1:000000000000:q".to_owned());
        target.dead_letter = Some("arn:aws:sns:eu-west-1:000000000000:t".to_owned());
    });
    fixture.start();
    fixture.send("f", "1").await;
    let of = |metric| fixture.measures.of("f", metric);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while of(Metric::DeadLetterErrors).is_empty()
        || of(Metric::DestinationDeliveryFailures).is_empty()
    {
        assert!(tokio::time::Instant::now() < deadline, "it isn't told");
        tokio::task::yield_now().await;
    }
    fixture.events.drained().await;
    assert_eq!(of(Metric::DeadLetterErrors), [1.0]);
    assert_eq!(of(Metric::DestinationDeliveryFailures), [1.0]);
    fixture.check_done().await;
}

// Spec: service-api.md §4.1, reserved concurrency 0.
#[tokio::test]
async fn a_function_switched_off_has_no_attempt() {
    let fixture = fixture(10, 1.0);
    fixture.fake.function("f", &[Act::Succeed], |target| {
        target.switched_off = true;
        target.on_failure = Some(arn("told").to_string());
    });
    fixture.fake.function("told", &[Act::Succeed], |_| {});
    fixture.start();
    fixture.send("f", "1").await;
    let told = fixture.fake.wait_for("told", 1).await;
    let record = record(&told[0].1);
    assert_eq!(record["requestContext"]["condition"], "ZeroReservedConcurrency");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
    assert!(record.get("responseContext").is_none() && record.get("responsePayload").is_none());
    assert!(fixture.fake.seen_by("f").is_empty());
    fixture.check_done().await;
}

// Spec: service-api.md §2.14, recursion.
#[tokio::test]
async fn a_loop_of_functions_ends_unless_it_may_go_on() {
    for may_loop in [false, true] {
        let fixture = fixture(10, 1e-4);
        fixture.fake.function("f", &[Act::Succeed], |target| {
            target.on_success = Some(arn("g").to_string());
            target.on_failure = Some(arn("told").to_string());
            target.may_loop = may_loop;
        });
        fixture.fake.function("g", &[Act::Succeed], |target| {
            target.on_success = Some(arn("f").to_string());
            // It takes a step more to see it here.
            target.may_loop = true;
        });
        fixture.fake.function("told", &[Act::Succeed], |_| {});
        fixture.start();
        let invocation = AsyncInvocation {
            request_id: Uuid::new_v4().into(),
            function: arn("f"),
            qualifier: None,
            payload: "1".into(),
            trace_header: Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned()),
            tenant_id: None,
        };
        fixture.events.enqueue(invocation).await.unwrap();
        if may_loop {
            fixture.fake.wait_for("f", 30).await;
            assert!(fixture.fake.seen_by("told").is_empty());
            fixture.events.drained().await;
            continue;
        }
        let told = fixture.fake.wait_for("told", 1).await;
        let record = record(&told[0].1);
        assert_eq!(record["requestContext"]["condition"], "RecursiveInvocation");
        assert_eq!(record["requestContext"]["approximateInvokeCount"], 0);
        // The first was sent from outside, and sixteen followed.
        assert_eq!(fixture.fake.seen_by("f").len(), 17);
        assert_eq!(fixture.fake.seen_by("g").len(), 17);
        let dropped = fixture.measures.of("f", Metric::RecursiveInvocationsDropped);
        assert_eq!(dropped, [1.0]);
        fixture.check_done().await;
    }
}

#[tokio::test]
async fn one_that_hangs_stops_no_other() {
    let fixture = fixture(8, 1e-4);
    fixture.fake.function("hangs", &[Act::Hang], |_| {});
    fixture.fake.function("fails", &[Act::Fail], |_| {});
    fixture.fake.function("good", &[Act::Succeed], |_| {});
    for _ in 0..50 {
        fixture.send("hangs", "1").await;
        fixture.send("fails", "1").await;
    }
    fixture.start();
    fixture.fake.wait_for("hangs", 4).await;
    for _ in 0..20 {
        fixture.send("good", "1").await;
    }
    fixture.fake.wait_for("good", 20).await;
    fixture.fake.wait_for("fails", 150).await;
    assert_eq!(fixture.fake.seen_by("hangs").len(), 4, "half of all places");
    fixture.fake.gate.send_replace(true);
    fixture.fake.wait_for("hangs", 50).await;
    fixture.check_done().await;
}

/// One that becomes due between a look at the queue and the sleep after it isn't slept over.
#[tokio::test]
async fn retries_come_when_they_are_due() {
    // Retries after a millisecond.
    let fixture = fixture(8, 1e-5);
    fixture.fake.function("f", &[Act::Fail], |_| {});
    fixture.start();
    for count in 1..=500 {
        fixture.send("f", "1").await;
        fixture.fake.wait_for("f", 3 * count).await;
    }
    fixture.check_done().await;
}

#[tokio::test]
async fn what_isnt_done_waits_for_the_next_service() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.sqlite");
    let first = fixture_of(Store::open(Some(&path)).unwrap(), 4, 1.0);
    first.fake.function("f", &[Act::Fail, Act::Hang], |_| {});
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(first.send("f", "1").await);
    }
    first.start();
    // One waits for its retry, two run, two wait.
    first.fake.wait_for("f", 3).await;
    first.events.stop();
    first.fake.gate.send_replace(true);
    first.events.drained().await;
    assert_eq!(first.fake.seen_by("f").len(), 3);
    drop(first);
    let second = fixture_of(Store::open(Some(&path)).unwrap(), 4, 1.0);
    second.fake.function("f", &[Act::Succeed], |_| {});
    assert_eq!(second.events.shared.queue.waiting(), 3);
    second.start();
    second.fake.wait_for("f", 2).await;
    second.events.drained().await;
    assert_eq!(second.events.shared.queue.waiting(), 1, "the retry is not due");
}

#[tokio::test]
async fn events_of_a_deleted_function_are_dropped() {
    let fixture = fixture(4, 1.0);
    fixture.fake.function("f", &[Act::Succeed], |_| {});
    fixture.fake.function("g", &[Act::Succeed], |_| {});
    for name in ["f", "f", "g", "gone"] {
        fixture.send(name, "1").await;
    }
    fixture.events.forget(&arn("f"));
    let kept = fixture.send("f", "later").await;
    fixture.start();
    fixture.fake.wait_for("g", 1).await;
    assert_eq!(fixture.fake.wait_for("f", 1).await, [(kept, "later".to_owned())]);
    fixture.check_done().await;
}

#[tokio::test]
async fn a_record_is_for_the_tenant_of_its_invocation() {
    let fixture = fixture(4, 1.0);
    let function = |name: &str, isolated, told: Option<&str>| {
        fixture.fake.function(name, &[Act::Succeed], |target| {
            let version =
                FunctionVersion { tenant_isolation: isolated, ..(*target.version).clone() };
            target.version = Arc::new(version);
            target.on_success = told.map(|name| arn(name).to_string());
        });
    };
    function("isolated", true, Some("also isolated"));
    function("also isolated", true, Some("open"));
    function("open", false, Some("never told"));
    function("never told", true, None);
    fixture.start();
    fixture.send_for("isolated", "1", Some("blue")).await;
    fixture.fake.wait_for("open", 1).await;
    // Its record has no tenant, and the function it is for can't run for none.
    let dropped = async {
        let shared = &fixture.events.shared;
        let runs = || lock(&shared.admission).held() > 0;
        loop {
            if !runs() {
                // What ended is followed by its record when the queue has taken it.
                let (tell, told) = oneshot::channel();
                shared.queue.flush(Box::new(move |result| tell.send(result).unwrap()));
                told.await.unwrap().unwrap();
                if shared.queue.waiting() == 0 && !runs() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), dropped).await.unwrap();
    let tenant = |name: &str, tenant: Option<&str>| (name.to_owned(), tenant.map(str::to_owned));
    let expected = [
        tenant("isolated", Some("blue")),
        tenant("also isolated", Some("blue")),
        tenant("open", None),
    ];
    assert_eq!(*lock(&fixture.fake.tenants), expected);
    fixture.check_done().await;
}

/// A function that has run once, and the queue that is to be told of it.
async fn telling(time_scale: f64) -> (Fixture, tokio::net::TcpListener) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut fixture = fixture(4, time_scale);
    let options = Options {
        endpoints: Endpoints { sqs: endpoint.parse().ok(), ..Endpoints::default() },
        ..fixture.events.shared.options.clone()
    };
    fixture.events = Events::open(&fixture.store, options, Arc::new(())).unwrap();
    fixture.fake.function("f", &[Act::Succeed], |target| {
        target.on_success = Some("arn:aws:sqs:eu-west-1:000000000000:q".to_owned());
    });
    fixture.start();
    fixture.send("f", "1").await;
    (fixture, listener)
}

/// A destination that can't be reached: the record waits, and the function runs no second time.
#[tokio::test]
async fn a_record_waits_for_its_destination() {
    let (fixture, listener) = telling(1e-3).await;
    let mut request = String::new();
    for answer in [
        "",
        "HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 1 << 16];
        request.clear();
        while !request.contains("\"MessageBody\"") {
            let length = stream.read(&mut buffer).await.unwrap();
            request += std::str::from_utf8(&buffer[..length]).unwrap();
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    assert!(request.contains("x-amz-target: AmazonSQS.SendMessage"), "{request}");
    assert!(request.contains("/eu-west-1/sqs/aws4_request"), "{request}");
    assert_eq!(fixture.fake.seen_by("f").len(), 1);
    fixture.check_done().await;
}

#[tokio::test]
async fn a_destination_that_hangs_does_not_hold_up_the_end() {
    let (fixture, listener) = telling(1.0).await;
    let _open = listener.accept().await.unwrap();
    // The request itself is given thirty.
    let drained = tokio::time::timeout(Duration::from_secs(15), fixture.events.drained());
    drained.await.expect("the end waits for the destination");
    assert_eq!(fixture.events.shared.queue.waiting(), 1, "the record is for the next service");
}
