use super::*;
use crate::testing::about;
use serde_json::{Value, json};

fn id() -> RequestId {
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".parse().unwrap()
}

fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_790_000_000_123)
}

fn rendered(event: &Event) -> Value {
    serde_json::from_str(&render(&about(), at(), event).unwrap()).unwrap()
}

fn check(event: Event, kind: &str, record: Value) {
    let time = "2026-09-21T14:13:20.123Z";
    assert_eq!(rendered(&event), json!({ "time": time, "type": kind, "record": record }));
}

fn report(status: Status) -> Report {
    Report {
        request_id: id(),
        duration: Duration::from_micros(16_102),
        init_duration: Some(Duration::from_micros(299_871)),
        memory_mb: 256,
        max_memory_used_mb: 41,
        status,
        extension_overhead: None,
        trace: None,
        tenant_id: None,
    }
}

// Spec: execution-environment.md §4.3 and T7.
#[test]
fn ee_t7_every_event_against_the_schema() {
    check(
        Event::InitStart { phase: InitPhase::Init },
        "platform.initStart",
        json!({
            "initializationType": "on-demand", "phase": "init", "functionName": "f",
            "functionArn": "arn:aws:lambda:eu-west-1:000000000000:function:f",
            "functionVersion": "$LATEST",
            "instanceId": "2026/10/01/[$LATEST]0123456789abcdef0123456789abcdef",
            "instanceMaxMemory": 268_435_456,
        }),
    );
    check(
        Event::InitRuntimeDone { phase: InitPhase::Invoke, status: Status::Success },
        "platform.initRuntimeDone",
        json!({ "initializationType": "on-demand", "phase": "invoke", "status": "success" }),
    );
    check(
        Event::InitReport {
            phase: InitPhase::Init,
            duration: Duration::from_micros(299_871),
            status: Status::Timeout,
        },
        "platform.initReport",
        json!({
            "initializationType": "on-demand", "phase": "init", "status": "timeout",
            "errorType": "Runtime.Unknown", "metrics": { "durationMs": 299.871 },
        }),
    );
    let header = "Root=1-5f-a;Parent=b;Sampled=1";
    let trace = Trace::sampled(header, "Root=1-5f-a;Parent=c;Sampled=1");
    let tracing = json!({ "type": "X-Amzn-Trace-Id", "value": header, "spanId": "c" });
    check(
        Event::Start {
            request_id: id(),
            version: "$LATEST".into(),
            trace: trace.clone(),
            tenant_id: Some("t".into()),
        },
        "platform.start",
        json!({
            "requestId": id().to_string(), "version": "$LATEST", "tenantId": "t",
            "functionArn": "arn:aws:lambda:eu-west-1:000000000000:function:f", "tracing": tracing,
        }),
    );
    let span = |name| Span { name, start: at(), duration: Duration::from_micros(1_469) };
    check(
        Event::RuntimeDone(Box::new(RuntimeDone {
            request_id: id(),
            status: Status::Error("Runtime.Unknown".into()),
            duration: Duration::from_micros(14_600),
            produced_bytes: Some(52),
            spans: vec![span("responseLatency"), span("runtimeOverhead")],
            trace: None,
            tenant_id: None,
        })),
        "platform.runtimeDone",
        json!({
            "requestId": id().to_string(), "status": "error", "errorType": "Runtime.Unknown",
            "metrics": { "durationMs": 14.6, "producedBytes": 52 },
            "spans": [
                { "name": "responseLatency", "start": "2026-09-21T14:13:20.123Z", "durationMs": 1.469 },
                { "name": "runtimeOverhead", "start": "2026-09-21T14:13:20.123Z", "durationMs": 1.469 },
            ],
        }),
    );
    let mut reported = report(Status::Success);
    (reported.trace, reported.extension_overhead) = (trace, Some(span("extensionOverhead")));
    check(
        Event::Report(Box::new(reported)),
        "platform.report",
        json!({
            "requestId": id().to_string(), "status": "success",
            "metrics": {
                "durationMs": 16.102, "billedDurationMs": 316, "memorySizeMB": 256,
                "maxMemoryUsedMB": 41, "initDurationMs": 299.871,
            },
            "spans": [{ "name": "extensionOverhead", "start": "2026-09-21T14:13:20.123Z", "durationMs": 1.469 }],
            "tracing": tracing,
        }),
    );
    check(
        Event::Extension(Extension {
            name: "e".into(),
            state: "Ready",
            events: vec!["INVOKE"],
            error_type: None,
        }),
        "platform.extension",
        json!({ "name": "e", "state": "Ready", "events": ["INVOKE"] }),
    );
    check(
        Event::Subscribed(coldframe_core::event::Subscription {
            name: "e".into(),
            types: vec!["platform"],
            logs_api: false,
        }),
        "platform.telemetrySubscription",
        json!({ "name": "e", "state": "Subscribed", "types": ["platform"] }),
    );
    check(
        Event::LogsDropped { reason: "r", records: 2, bytes: 3 },
        "platform.logsDropped",
        json!({ "reason": "r", "droppedRecords": 2, "droppedBytes": 3 }),
    );
    assert_eq!(render(&about(), at(), &Event::Frozen { took: Duration::ZERO }), None);
}

