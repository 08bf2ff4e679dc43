use std::collections::BTreeMap;

use coldframe_core::RequestId;
use coldframe_core::event::Status;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::tests::function;

fn options(variables: &[(&str, &str)]) -> Result<Option<OtlpOptions>, String> {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    OtlpOptions::from_variables(|name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn variables_say_where_to() {
    assert_eq!(options(&[]), Ok(None));
    assert_eq!(options(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");
    let read = options(&[
        endpoint,
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b, c = d=e"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ]);
    let read = read.unwrap().unwrap();
    assert_eq!(read.endpoint.to_string(), "http://127.0.0.1:4318");
    assert_eq!((read.path.as_str(), read.trust), ("", Trust::System));
    assert_eq!(read.headers, [("a".into(), "b".into()), ("c".into(), "d=e".into())]);
    assert_eq!(read.metrics_every, Duration::from_millis(100));
    let secure = options(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/a/b/"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
    ]);
    let secure = secure.unwrap().unwrap();
    assert_eq!(secure.endpoint.to_string(), "https://collector");
    let trust = Trust::File { variable: "OTEL_EXPORTER_OTLP_CERTIFICATE", path: "/ca.pem".into() };
    assert_eq!((secure.path.as_str(), secure.trust), ("/a/b", trust));
    for bad in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:/socket"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ] {
        assert!(options(&[endpoint, bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn headers_are_decoded() {
    let check = |text: &str, expected: Result<&[(&str, &str)], ()>| {
        let expected = expected.map(|pairs| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            pairs.collect::<Vec<_>>()
        });
        assert_eq!(pairs(text).map_err(|_| ()), expected, "{text}");
    };
    check("", Ok(&[]));
    check(
        "Authorization=Basic%20dXNlcjpwYXNz%3d%3D,api-key = a%2Cb",
        Ok(&[("Authorization", "Basic dXNlcjpwYXNz=="), ("api-key", "a,b")]),
    );
    check("a=%C3%BC", Ok(&[("a", "ü")]));
    check("a=100%,b=%2,c=%zz%41,d=%%41,e=+", {
        Ok(&[("a", "100%"), ("b", "%2"), ("c", "%zzA"), ("d", "%A"), ("e", "+")])
    });
    check("a=%FF", Ok(&[("a", "\u{fffd}")]));
    for bad in ["a=%0d%0ab:c", "a b=c", "=c", "a=%00"] {
        check(bad, Err(()));
    }
    let told = pairs("x-key=secret%0a").unwrap_err();
    assert!(told.contains("x-key") && !told.contains("secret"), "{told}");
}

type Received = mpsc::UnboundedReceiver<(String, serde_json::Value)>;

/// A receiver that answers these statuses, and then 200.
async fn receiver(statuses: Vec<u16>) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let (told, received) = mpsc::unbounded_channel();
    let statuses = Arc::new(std::sync::Mutex::new(statuses));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (told, statuses) = (told.clone(), statuses.clone());
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let (told, statuses) = (told.clone(), statuses.clone());
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    told.send((path, serde_json::from_slice(&body).unwrap())).unwrap();
                    let status = statuses.lock().unwrap().pop().unwrap_or(200);
                    hyper::Response::builder().status(status).body(Full::new(Bytes::new()))
                }
            });
            tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, received)
}

fn source() -> Source {
    Source::new(function("f"), "stream")
}

fn report(status: Status) -> Report {
    Report {
        request_id: RequestId::from(uuid::Uuid::new_v4()),
        duration: Duration::from_millis(20),
        init_duration: None,
        memory_mb: 128,
        max_memory_used_mb: 1,
        status,
        extension_overhead: None,
        trace: None,
        tenant_id: None,
    }
}

fn invoked(header: Option<&str>) -> Invoked {
    Invoked {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        qualifier: None,
        trace_header: header.map(Into::into),
        running: coldframe_core::observe::Concurrency::default(),
        context: Some(Arc::new(Context::of(header))),
    }
}

fn say(exporter: &Exporter, source: &Source, text: &str) {
    exporter.lines(source, &[New { at: 5, text }], &mut [], &[]);
}

async fn next(received: &mut Received) -> (String, serde_json::Value) {
    tokio::time::timeout(Duration::from_secs(20), received.recv()).await.unwrap().unwrap()
}

fn exporter(url: &str) -> Exporter {
    Exporter::start(options(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).unwrap().unwrap())
}

#[tokio::test]
async fn spans_lines_and_samples_arrive() {
    let (url, mut received) = receiver(Vec::new()).await;
    let (exporter, source) = (exporter(&url), source());
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let init = (SystemTime::UNIX_EPOCH, Duration::from_millis(500));
    exporter.invocation(&source, &invoked(Some(header)), &report(Status::Timeout), Some(init));
    let silent = invoked(Some("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0"));
    exporter.invocation(&source, &silent, &report(Status::Success), None);
    say(&exporter, &source, "hello\n");
    exporter.sample(&source.function.arn, Metric::Duration, 20.0);
    exporter.sample(&source.function.arn, Metric::Duration, 3.0);
    exporter.sample(&source.function.arn, Metric::Invocations, 1.0);
    exporter.flush().await;
    let (path, traces) = next(&mut received).await;
    assert_eq!(path, "/base/v1/traces");
    let spans = &traces["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().unwrap().len(), 2);
    assert_eq!(spans[0]["traceId"], "5759e988bd862e3fe1be46a994272793");
    assert_eq!(spans[0]["parentSpanId"], "53995c3f42cd8ad8");
    assert_eq!(spans[0]["endTimeUnixNano"], "1020000000");
    assert_eq!(spans[0]["status"], serde_json::json!({ "code": 2, "message": "timeout" }));
    assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
    let (path, logs) = next(&mut received).await;
    assert_eq!(path, "/base/v1/logs");
    let record = &logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
    assert_eq!(record["body"]["stringValue"], "hello");
    assert_eq!(record["timeUnixNano"], "5000000");
    let (path, metrics) = next(&mut received).await;
    assert_eq!(path, "/base/v1/metrics");
    let metrics = &metrics["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    assert_eq!(metrics[0]["name"], "aws.lambda.Invocations");
    assert_eq!(metrics[0]["sum"]["dataPoints"][0]["asDouble"], 1.0);
    let point = &metrics[1]["histogram"]["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&"2".into(), &23.0.into()));
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_and_a_refusing_one_is_not() {
    let (url, mut received) = receiver(vec![503]).await;
    let (exporter, source) = (exporter(&url), source());
    say(&exporter, &source, "again\n");
    exporter.flush().await;
    assert_eq!(next(&mut received).await, next(&mut received).await);
    let (url, mut received) = receiver(vec![400]).await;
    let exporter = self::exporter(&url);
    say(&exporter, &source, "refused\n");
    exporter.flush().await;
    next(&mut received).await;
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn lines_are_of_their_invocations_trace() {
    let (url, mut received) = receiver(Vec::new()).await;
    let (exporter, source) = (exporter(&url), source());
    let begins = |header: &str| Told::Invoked(Invoked { context: None, ..invoked(Some(header)) });
    let ends = || Told::Happened {
        at: SystemTime::UNIX_EPOCH,
        event: Event::Report(Box::new(report(Status::Success))),
    };
    let texts = ["init", "one", "REPORT one", "between", "two"];
    let lines = texts.map(|text| New { at: 5, text });
    let first = "Root=1-5759E988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let mut told = [begins(first), ends(), begins("Sampled=0")];
    exporter.lines(&source, &lines, &mut told, &[1, 3, 4]);
    let Told::Invoked(invoked) = &told[0] else { panic!("it began") };
    exporter.invocation(&source, invoked, &report(Status::Success), None);
    // The writer's next turn.
    exporter.lines(&source, &[New { at: 5, text: "REPORT two" }], &mut [ends()], &[1]);
    say(&exporter, &source, "after");
    exporter.flush().await;
    let span = next(&mut received).await.1["resourceSpans"][0]["scopeSpans"][0]["spans"][0].take();
    let (_, logs) = next(&mut received).await;
    let records = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    let shown = records.iter().map(|record| {
        let text = |key: &str| record.get(key).and_then(|value| value.as_str());
        let flags = record.get("flags").and_then(|value| value.as_u64());
        (record["body"]["stringValue"].as_str().unwrap(), text("traceId"), text("spanId"), flags)
    });
    let shown: Vec<_> = shown.collect();
    let none = (None, None, None);
    let one = (Some("5759e988bd862e3fe1be46a994272793"), span["spanId"].as_str(), Some(1));
    let two = (shown[4].1, shown[4].2, Some(0));
    assert!(two.0.is_some_and(|trace| trace.len() == 32) && two.0 != one.0);
    assert!(two.1.is_some_and(|span| span.len() == 16));
    let expected = [
        ("init", none),
        ("one", one),
        ("REPORT one", one),
        ("between", none),
        ("two", two),
        ("REPORT two", two),
        ("after", none),
    ];
    assert_eq!(shown, expected.map(|(text, (trace, span, flags))| (text, trace, span, flags)));
}

#[tokio::test]
async fn nobody_waits_for_a_receiver_that_takes_nothing() {
    // It listens and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (exporter, source) = (exporter(&url), source());
    for _ in 0..2 * WAITING_MAX {
        say(&exporter, &source, "x\n");
    }
    assert!(exporter.dropped.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes() {
    // It listens and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (exporter, source) = (exporter(&url), source());
    let (line, room) = ("x".repeat(256 << 10), exporter.room.clone());
    let fit = WAITING_BYTES_MAX / (line.len() + ITEM_BYTES);
    for _ in 0..100 {
        say(&exporter, &source, &line);
    }
    assert_eq!(exporter.dropped.load(Ordering::Relaxed), 100 - fit as u64);
    // Whoever sends holds the room of what is under way.
    let connected = listener.accept();
    tokio::time::timeout(Duration::from_secs(20), connected).await.unwrap().unwrap();
    assert!(room.available_permits() <= line.len() + ITEM_BYTES);
    say(&exporter, &source, &line);
    assert_eq!(exporter.dropped.load(Ordering::Relaxed), 101 - fit as u64);
}

#[tokio::test]
async fn batches_are_cut_by_bytes_and_by_number() {
    let (url, mut received) = receiver(Vec::new()).await;
    let (exporter, source) = (exporter(&url), source());
    let long = "x".repeat(200 << 10);
    let texts = std::iter::repeat_n(long.as_str(), 12).chain(std::iter::repeat_n("y", 1_100));
    for text in texts {
        say(&exporter, &source, text);
    }
    exporter.flush().await;
    let mut batches = Vec::new();
    while let Ok((_, logs)) = received.try_recv() {
        assert!(logs.to_string().len() < BATCH_BYTES_MAX + 4096);
        let records = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        batches.push(records.len());
    }
    assert_eq!(batches.iter().sum::<usize>(), 1_112);
    assert_eq!(batches[..2], [5, 5]);
    assert!(batches.iter().all(|records| *records <= BATCH_MAX), "{batches:?}");
    assert_eq!(exporter.room.available_permits(), WAITING_BYTES_MAX);
    assert_eq!(exporter.dropped.load(Ordering::Relaxed), 0);
}

#[test]
fn what_was_not_measured_for_a_day_is_forgotten() {
    let arn = crate::tests::function("f").arn.clone();
    let mut measured = Measured::new();
    let start = Instant::now();
    let day = crate::metrics::TOLD_FOR;
    for metric in [Metric::Invocations, Metric::Duration, Metric::ConcurrentExecutions] {
        let mut values = Histogram::new(SystemTime::now());
        values.add(1.0);
        values.last = start + if metric == Metric::Duration { day } else { Duration::ZERO };
        measured.insert((arn.clone(), metric), values);
    }
    forget(&mut measured, start + day - Duration::from_secs(1));
    assert_eq!(measured.len(), 2);
    forget(&mut measured, start + day);
    assert_eq!(measured.keys().map(|(_, metric)| *metric).collect::<Vec<_>>(), [Metric::Duration]);
    forget(&mut measured, start + day * 2);
    assert!(measured.is_empty());
}
