use super::*;

const RESERVED: &str = "ReservedFunctionConcurrentInvocationLimitExceeded";
const ACCOUNT: &str = "ConcurrentInvocationLimitExceeded";

fn arn(name: &str) -> FunctionArn {
    FunctionArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: name.into(),
    }
}

fn reserve(concurrency: &Concurrency, name: &str, reserved: Option<u32>) {
    concurrency.plan(&arn(name), &ConcurrencyPlan { reserved, ..ConcurrencyPlan::default() });
}

fn admit(concurrency: &Concurrency, name: &str) -> Result<Slot, &'static str> {
    concurrency.admit(&arn(name), "$LATEST").map_err(|refusal| match refusal {
        Refusal::Throttled { reason } => reason,
        other => panic!("{other:?}"),
    })
}

/// How many more run at once, and why not one more.
fn room(concurrency: &Concurrency, name: &str) -> (usize, &'static str) {
    let mut slots = Vec::new();
    loop {
        match admit(concurrency, name) {
            Ok(slot) => slots.push(slot),
            Err(reason) => return (slots.len(), reason),
        }
    }
}

#[test]
fn what_is_reserved_is_kept_for_the_function_and_limits_it() {
    let concurrency = Concurrency::new(10);
    reserve(&concurrency, "reserved", Some(3));
    assert_eq!(room(&concurrency, "reserved"), (3, RESERVED));
    assert_eq!(room(&concurrency, "other"), (7, ACCOUNT));
    let _running: Vec<_> = (0..7).map(|_| admit(&concurrency, "other").ok().unwrap()).collect();
    assert_eq!(room(&concurrency, "reserved"), (3, RESERVED));
    reserve(&concurrency, "reserved", Some(0));
    assert_eq!(room(&concurrency, "reserved"), (0, RESERVED));
    reserve(&concurrency, "reserved", None);
    assert_eq!(room(&concurrency, "reserved"), (3, ACCOUNT));
}

/// A limit that comes or goes while invocations run counts them where they belong then.
#[test]
fn limits_change_while_invocations_run() {
    let concurrency = Concurrency::new(5);
    let running: Vec<_> = (0..2).map(|_| admit(&concurrency, "f").ok().unwrap()).collect();
    reserve(&concurrency, "f", Some(3));
    assert_eq!(room(&concurrency, "f"), (1, RESERVED));
    assert_eq!(room(&concurrency, "other"), (2, ACCOUNT));
    reserve(&concurrency, "f", Some(1));
    assert_eq!(room(&concurrency, "f"), (0, RESERVED));
    reserve(&concurrency, "f", None);
    assert_eq!(room(&concurrency, "other"), (3, ACCOUNT));
    drop(running);
    assert_eq!(room(&concurrency, "other"), (5, ACCOUNT));
}

#[test]
fn accounts_and_regions_count_apart() {
    let concurrency = Concurrency::new(2);
    let _running: Vec<_> = (0..2).map(|_| admit(&concurrency, "f").ok().unwrap()).collect();
    assert_eq!(room(&concurrency, "f"), (0, ACCOUNT));
    let elsewhere = FunctionArn { region: "us-east-1".into(), ..arn("f") };
    assert!(concurrency.admit(&elsewhere, "$LATEST").is_ok());
}

#[test]
fn nothing_is_kept_of_functions_that_do_not_run() {
    let concurrency = Concurrency::new(2);
    for number in 0..100 {
        drop(admit(&concurrency, &format!("f{number}")));
        reserve(&concurrency, &format!("f{number}"), Some(1));
        reserve(&concurrency, &format!("f{number}"), None);
    }
    let _running: Vec<_> = (0..2).map(|_| admit(&concurrency, "f").ok().unwrap()).collect();
    assert!(admit(&concurrency, "refused").is_err());
    let account = concurrency.account(&arn("f"));
    assert_eq!(lock(&account).functions.len(), 1);
}

