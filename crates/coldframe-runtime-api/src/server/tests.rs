//! Raw bytes over loopback: what a runtime sends and sees.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::invocation::Outcome;
use crate::stream;
use crate::testing::{Loopback, about};
use bytes::Bytes;
use coldframe_core::invoke::StreamPart;
use coldframe_core::limits::RESPONSE_PAYLOAD_BYTES_MAX;

fn options() -> Options {
    Options {
        about: about(),
        dial: Arc::new(Loopback),
        stream_rate: None,
        metadata_token: "secret".into(),
        zone: "euw1-az1".into(),
        extensions: true,
    }
}

const LIMIT: Duration = Duration::from_secs(10);

struct Fixture {
    server: Server,
    reports: mpsc::UnboundedReceiver<Report>,
    address: std::net::SocketAddr,
    request_id: RequestId,
}

impl Fixture {
    fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (server, reports) = Server::start(listener, options()).unwrap();
        server.begin_init(Vec::new());
        server.runtime_starts();
        Self { server, reports, address, request_id: RequestId::from(Uuid::new_v4()) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn report(&mut self) -> ReportKind {
        tokio::time::timeout(LIMIT, self.reports.recv()).await.expect("in time").unwrap().kind
    }

    fn deliver(&self) {
        self.server.deliver(delivery(self.request_id));
    }

    /// A runtime that has the event, on a connection of its own.
    async fn running(&mut self) -> TcpStream {
        let mut stream = self.connect().await;
        send(&mut stream, NEXT).await;
        assert!(matches!(self.report().await, ReportKind::Next { .. }));
        self.deliver();
        assert!(receive(&mut stream).await.starts_with("HTTP/1.1 200 "));
        stream
    }

    fn post(&self, what: &str, headers: &str, body: &str) -> String {
        let (id, length) = (self.request_id, body.len());
        format!(
            "POST /2018-06-01/runtime/invocation/{id}/{what} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

fn delivery(request_id: RequestId) -> Delivery {
    Delivery {
        request_id,
        deadline: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        invoked_arn: "arn:aws:lambda:eu-west-1:000000000000:function:f".into(),
        payload: Bytes::from_static(b"\xffnot json"),
        trace: None,
        incoming_trace: None,
        client_context: None,
        cognito_identity: None,
        tenant_id: None,
        stream: None,
    }
}

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// One answer with a length.
async fn receive(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length =
                length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = tokio::time::timeout(LIMIT, stream.read_buf(&mut bytes)).await.expect("in time");
        assert!(read.unwrap() > 0, "closed after {text:?}");
    }
}

async fn check(stream: &mut TcpStream, request: &str, status: u16, contains: &str) {
    send(stream, request).await;
    let reply = receive(stream).await;
    assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{reply}");
    assert!(reply.contains(contains), "{contains} is not in {reply}");
}

// Spec: execution-environment.md §2.2 and V1, V2, V4.
#[tokio::test]
async fn ee_v1_v2_v4_next_has_every_header_and_gives_the_same_event_again() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.connect().await;
    send(&mut stream, NEXT).await;
    fixture.report().await;
    fixture.deliver();
    let first = receive(&mut stream).await;
    for header in [
        format!("Lambda-Runtime-Aws-Request-Id: {}\r\n", fixture.request_id),
        "Lambda-Runtime-Deadline-Ms: 1700000000123\r\n".to_owned(),
        "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-west-1:000000000000:function:f\r\n"
            .to_owned(),
        "Content-Type: application/json\r\n".to_owned(),
    ] {
        assert!(first.contains(&header), "{header} is not in {first}");
    }
    assert!(!first.contains("Trace-Id") && !first.contains("Client-Context"), "{first}");
    send(&mut stream, NEXT).await;
    let again = receive(&mut stream).await;
    let body = |reply: &str| reply.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert_eq!(body(&first), body(&again));
    assert!(again.contains(&fixture.request_id.to_string()));
}

// Spec: execution-environment.md §2.4 and V5, V6, V7, V9, V16, V17, V20.
#[tokio::test]
async fn refusals_have_aws_words() {
    let mut fixture = Fixture::new();
    let mut idle = fixture.connect().await;
    let early = fixture.post("response", "", "1");
    check(
        &mut idle,
        &early,
        400,
        "{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}\n",
    )
    .await;
    check(&mut idle, "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n", 200, "pong").await;
    check(
        &mut idle,
        "GET /2018-06-01/nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        404,
        "404 page not found",
    )
    .await;
    check(&mut idle, &NEXT.replace("GET", "POST"), 405, "").await;
    let mut stream = fixture.running().await;
    let wrong = fixture.post("response", "Lambda-Runtime-Invocation-Id: 1\r\n", "1");
    check(&mut stream, &wrong, 400, "\"errorType\":\"InvalidInvocationId\"").await;
    let other =
        fixture.post("response", "", "1").replace(&fixture.request_id.to_string(), "../../x");
    check(&mut idle, &other, 404, "").await;
    let init_error =
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    check(&mut idle, init_error, 403, "State transition from Running to InitError failed for runtime. Error: State transition is not allowed").await;
    // An upload in progress.
    let slow = fixture.post("response", "", "12345");
    send(&mut stream, &slow[..slow.len() - 2]).await;
    let refused = "State transition from InvocationResponse to Ready failed for runtime. Error: State transition is not allowed";
    loop {
        send(&mut idle, NEXT).await;
        let reply = receive(&mut idle).await;
        // Until the head has been read, the same event again.
        if reply.starts_with("HTTP/1.1 200 ") {
            continue;
        }
        assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains(refused), "{reply}");
        break;
    }
    send(&mut stream, "45").await;
    assert!(receive(&mut stream).await.contains("202 "));
    let second = fixture.post("response", "", "2");
    check(&mut stream, &second, 400, "InvalidRequestID").await;
    let ReportKind::Completed(completed) = fixture.report().await else { panic!("a completion") };
    assert!(matches!(completed.outcome, Outcome::Response { payload, .. } if payload == "12345"));
}

// Spec: execution-environment.md §2.5 and V8, V9, V10; §2.7 and V12, V13.
#[tokio::test]
async fn outcomes_are_told_as_they_came() {
    let exact = "x".repeat(RESPONSE_PAYLOAD_BYTES_MAX);
    let over = "x".repeat(RESPONSE_PAYLOAD_BYTES_MAX + 1);
    let cause = "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n";
    let typed = "Lambda-Runtime-Function-Error-Type: Runtime.Foo\r\nContent-Type: text/x\r\n";
    let mode = "Lambda-Runtime-Function-Response-Mode: Streaming\r\n";
    type Told = fn(&Outcome) -> bool;
    let rows: [(&str, &str, &str, u16, Told); 6] = [
        (
            "response",
            "",
            &exact,
            202,
            |outcome| matches!(outcome, Outcome::Response { payload, .. } if payload.len() == RESPONSE_PAYLOAD_BYTES_MAX),
        ),
        ("response", "", &over, 413, |outcome| matches!(outcome, Outcome::TooLarge)),
        ("response", mode, "1", 400, |outcome| matches!(outcome, Outcome::InvalidMode)),
        (
            "error",
            typed,
            "\0any",
            202,
            |outcome| matches!(outcome, Outcome::Error { payload, content_type: Some(kind), kind: error, .. } if payload == "\0any" && kind == "text/x" && error == "Runtime.Foo"),
        ),
        (
            "error",
            cause,
            "{\"errorType\":\"E\",\"errorCause\":1}",
            202,
            |outcome| matches!(outcome, Outcome::Error { payload, .. } if payload == "{\"errorType\":\"E\"}"),
        ),
        (
            "error",
            cause,
            "nonsense",
            202,
            |outcome| matches!(outcome, Outcome::Error { payload, .. } if payload == "\"Invalid error body\""),
        ),
    ];
    for (what, headers, body, status, told) in rows {
        let mut fixture = Fixture::new();
        let mut stream = fixture.running().await;
        let request = fixture.post(what, headers, body);
        check(&mut stream, &request, status, "").await;
        let ReportKind::Completed(completed) = fixture.report().await else {
            panic!("a completion")
        };
        assert!(told(&completed.outcome), "{what} {headers}: {:?}", status);
        // The runtime may go on.
        send(&mut stream, NEXT).await;
        assert!(matches!(fixture.report().await, ReportKind::Next { .. }), "{what} {headers}");
    }
}

// Spec: execution-environment.md §9.4 and R2: error trailers count in a collected stream too.
#[tokio::test]
async fn trailers_make_a_response_an_error() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.running().await;
    let id = fixture.request_id;
    let request = format!(
        "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\nTrailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n2\r\nab\r\n0\r\nLambda-Runtime-Function-Error-Type: Runtime.Mid\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n"
    );
    check(&mut stream, &request, 202, "").await;
    let ReportKind::Completed(completed) = fixture.report().await else { panic!("a completion") };
    assert!(
        matches!(completed.outcome, Outcome::Error { payload, kind, .. } if payload == "{}" && kind == "Runtime.Mid")
    );
}

