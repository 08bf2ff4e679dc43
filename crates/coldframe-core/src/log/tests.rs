use super::*;
use crate::event::InitPhase;

fn id() -> RequestId {
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".parse().unwrap()
}

fn report(status: Status, init_us: Option<u64>) -> Event {
    Event::Report(Report {
        request_id: id(),
        duration: Duration::from_micros(3_100),
        init_duration: init_us.map(Duration::from_micros),
        memory_mb: 128,
        max_memory_used_mb: 43,
        status,
    })
}

fn check(event: Event, expected: Option<&str>) {
    assert_eq!(line(&event).as_deref(), expected);
}

// Spec: execution-environment.md §5.1.
#[test]
fn ee_l1_lines_are_aws_lines() {
    check(
        Event::Start { request_id: id(), version: "$LATEST".into() },
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
    let text = init_start_line("python3.12", "eu-west-1", "ab");
    assert_eq!(
        text,
        "INIT_START Runtime Version: python:3.12.coldframe\tRuntime Version ARN: arn:aws:lambda:eu-west-1::runtime:ab"
    );
    assert!(init_start_line("nodejs22.x", "eu-west-1", "ab").contains(" nodejs:22.coldframe\t"));
}
