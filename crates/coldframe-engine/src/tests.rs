//! The engine on a fake sandbox: what callers see, and what is done to the sandboxes.

use coldframe_core::{AccountId, MemorySize, RequestId, Tracing};
use coldframe_testkit::{Act, Deed, FakeDriver};
use uuid::Uuid;

use super::*;

/// Only those that hang may meet it, however busy the machine is.
const TIMEOUT: Duration = Duration::from_secs(2);

const NO_BOOTSTRAPS: Bootstraps = Bootstraps { python: &[], nodejs: &[] };

struct Fixture {
    engine: Arc<Engine>,
    driver: FakeDriver,
    function: Arc<FunctionVersion>,
    _code: tempfile::TempDir,
}

fn fixture(memory_mb: u64, concurrency: usize) -> Fixture {
    let code = tempfile::tempdir().unwrap();
    std::fs::write(code.path().join("bootstrap"), "").unwrap();
    let driver = FakeDriver::default();
    let runtimes = HostRuntimes::new(NO_BOOTSTRAPS, code.path().join("runtimes"));
    let options = Options {
        idle_timeout: Duration::from_secs(600),
        memory_mb,
        account_concurrency: concurrency,
        scaling_rate: None,
        stream_rate: None,
        layer: None,
    };
    let engine = Engine::new(Arc::new(driver.clone()), runtimes, Arc::new(()), options);
    let function = function("f", code.path());
    Fixture { engine: Arc::new(engine), driver, function, _code: code }
}

fn function(name: &str, code: &std::path::Path) -> Arc<FunctionVersion> {
    Arc::new(FunctionVersion {
        arn: FunctionArn {
            account: AccountId::default_account(),
            region: "eu-west-1".into(),
            name: name.into(),
        },
        version: "$LATEST".into(),
        revision: Uuid::new_v4().to_string(),
        runtime: Runtime::parse("provided.al2023"),
        handler: "x".into(),
        role: "arn:aws:iam::000000000000:role/service-role/r".into(),
        memory: MemorySize::from_mb(128),
        timeout: TIMEOUT,
        ephemeral_storage_mb: 512,
        environment: std::collections::BTreeMap::new(),
        code: code.into(),
        layers: None,
        tracing: Tracing::PassThrough,
        log_format: coldframe_core::LogFormat::Text,
        application_log_level: None,
        system_log_level: None,
        tenant_isolation: false,
        log_group: format!("/aws/lambda/{name}"),
    })
}

async fn invoke(
    engine: &Engine,
    function: &Arc<FunctionVersion>,
    act: Act,
) -> Result<Answer, Refusal> {
    let invocation = Invocation {
        request_id: RequestId::from(Uuid::new_v4()),
        function: function.clone(),
        invoked_arn: function.arn.to_string(),
        payload: act.payload().into(),
        client_context: None,
        cognito_identity: None,
        trace_header: None,
        wants_log_tail: true,
        tenant_id: None,
    };
    tokio::time::timeout(Duration::from_secs(20), engine.invoke(invocation))
        .await
        .expect("every invocation gets an answer")
}

fn check(answer: &Answer, act: Act) {
    let text = String::from_utf8_lossy(&answer.payload);
    let (failed, expected) = match act {
        Act::Respond | Act::RespondThenExit | Act::RespondAndLeave | Act::Error => {
            (act == Act::Error, act.payload())
        }
        Act::Exit => (true, "Runtime exited with error: exit status 1".to_owned()),
        Act::Hang => (true, "Task timed out after 2.00 seconds".to_owned()),
    };
    assert_eq!(answer.function_error, failed, "{act:?}: {text}");
    assert!(text.contains(&expected), "{act:?}: {text}");
    let tail = String::from_utf8(answer.log_tail.clone().expect("asked for").to_vec()).unwrap();
    check_tail(&tail);
}

/// An invocation is told from its beginning to its end, once.
fn check_tail(tail: &str) {
    let words = tail.lines().filter_map(|line| line.split(' ').next());
    let told: Vec<&str> = words.filter(|word| ["START", "END", "REPORT"].contains(word)).collect();
    assert_eq!(told, ["START", "END", "REPORT"], "{tail}");
}