#[tokio::test]
async fn a_cut_upload_is_told_and_a_lost_wait_is_made_up_for() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.running().await;
    let request = fixture.post("response", "", "12345");
    send(&mut stream, &request[..request.len() - 2]).await;
    drop(stream);
    let ReportKind::Completed(completed) = fixture.report().await else { panic!("a completion") };
    assert!(matches!(completed.outcome, Outcome::Truncated));

    // A runtime whose connection goes while it waits gets the event when it asks again.
    let mut waiting = fixture.connect().await;
    send(&mut waiting, NEXT).await;
    assert!(matches!(fixture.report().await, ReportKind::Next { .. }));
    drop(waiting);
    fixture.server.quiesced().await;
    fixture.deliver();
    let mut again = fixture.connect().await;
    check(&mut again, NEXT, 200, "not json").await;
}

#[tokio::test]
async fn a_new_generation_knows_nothing_of_the_last() {
    let mut fixture = Fixture::new();
    let mut old = fixture.running().await;
    fixture.server.reinitialise();
    fixture.server.runtime_starts();
    assert_eq!(old.read(&mut [0; 16]).await.unwrap_or(0), 0, "its connections are closed");
    let mut new = fixture.connect().await;
    let late = fixture.post("response", "", "1");
    check(&mut new, &late, 400, "InvalidRequestID").await;
    send(&mut new, NEXT).await;
    let report = fixture.reports.recv().await.unwrap();
    assert_eq!(report.generation, 1);
}

