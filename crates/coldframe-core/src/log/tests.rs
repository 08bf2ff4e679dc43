use super::*;
use crate::event::InitPhase;

fn id() -> RequestId {
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".parse().unwrap()
}

fn report(status: Status, init_us: Option<u64>) -> Event {
    Event::Report(Box::new(Report {
        request_id: id(),
        duration: Duration::from_micros(3_100),
        init_duration: init_us.map(Duration::from_micros),
        memory_mb: 128,
        max_memory_used_mb: 43,
        status,
        extension_overhead: None,
        trace: None,
        tenant_id: None,
    }))
}

fn check(event: Event, expected: Option<&str>) {
    assert_eq!(line(&event).as_deref(), expected);
}

// Spec: execution-environment.md §5.1.
#[test]
fn ee_l1_lines_are_aws_lines() {
    check(
        Event::Start { request_id: id(), version: "$LATEST".into(), trace: None, tenant_id: None },
        Some("START RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd Version: $LATEST"),
    );
    check(
        report(Status::Success, Some(542_010)),
        Some(
            "REPORT RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\tDuration: 3.10 ms\tBilled Duration: 546 ms\tMemory Size: 128 MB\tMax Memory Used: 43 MB\tInit Duration: 542.01 ms\t",
        ),
    );
    check(
        report(Status::Timeout, None),
        Some(
            "REPORT RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\tDuration: 3.10 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 43 MB\tStatus: timeout",
        ),
    );
    check(
        report(Status::Error("Runtime.ExitError".into()), None),
        Some(
            "REPORT RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\tDuration: 3.10 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\tMax Memory Used: 43 MB\tStatus: error\tError Type: Runtime.ExitError",
        ),
    );
    let init = |status| Event::InitReport {
        phase: InitPhase::Invoke,
        duration: Duration::from_micros(150_790),
        status,
    };
    check(
        init(Status::Error("Runtime.ExitError".into())),
        Some(
            "INIT_REPORT Init Duration: 150.79 ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError",
        ),
    );
    check(init(Status::Success), None);
}

#[test]
fn init_start_names_the_runtime() {
    let text = |runtime: &str| {
        let (name, arn) = runtime_version(runtime, "eu-west-1", "ab");
        init_start_line(&name, &arn)
    };
    assert_eq!(
        text("python3.12"),
        "INIT_START Runtime Version: python:3.12.coldframe\tRuntime Version ARN: arn:aws:lambda:eu-west-1::runtime:ab"
    );
    assert!(text("nodejs22.x").contains(" nodejs:22.coldframe\t"));
}

// Spec: execution-environment.md §5.1.
#[test]
fn ee_l1_extensions_subscriptions_and_traces() {
    let extension = |error_type: Option<&str>, events| Extension {
        name: "my-ext".into(),
        state: if error_type.is_some() { "LaunchError" } else { "Ready" },
        events,
        error_type: error_type.map(str::to_owned),
    };
    check(
        Event::Extension(extension(None, vec!["INVOKE", "SHUTDOWN"])),
        Some("EXTENSION\tName: my-ext\tState: Ready\tEvents: [INVOKE,SHUTDOWN]"),
    );
    check(
        Event::Extension(extension(Some("PermissionDenied"), vec![])),
        Some(
            "EXTENSION\tName: my-ext\tState: LaunchError\tEvents: []\tError Type: PermissionDenied",
        ),
    );
    let subscription = |logs_api| Subscription {
        name: "my-ext".into(),
        types: vec!["platform", "function", "extension"],
        logs_api,
    };
    check(
        Event::Subscribed(subscription(false)),
        Some("TELEMETRY\tName: my-ext\tState: Subscribed\tTypes: [Platform, Function, Extension]"),
    );
    check(
        Event::Subscribed(subscription(true)),
        Some("LOGS\tName: my-ext\tState: Subscribed\tTypes: [Platform, Function, Extension]"),
    );
    let Event::Report(mut traced) = report(Status::Success, None) else { return };
    let header = "Root=1-5f-a;Parent=b;Sampled=1";
    traced.trace = crate::event::Trace::sampled(header, "Root=1-5f-a;Parent=c;Sampled=1");
    let text = line(&Event::Report(traced)).unwrap();
    assert!(text.ends_with("MB\t\nXRAY TraceId: 1-5f-a\tSegmentId: c\tSampled: true\t"), "{text}");
}

// Spec: execution-environment.md §5.4 and L2.
#[test]
fn ee_l2_system_levels() {
    let init =
        |status| Event::InitReport { phase: InitPhase::Init, duration: Duration::ZERO, status };
    let start = Event::InitStart { phase: InitPhase::Init };
    for (event, managed, level) in [
        (start.clone(), true, LogLevel::Info),
        (start, false, LogLevel::Debug),
        (init(Status::Success), true, LogLevel::Debug),
        (init(Status::Timeout), true, LogLevel::Warn),
        (report(Status::Success, None), true, LogLevel::Info),
        (report(Status::Error("E".into()), None), true, LogLevel::Warn),
        (Event::LogsDropped { reason: "", records: 1, bytes: 1 }, true, LogLevel::Warn),
    ] {
        assert_eq!(system_level(&event, managed), level, "{event:?}");
    }
    assert_eq!(LogLevel::parse("warn"), Some(LogLevel::Warn));
    assert!(LogLevel::Trace < LogLevel::Debug && LogLevel::Error < LogLevel::Fatal);
    assert_eq!(LogLevel::parse("loud"), None);
}