fn version(name: &str, number: &str) -> Arc<coldframe_core::FunctionVersion> {
    Arc::new(coldframe_core::FunctionVersion {
        arn: arn(name),
        version: number.into(),
        revision: number.into(),
        runtime: coldframe_core::Runtime::parse("provided.al2023"),
        handler: String::new(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        memory: coldframe_core::MemorySize::from_mb(128),
        timeout: std::time::Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: std::collections::BTreeMap::new(),
        code: "/nowhere".into(),
        layers: None,
        tracing: coldframe_core::Tracing::PassThrough,
        log_format: coldframe_core::LogFormat::Text,
        application_log_level: None,
        system_log_level: None,
        tenant_isolation: false,
        log_group: String::new(),
    })
}

/// What is provisioned belongs to its version; the rest of the reservation to all.
#[test]
fn what_is_provisioned_is_kept_for_its_version() {
    let concurrency = Concurrency::new(10);
    let plan = |reserved, count| ConcurrencyPlan {
        reserved,
        provisioned: vec![(version("f", "1"), count)],
    };
    concurrency.plan(&arn("f"), &plan(Some(2), 2));
    assert_eq!(room(&concurrency, "f"), (0, RESERVED), "nothing is left for $LATEST");
    let one = || concurrency.admit(&arn("f"), "1");
    let running = [one().ok().unwrap(), one().ok().unwrap()];
    assert!(one().is_err());
    drop(running);
    // Without a reservation it is taken out of the common pool, and spills into it.
    concurrency.plan(&arn("f"), &plan(None, 4));
    assert_eq!(room(&concurrency, "other"), (6, ACCOUNT));
    let running: Vec<_> = std::iter::from_fn(|| one().ok()).collect();
    assert_eq!(running.len(), 10);
    concurrency.plan(&arn("f"), &ConcurrencyPlan::default());
    assert_eq!(room(&concurrency, "other"), (4, ACCOUNT), "six of it count, four did not");
    drop(running);
    assert_eq!(room(&concurrency, "other"), (10, ACCOUNT));
}

#[test]
fn what_runs_is_counted_as_cloudwatch_counts_it() {
    let concurrency = Concurrency::new(100);
    reserve(&concurrency, "reserved", Some(30));
    let provisioned = vec![(version("ready", "$LATEST"), 2)];
    concurrency.plan(&arn("ready"), &ConcurrencyPlan { reserved: None, provisioned });
    let _reserved = admit(&concurrency, "reserved").unwrap();
    let plain = admit(&concurrency, "plain").unwrap();
    let ready: Vec<_> = (0..3).map(|_| admit(&concurrency, "ready").unwrap()).collect();
    let found = plain.running("$LATEST");
    // Two of them run outside of what is set aside: one that spilled, and the plain one.
    let expected = observe::Concurrency {
        function: 1,
        account: 5,
        unreserved: 2,
        claimed: 2 + 30 + 2,
        provisioned: None,
    };
    assert_eq!(found, expected);
    let spilled = |spilled| Some(observe::Provisioned { running: 2, capacity: 2, spilled });
    assert_eq!(ready[0].running("$LATEST").provisioned, spilled(false));
    assert_eq!(ready[2].running("$LATEST").provisioned, spilled(true));
    assert_eq!(ready[2].running("1").provisioned, None);
    let value = |name: &str, metric| {
        let gauges = concurrency.gauges();
        let gauge = gauges.iter().find(|one| *one.function.name == *name && one.metric == metric);
        gauge.map(|gauge| gauge.value)
    };
    assert_eq!(value("ready", Metric::ConcurrentExecutions), Some(3.0));
    assert_eq!(value("ready", Metric::ProvisionedConcurrencyUtilization), Some(1.0));
    assert_eq!(value("", Metric::ClaimedAccountConcurrency), Some(34.0));
    drop((plain, ready));
    assert_eq!(value("plain", Metric::ConcurrentExecutions), None);
    assert_eq!(value("ready", Metric::ProvisionedConcurrencyUtilization), Some(0.0));
    assert_eq!(value("", Metric::UnreservedConcurrentExecutions), Some(0.0));
}