/// Whatever comes, the next connection is served.
#[tokio::test]
async fn nonsense_hurts_nobody() {
    let fixture = Fixture::new();
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD_BYTES_MAX * 2));
    for nonsense in [
        "\0\0\0\0",
        "GET",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        &long,
    ] {
        let mut stream = fixture.connect().await;
        // It may be closed before all is sent.
        let _ = stream.write_all(nonsense.as_bytes()).await;
        drop(stream);
    }
    let mut stream = fixture.connect().await;
    check(&mut stream, "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n", 200, "pong").await;
}

fn call(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn register(name: &str, body: &str) -> String {
    let name = format!("Lambda-Extension-Name: {name}\r\n");
    call("POST", "/2020-01-01/extension/register", &name, body)
}

/// Registers; the identifier.
async fn registered(stream: &mut TcpStream, name: &str, body: &str) -> String {
    send(stream, &register(name, body)).await;
    let reply = receive(stream).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let id = reply.lines().find_map(|line| line.strip_prefix("Lambda-Extension-Identifier: "));
    id.unwrap().to_owned()
}

fn identified(method: &str, path: &str, id: &str, body: &str) -> String {
    call(method, path, &format!("Lambda-Extension-Identifier: {id}\r\n"), body)
}

const EVENT_NEXT: &str = "/2020-01-01/extension/event/next";

// Spec: execution-environment.md §3.2 and E3.
#[tokio::test]
async fn ee_e3_register_answers_with_what_was_asked_for() {
    let fixture = Fixture::new();
    fixture.server.begin_init(vec!["ext".into()]);
    let mut stream = fixture.connect().await;
    send(&mut stream, &register("ext", r#"{"events":["INVOKE"]}"#)).await;
    let reply = receive(&mut stream).await;
    let body = r#"{"functionName":"f","functionVersion":"$LATEST","handler":"app.handler"}"#;
    assert!(reply.ends_with(&format!("{body}\n")), "{reply}");
    let features =
        "Lambda-Extension-Name: inner\r\nLambda-Extension-Accept-Feature: x , accountId\r\n";
    let request = call("POST", "/2020-01-01/extension/register", features, "{}");
    check(&mut stream, &request, 200, r#""accountId":"000000000000""#).await;
}

// Spec: execution-environment.md §1.2, §1.4, §3.3 and E5, E8, E9.
#[tokio::test]
async fn ee_e9_readiness_is_everybodys() {
    let mut fixture = Fixture::new();
    fixture.server.begin_init(vec!["a".into(), "b".into()]);
    let (mut a, mut b) = (fixture.connect().await, fixture.connect().await);
    let a_id = registered(&mut a, "a", r#"{"events":["INVOKE"]}"#).await;
    let b_id = registered(&mut b, "b", r#"{"events":["SHUTDOWN"]}"#).await;
    assert!(matches!(fixture.report().await, ReportKind::ExtensionsRegistered));
    let mut runtime = fixture.connect().await;
    send(&mut runtime, NEXT).await;
    assert!(matches!(fixture.report().await, ReportKind::Next { all_ready: false }));
    check(
        &mut fixture.connect().await,
        &register("late", "{}"),
        403,
        "Extension.RegistrationClosed",
    )
    .await;
    send(&mut a, &identified("GET", EVENT_NEXT, &a_id, "")).await;
    assert!(matches!(fixture.report().await, ReportKind::ExtensionNext { all_ready: false }));
    send(&mut b, &identified("GET", EVENT_NEXT, &b_id, "")).await;
    assert!(matches!(fixture.report().await, ReportKind::ExtensionNext { all_ready: true }));
    let again = identified("GET", EVENT_NEXT, &a_id, "");
    check(&mut fixture.connect().await, &again, 403, "from Ready to Ready failed").await;

    fixture.deliver();
    let told = receive(&mut a).await;
    assert!(told.contains("Lambda-Extension-Event-Identifier: "), "{told}");
    assert!(told.contains(r#""eventType":"INVOKE""#), "{told}");
    receive(&mut runtime).await;
    let response = fixture.post("response", "", "1");
    check(&mut runtime, &response, 202, "").await;
    assert!(matches!(fixture.report().await, ReportKind::Completed(_)));
    send(&mut runtime, NEXT).await;
    assert!(matches!(fixture.report().await, ReportKind::Next { all_ready: false }));
    send(&mut a, &identified("GET", EVENT_NEXT, &a_id, "")).await;
    assert!(matches!(fixture.report().await, ReportKind::ExtensionNext { all_ready: true }));

    fixture.server.shut_down("spindown", SystemTime::UNIX_EPOCH);
    assert!(receive(&mut b).await.contains(r#""shutdownReason":"spindown""#));
}

#[tokio::test]
async fn nobody_gets_events_before_there_is_a_runtime() {
    let fixture = Fixture::new();
    fixture.server.reinitialise();
    fixture.server.begin_init(vec!["ext".into()]);
    let mut stream = fixture.connect().await;
    check(&mut stream, NEXT, 403, "State transition from Started to Ready failed").await;
}

#[tokio::test]
async fn errors_of_extensions_are_told_once() {
    let mut fixture = Fixture::new();
    fixture.server.begin_init(vec!["ext".into()]);
    let mut stream = fixture.connect().await;
    let id = registered(&mut stream, "ext", "{}").await;
    fixture.report().await;
    let headers = format!(
        "Lambda-Extension-Identifier: {id}\r\nLambda-Extension-Function-Error-Type: Ext.X\r\n"
    );
    let request = call("POST", "/2020-01-01/extension/init/error", &headers, "anything");
    check(&mut stream, &request, 202, "{\"status\":\"OK\"}\n").await;
    check(&mut stream, &request, 202, "OK").await;
    let told = fixture.report().await;
    assert!(matches!(told, ReportKind::ExtensionFailed("Extension.InitError")), "{told:?}");
    fixture.server.reinitialise();
    assert!(fixture.reports.try_recv().is_err());
}

// Spec: execution-environment.md §1.2 and I14.
#[tokio::test]
async fn ee_i14_extensions_can_be_switched_off() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let off = Options { extensions: false, ..options() };
    let (_server, _reports) = Server::start(listener, off).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    for path in ["/2020-01-01/extension/register", "/2022-07-01/telemetry", "/2020-08-15/logs"] {
        send(&mut stream, &call("POST", path, "", "{}")).await;
        let reply = receive(&mut stream).await;
        assert!(reply.starts_with("HTTP/1.1 404 ") && reply.ends_with("\r\n\r\n"), "{reply}");
    }
}

// Spec: execution-environment.md §6.10 and M9.
#[tokio::test]
async fn ee_m9_the_metadata_endpoint() {
    let fixture = Fixture::new();
    let mut stream = fixture.connect().await;
    let path = "/2026-01-15/metadata/execution-environment";
    let with = |token: &str| call("GET", path, &format!("Authorization: Bearer {token}\r\n"), "");
    send(&mut stream, &with("secret")).await;
    let reply = receive(&mut stream).await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert!(reply.contains("Cache-Control: private, max-age=43200, immutable\r\n"), "{reply}");
    assert!(reply.ends_with(r#"{"AvailabilityZoneID":"euw1-az1"}"#), "{reply}");
    check(&mut stream, &with("wrong"), 401, "").await;
    check(&mut stream, &call("GET", path, "", ""), 401, "").await;
    check(&mut stream, &call("POST", path, "", ""), 405, "").await;
}

// Spec: execution-environment.md §2.12 and V21.
#[test]
fn ee_v21_release_strings() {
    let check = |agent: Option<&str>, features: Option<&str>, expected: &str| {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: Option<&str>| {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        };
        put("user-agent", agent);
        put("lambda-runtime-features", features);
        assert_eq!(release(&headers), expected);
    };
    check(Some("rust/1.5 more"), None, "rust/1.5");
    check(None, None, "Unknown");
    check(Some("a"), Some("f1 (f2)"), "a (f1 f2)");
    let long = "x".repeat(120);
    check(Some(&long), Some("abcde abcdef f"), &format!("{long} (abcde)"));
    check(Some(&"x".repeat(200)), Some("f"), &"x".repeat(128));
}

// Spec: execution-environment.md §4.1 and T5.
#[tokio::test]
async fn ee_t5_subscriptions_are_taken_until_init_is_over() {
    let mut fixture = Fixture::new();
    fixture.server.begin_init(vec!["ext".into()]);
    let mut stream = fixture.connect().await;
    let id = registered(&mut stream, "ext", "{}").await;
    fixture.report().await;
    let body = r#"{"schemaVersion":"2022-07-01","types":["platform"],"destination":{"protocol":"TCP","port":9}}"#;
    let telemetry = "/2022-07-01/telemetry";
    check(
        &mut stream,
        &call("PUT", telemetry, "", body),
        403,
        "Extension.MissingExtensionIdentifier",
    )
    .await;
    check(&mut stream, &identified("POST", telemetry, &id, body), 405, "").await;
    check(&mut stream, &identified("PUT", telemetry, &id, "{}"), 400, "ValidationError").await;
    check(&mut stream, &identified("PUT", telemetry, &id, body), 200, "\"OK\"").await;
    let ReportKind::Subscribed(told) = fixture.report().await else { panic!("a subscription") };
    assert_eq!((told.name.as_str(), told.types, told.logs_api), ("ext", vec!["platform"], false));
    // The same again is fine and not told again; the other API is not.
    check(&mut stream, &identified("PUT", telemetry, &id, body), 200, "\"OK\"").await;
    let logs = body.replace("2022-07-01", "2020-08-15");
    check(
        &mut stream,
        &identified("PUT", "/2020-08-15/logs", &id, &logs),
        400,
        "Logs.ValidationError",
    )
    .await;
    assert!(fixture.reports.try_recv().is_err());
    fixture.server.telemetry().close();
    check(
        &mut stream,
        &identified("PUT", telemetry, &id, body),
        403,
        "Telemetry API subscription is closed",
    )
    .await;
    check(
        &mut stream,
        &identified("PUT", "/2020-08-15/logs", &id, &logs),
        403,
        "Logs.SubscriptionClosed",
    )
    .await;
}

// Spec: execution-environment.md §9 and R1.
#[tokio::test]
async fn ee_r1_a_stream_goes_on_as_it_comes() {
    let mut fixture = Fixture::new();
    let mut stream = fixture.connect().await;
    send(&mut stream, NEXT).await;
    fixture.report().await;
    let (sender, receiver) = stream::channel();
    fixture.server.deliver(Delivery {
        request_id: fixture.request_id,
        deadline: SystemTime::now(),
        invoked_arn: "arn".into(),
        payload: Bytes::new(),
        trace: None,
        incoming_trace: None,
        client_context: None,
        cognito_identity: None,
        tenant_id: Some("tenant".into()),
        stream: Some(sender),
    });
    assert!(receive(&mut stream).await.contains("Lambda-Runtime-Aws-Tenant-Id: tenant\r\n"));
    let id = fixture.request_id;
    send(&mut stream, &format!("POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")).await;
    let answer = receiver.begun().await.ok().unwrap();
    assert_eq!(answer.content_type.as_deref(), Some("text/x"));
    let mut body = answer.stream;
    let mut part = async || std::future::poll_fn(|context| body.poll_part(context)).await;
    assert_eq!(part().await, StreamPart::Chunk(Bytes::from_static(b"first")));
    send(&mut stream, "6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(part().await, StreamPart::Chunk(Bytes::from_static(b"second")));
    let ReportKind::Completed(completed) = fixture.report().await else { panic!("a completion") };
    assert!(matches!(completed.outcome, Outcome::Response { .. }));
    assert_eq!(completed.bytes, 11);
}

// What extensions send is small: nobody makes the service hold more.
#[tokio::test]
async fn calls_of_extensions_are_bounded() {
    let fixture = Fixture::new();
    let mut stream = fixture.connect().await;
    let body = " ".repeat(CALL_BYTES_MAX + 1);
    check(&mut stream, &register("big", &body), 413, "(65536 bytes)").await;
}

// A process that asks again and again on new connections is remembered once.
#[tokio::test]
async fn waiting_calls_of_closed_connections_are_forgotten() {
    let mut fixture = Fixture::new();
    let mut first = fixture.connect().await;
    send(&mut first, NEXT).await;
    fixture.report().await;
    for _ in 0..20 {
        let mut stream = fixture.connect().await;
        send(&mut stream, NEXT).await;
        drop(stream);
    }
    drop(first);
    fixture.server.quiesced().await;
    let mut last = fixture.connect().await;
    send(&mut last, NEXT).await;
    while fixture.server.shared.lock().waiting.len() != 1 {
        tokio::task::yield_now().await;
    }
    fixture.deliver();
    assert!(receive(&mut last).await.starts_with("HTTP/1.1 200 "));
}

/// All that comes until one answer is whole or the connection ends.
async fn receive_some(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = tokio::time::timeout(LIMIT, stream.read_buf(&mut bytes)).await.expect("in time");
        if read.unwrap_or(0) == 0 {
            return text;
        }
    }
}

/// What a runtime that has the event sees of a request, and what is told of it: the text without
/// what differs each time. On hyper's way, or on the short one if it may; cut in two there.
async fn seen(request: &str, is_long: bool, cut: usize, pipelined: bool) -> (String, String) {
    const PING: &str = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n";
    const LAST: &str = "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut fixture = Fixture::new();
    drop(fixture.running().await);
    let id = fixture.request_id.to_string();
    let echo = fixture.server.shared.lock().current.as_ref().unwrap().invocation_id.to_string();
    let request = request.replace("{id}", &id).replace("{echo}", &echo);
    let mut stream = fixture.connect().await;
    if is_long {
        check(&mut stream, PING, 200, "pong").await;
    }
    let (first, second) = request.split_at(cut.min(request.len()));
    for part in [first, second] {
        // It may be refused before all is sent.
        let _ = stream.write_all(part.as_bytes()).await;
        // So often, the server's task has had its turn and has read it.
        for _ in 0..if cut > 0 { 64 } else { 0 } {
            tokio::task::yield_now().await;
        }
    }
    let mut text = String::new();
    if !pipelined {
        text = receive_some(&mut stream).await;
    }
    let _ = stream.write_all(LAST.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    text.push_str(&String::from_utf8_lossy(&rest));
    let varies = |line: &&str| {
        line.starts_with("Date: ") || line.starts_with("Lambda-Runtime-Invocation-Id")
    };
    let text: Vec<_> = text.split("\r\n").filter(|line| !varies(line)).collect();
    let mut told = Vec::new();
    while let Ok(report) = fixture.reports.try_recv() {
        told.push(match report.kind {
            ReportKind::Completed(completed) => {
                format!("{:?} {}", completed.outcome, completed.bytes)
            }
            other => format!("{other:?}"),
        });
    }
    (text.join("\n").replace(&id, "ID"), told.join("\n"))
}

fn response(headers: &str, body: &str) -> String {
    format!(
        "POST /2018-06-01/runtime/invocation/{{id}}/response HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}"
    )
}

/// Whichever way a request goes, whole, cut or with the next one behind, the same comes of it.
#[tokio::test]
async fn the_short_way_is_as_hypers() {
    let length = "Content-Length: 2\r\n";
    let with = |more: &str| response(&format!("{length}{more}"), "{}");
    let large = "x".repeat(9000);
    let mut requests = vec![
        NEXT.to_owned(),
        NEXT.replace("Host", "hOST"),
        NEXT.replace("next", "next?a=b"),
        NEXT.replace("next", "next/"),
        NEXT.replace("next", "NEXT"),
        NEXT.replace("/2018", "http://x/2018"),
        NEXT.replace("GET", "HEAD"),
        NEXT.replace("GET", "POST"),
        NEXT.replace("1.1", "1.0"),
        NEXT.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
        NEXT.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"),
        NEXT.replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n{}"),
        NEXT.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
        with(""),
        with("Content-Type: text/x\r\n"),
        with("Content-Type: \u{e4}\r\n"),
        with("Content-Type: a\r\nContent-Type: b\r\n"),
        with("Lambda-Runtime-Function-Response-Mode: streaming\r\n"),
        with("Lambda-Runtime-Function-Response-Mode: Streaming\r\n"),
        with("lambda-runtime-invocation-id: {echo}\r\n"),
        with("Lambda-Runtime-Invocation-Id: 1\r\n"),
        with("Lambda-Runtime-Invocation-Id: \u{e4}\r\n"),
        with("Lambda-Runtime-Function-Error-Type: Runtime.Foo\r\n"),
        with("Connection: close\r\n"),
        with("Expect: 100-continue\r\n"),
        with("TE: trailers\r\n"),
        with("Content-Length: 2\r\n"),
        with("Content-Length: 3\r\n"),
        with("Transfer-Encoding: chunked\r\n").replace("{}", "2\r\n{}\r\n0\r\n\r\n"),
        with(&format!("X: {large}\r\n")),
        with(&"A: b\r\n".repeat(60)),
        with("").replace("{id}", "{id}x"),
        with("").replace("{id}", "%41"),
        with("").replace("{id}", ""),
        with("").replace("{id}", "a/b"),
        with("").replace("HTTP/1.1", "HTTP/1.0"),
        with("").replace("/response", "/error"),
        with("").replace("/response", "/response/"),
        with("").replace("POST", "PUT"),
        with("").replace("\r\n", "\n"),
        response("", ""),
        response("Content-Length: 0\r\n", ""),
        response("Content-Length: -1\r\n", ""),
        response("Content-Length: 9000\r\n", &large),
        response("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    ];
    for request in &requests {
        let wanted = seen(request, true, 0, false).await;
        assert!(wanted.0.contains("HTTP/1.1 ") || wanted.0.contains("HTTP/1.0 "), "{request}");
        assert_eq!(seen(request, false, 0, false).await, wanted, "{request}");
        let pipelined = seen(request, true, 0, true).await;
        assert_eq!(seen(request, false, 0, true).await, pipelined, "{request}");
    }
    requests.truncate(14);
    for request in [&requests[0], &requests[13]] {
        let wanted = seen(request, true, 0, false).await;
        for cut in 1..request.len() + 34 {
            assert_eq!(seen(request, false, cut, false).await, wanted, "{request} cut at {cut}");
        }
    }
}

/// An event that the socket doesn't take at once is written by its connection's task.
#[tokio::test]
async fn a_large_event_comes_whole_to_who_waits() {
    for (bytes, before) in [(2, ""), (8 << 20, ""), (2, "ping"), (8 << 20, "ping")] {
        let mut fixture = Fixture::new();
        let mut stream = fixture.connect().await;
        if !before.is_empty() {
            check(&mut stream, "GET /2018-06-01/ping HTTP/1.1\r\nHost: x\r\n\r\n", 200, "").await;
        }
        send(&mut stream, NEXT).await;
        fixture.report().await;
        let is_out = fixture.server.deliver(Delivery {
            payload: vec![b'x'; bytes].into(),
            ..delivery(fixture.request_id)
        });
        assert_eq!(is_out, bytes == 2 && before.is_empty(), "{bytes} {before}");
        let event = receive(&mut stream).await;
        assert_eq!(event.split_once("\r\n\r\n").unwrap().1.len(), bytes);
        check(&mut stream, &fixture.post("response", "", "1"), 202, "OK").await;
    }
}