/// Whatever was done, each sandbox was made, perhaps used, and dropped last.
fn check_journal(driver: &FakeDriver) {
    for deeds in driver.journal() {
        assert_eq!(deeds.first(), Some(&Deed::Created), "{deeds:?}");
        assert_eq!(deeds.iter().filter(|deed| **deed == Deed::Dropped).count(), 1, "{deeds:?}");
        let last = deeds.iter().rfind(|deed| **deed != Deed::Exited);
        assert_eq!(last, Some(&Deed::Dropped), "{deeds:?}");
    }
}

#[tokio::test]
async fn credentials_are_good_while_their_environment_lives() {
    let Fixture { engine, driver: _driver, function, _code } = fixture(10_000, 10);
    check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    let issued = {
        let environments = lock(&engine.shared.environments);
        environments.values().next().expect("it was used").credentials().clone()
    };
    assert_eq!(
        issued.identity.to_string(),
        "arn:aws:sts::000000000000:assumed-role/r/f",
        "the role of the function"
    );
    let known = engine.session(&issued.access_key).expect("it lives");
    assert!(known == issued);
    assert!(engine.session("ASIAAAAAAAAAAAAAAAAA").is_none());
    engine.drain().await;
    assert!(engine.session(&issued.access_key).is_none());
}

#[tokio::test]
async fn an_environment_is_initialised_once_frozen_and_reused() {
    let Fixture { engine, driver, function, _code } = fixture(10_000, 10);
    for _ in 0..3 {
        check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    }
    engine.drain().await;
    let journal = driver.journal();
    assert_eq!(journal.len(), 1);
    assert_eq!(journal[0].iter().filter(|deed| **deed == Deed::Spawned).count(), 1);
    check_journal(&driver);
}

#[tokio::test]
async fn an_invocation_handed_to_a_dying_environment_goes_elsewhere() {
    let Fixture { engine, driver, function, _code } = fixture(10_000, 10);
    check(&invoke(&engine, &function, Act::RespondAndLeave).await.unwrap(), Act::RespondAndLeave);
    // It seems free, frozen, with its `next` held open; its runtime has gone.
    while !driver.journal()[0].contains(&Deed::Exited) {
        tokio::task::yield_now().await;
    }
    check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    engine.drain().await;
    check_journal(&driver);
}

/// A seeded sequence: the same orders at every run, others than a person would think of.
fn acts(seed: u64, count: usize) -> Vec<Act> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Act::ALL[(state >> 33) as usize % Act::ALL.len()]
    })
    .take(count)
    .collect()
}