// Spec: execution-environment.md §4.3 and T9.
#[test]
fn ee_t9_lines_are_objects_only_where_wanted() {
    let record = |text: &str, objects: bool| -> Value {
        let line: Value = serde_json::from_str(&line(at(), "function", text, objects)).unwrap();
        line["record"].clone()
    };
    let object = r#"{"level":"INFO","n":1.0}"#;
    assert_eq!(record(object, true), json!({ "level": "INFO", "n": 1.0 }));
    assert_eq!(record(object, false), json!(object));
    assert_eq!(record("{\n \"a\":\r\n 1}", true), json!({ "a": 1 }));
    assert!(!line(at(), "function", "{\n}", true).contains('\n'));
    for text in ["[1]", "{", "{} x", "plain \"quoted\"", ""] {
        assert_eq!(record(text, true), json!(text));
    }
    // A framed record may have more lines; over TCP it is one.
    let framed = "{\r\n  \"text\": \"a\\nb\",\n  \"n\": 1\n}";
    assert_eq!(record(framed, true), json!({ "text": "a\nb", "n": 1 }));
    assert!(!line(at(), "function", framed, true).contains(['\n', '\r']));
}

// Spec: execution-environment.md §4.4 and T12.
#[test]
fn ee_t12_the_logs_api_has_other_shapes() {
    let records = |event: &Event, runtime_done| -> Vec<Value> {
        let rendered = render_for_logs_api(&about(), at(), event, runtime_done);
        rendered.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
    };
    let kinds = |records: &[Value]| -> Vec<String> {
        records.iter().map(|record| record["type"].as_str().unwrap().to_owned()).collect()
    };
    let ended = records(&Event::Report(Box::new(report(Status::Success))), false);
    assert_eq!(kinds(&ended), ["platform.end", "platform.report"]);
    assert_eq!(ended[0]["record"], json!({ "requestId": id().to_string() }));
    let members: Vec<_> = ended[1]["record"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["metrics", "requestId"]);
    let crashed = Status::Error("Runtime.ExitError".into());
    let crashed = records(&Event::Report(Box::new(report(crashed))), false);
    assert_eq!(kinds(&crashed), ["platform.fault", "platform.end", "platform.report"]);
    let fault = format!("RequestId: {} Process exited before completing request", id());
    assert_eq!(crashed[0]["record"], json!(fault));
    let start =
        Event::Start { request_id: id(), version: "1".into(), trace: None, tenant_id: None };
    let told = records(&start, false);
    assert_eq!(told[0]["record"], json!({ "requestId": id().to_string(), "version": "1" }));
    let done = Event::RuntimeDone(Box::new(RuntimeDone {
        request_id: id(),
        status: Status::Error("x".into()),
        duration: Duration::ZERO,
        produced_bytes: None,
        spans: Vec::new(),
        trace: None,
        tenant_id: None,
    }));
    assert!(records(&done, false).is_empty());
    let told = records(&done, true);
    assert_eq!(told[0]["record"], json!({ "requestId": id().to_string(), "status": "failure" }));
    assert!(records(&Event::InitStart { phase: InitPhase::Init }, true).is_empty());
}

#[test]
fn levels_are_read_from_records() {
    let level = |text: &str| level_and_timestamp(text);
    let timestamp = r#""timestamp":"2026-01-01T00:00:00Z""#;
    let with = format!(r#"{{"level":"WARN",{timestamp}}}"#);
    assert_eq!(level(&with), Some((Some("WARN".into()), true)));
    assert_eq!(level(&format!("{{{timestamp}}}")), Some((None, true)));
    assert_eq!(level(r#"{"level":"WARN"}"#), Some((Some("WARN".into()), false)));
    assert_eq!(level("plain"), None);
    assert_eq!(level("[]"), None);
}