#[tokio::test]
async fn any_order_of_failures_answers_everyone_once() {
    let runs = (0..8).map(|seed| {
        tokio::spawn(async move {
            let Fixture { engine, driver, function, _code } = fixture(10_000, 100);
            for act in acts(seed, 12) {
                check(&invoke(&engine, &function, act).await.unwrap(), act);
            }
            // And all at once.
            let together = acts(seed + 100, 12).into_iter().map(|act| {
                let (engine, function) = (engine.clone(), function.clone());
                tokio::spawn(async move {
                    check(&invoke(&engine, &function, act).await.unwrap(), act);
                })
            });
            for one in together.collect::<Vec<_>>() {
                one.await.unwrap();
            }
            engine.drain().await;
            check_journal(&driver);
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn an_invocation_that_cannot_be_handed_over_is_told_like_others() {
    let Fixture { engine, driver, function, _code } = fixture(10_000, 10);
    check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    let frozen = || driver.journal().iter().any(|deeds| deeds.contains(&Deed::Frozen));
    while !frozen() {
        tokio::task::yield_now().await;
    }
    driver.stick();
    let answer = invoke(&engine, &function, Act::Respond).await.unwrap();
    assert!(answer.function_error);
    check_tail(std::str::from_utf8(&answer.log_tail.unwrap()).unwrap());
}

#[tokio::test]
async fn beyond_the_account_limit_callers_are_throttled() {
    let Fixture { engine, function, _code, .. } = fixture(10_000, 1);
    let (first, second) = tokio::join!(
        invoke(&engine, &function, Act::Hang),
        invoke(&engine, &function, Act::Respond)
    );
    check(&first.unwrap(), Act::Hang);
    let reason = "ConcurrentInvocationLimitExceeded";
    assert_eq!(second.unwrap_err(), Refusal::Throttled { reason });
    // Another account has a limit of its own.
    let mut other = FunctionVersion::clone(&function);
    other.arn.account = AccountId::parse("123456789012").unwrap();
    other.revision = "other".into();
    let other = Arc::new(other);
    let (first, second) =
        tokio::join!(invoke(&engine, &function, Act::Hang), invoke(&engine, &other, Act::Respond));
    check(&first.unwrap(), Act::Hang);
    check(&second.unwrap(), Act::Respond);
    engine.drain().await;
}

#[tokio::test]
async fn memory_is_taken_from_idle_environments_never_from_busy_ones() {
    let Fixture { engine, driver, function, _code } = fixture(128, 10);
    let other = self::function("g", &function.code);
    check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    // The first function's environment makes room.
    check(&invoke(&engine, &other, Act::Respond).await.unwrap(), Act::Respond);
    // A busy one doesn't.
    let (busy, refused) =
        tokio::join!(invoke(&engine, &other, Act::Hang), invoke(&engine, &function, Act::Respond));
    check(&busy.unwrap(), Act::Hang);
    assert!(matches!(refused.unwrap_err(), Refusal::Throttled { .. }));
    engine.drain().await;
    check_journal(&driver);
}

#[tokio::test]
async fn a_retired_revision_is_not_used_again() {
    let Fixture { engine, driver, function, _code } = fixture(10_000, 10);
    check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    let mut newer = FunctionVersion::clone(&function);
    newer.revision = "newer".into();
    let newer = Arc::new(newer);
    engine.retire(&function.arn, &["newer"]);
    check(&invoke(&engine, &newer, Act::Respond).await.unwrap(), Act::Respond);
    assert_eq!(driver.journal().len(), 2);
    engine.drain().await;
    let refused = invoke(&engine, &newer, Act::Respond).await;
    assert_eq!(refused.unwrap_err(), Refusal::Draining);
    check_journal(&driver);
}

/// Provisioned environments are there before anybody calls, serve first, and stay.
#[tokio::test]
async fn provisioned_environments_are_made_ahead_and_kept() {
    let Fixture { engine, driver, function, _code } = fixture(128 * 4, 10);
    let plan =
        |count| ConcurrencyPlan { reserved: None, provisioned: vec![(function.clone(), count)] };
    let available = async |wanted: u32| {
        let reached = async {
            while engine.provisioned(&function.revision).available != wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("as many as planned");
    };
    engine.plan(&function.arn, &plan(2));
    available(2).await;
    assert_eq!(engine.environments().len(), 2);
    for _ in 0..3 {
        check(&invoke(&engine, &function, Act::Respond).await.unwrap(), Act::Respond);
    }
    assert_eq!(driver.journal().len(), 2, "nobody made another");
    // Others may take all other memory, and never theirs.
    let others: Vec<_> =
        (0..3).map(|n| self::function(&format!("other{n}"), _code.path())).collect();
    for other in &others {
        check(&invoke(&engine, other, Act::Respond).await.unwrap(), Act::Respond);
    }
    available(2).await;
    // One that is lost is made again.
    let _ = invoke(&engine, &function, Act::RespondThenExit).await;
    available(2).await;
    engine.plan(&function.arn, &plan(1));
    available(1).await;
    engine.plan(&function.arn, &ConcurrencyPlan::default());
    available(0).await;
    engine.drain().await;
    check_journal(&driver);
}

/// What can't be had is told, and not tried for ever.
#[tokio::test]
async fn provisioning_more_than_there_is_memory_for_fails() {
    let Fixture { engine, driver, function, _code } = fixture(128 * 2, 10);
    let plan = ConcurrencyPlan { reserved: None, provisioned: vec![(function.clone(), 5)] };
    engine.plan(&function.arn, &plan);
    let failure = engine.provisioned(&function.revision).failure;
    assert_eq!(failure, Some("INSUFFICIENT_MEMORY"));
    engine.drain().await;
    assert!(driver.journal().len() <= 2);
}
