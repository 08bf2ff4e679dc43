//! A hub with real listeners on loopback. Time stands still but for what is waited for.

use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::subscription::{Buffering, Destination};
use super::*;
use crate::testing::{Loopback, about};

struct Fixture {
    hub: Hub,
    dropped: std_mpsc::Receiver<Dropped>,
}

fn fixture() -> Fixture {
    let (told, dropped) = std_mpsc::channel();
    let note = move |loss| told.send(loss).unwrap_or_default();
    let hub = Hub::new(about(), Arc::new(Loopback), note);
    hub.open();
    Fixture { hub, dropped }
}

fn subscription(types: &[Kind], destination: Destination) -> Subscription {
    Subscription {
        api: Api::Telemetry,
        schema: "2022-12-13".into(),
        types: types.to_vec(),
        destination,
        buffering: Buffering {
            items_max: 1000,
            bytes_max: 262_144,
            timeout: Duration::from_millis(100),
        },
    }
}

fn http(address: SocketAddr) -> Destination {
    let host = "sandbox.localdomain".to_owned();
    Destination::Http { host, port: address.port(), path: "/a/path?x".into(), put: false }
}

/// What a subscriber received: the request line and the batch.
type Received = (String, Vec<Value>);

/// A subscriber over HTTP that answers with these statuses, then with 200.
async fn subscriber(statuses: &[u16]) -> (SocketAddr, mpsc::UnboundedReceiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut statuses = statuses.to_vec();
    statuses.reverse();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            loop {
                let (mut first, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        break;
                    }
                    if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                        length = text.trim().parse().unwrap();
                    }
                    if first.is_empty() {
                        first = line.trim().to_owned();
                    }
                    if line == "\r\n" {
                        break;
                    }
                }
                if first.is_empty() {
                    break;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                let status = statuses.pop().unwrap_or(200);
                let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
                stream.get_mut().write_all(reply.as_bytes()).await.unwrap();
                let _ = sender.send((first, serde_json::from_slice(&body).unwrap()));
            }
        }
    });
    (address, receiver)
}

fn line(text: &str) -> Item {
    Item::Function(text.into())
}

fn texts(batch: &[Value]) -> Vec<&str> {
    batch.iter().map(|record| record["record"].as_str().unwrap_or("object")).collect()
}

async fn next(received: &mut mpsc::UnboundedReceiver<Received>) -> Received {
    tokio::time::timeout(Duration::from_secs(600), received.recv()).await.unwrap().unwrap()
}

fn subscribe(hub: &Hub, subscription: Subscription) {
    hub.subscribe(Uuid::new_v4(), "ext", subscription).unwrap().unwrap();
}

// Spec: execution-environment.md §4.2 and T2, T3, I16: early records come first, the path is kept.
#[tokio::test(start_paused = true)]
async fn ee_t2_t3_over_http_with_what_came_before() {
    let Fixture { hub, dropped } = fixture();
    let (address, mut received) = subscriber(&[]).await;
    let at = SystemTime::now();
    hub.emit(at, Item::Platform(Event::InitStart { phase: event::InitPhase::Init }));
    hub.emit(at, line("early"));
    hub.emit(at, Item::Extension("not wanted".into()));
    subscribe(&hub, subscription(&[Kind::Platform, Kind::Function], http(address)));
    hub.emit(at, line("late"));
    let (request, batch) = next(&mut received).await;
    assert_eq!(request, "POST /a/path?x HTTP/1.1");
    assert_eq!(batch[0]["type"], "platform.initStart");
    assert_eq!(texts(&batch), ["object", "early", "late"]);
    assert!(dropped.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn ee_t2_over_tcp_a_record_a_line() {
    let Fixture { hub, .. } = fixture();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    subscribe(&hub, subscription(&[Kind::Function], Destination::Tcp { port }));
    hub.emit(SystemTime::now(), line("a\nb"));
    hub.emit(SystemTime::now(), line(r#"{"c":1}"#));
    let (stream, _) = listener.accept().await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut record = async || -> Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    assert_eq!(record().await["record"], "a\nb");
    assert_eq!(record().await["record"]["c"], 1);
    // The same connection, later.
    hub.emit(SystemTime::now(), line("d"));
    assert_eq!(record().await["record"], "d");
}

// Spec: execution-environment.md §4.2 and T4.
#[tokio::test(start_paused = true)]
async fn ee_t4_batches_by_count_bytes_and_time() {
    let Fixture { hub, .. } = fixture();
    let (address, mut received) = subscriber(&[]).await;
    let mut wanted = subscription(&[Kind::Function], http(address));
    wanted.buffering.timeout = Duration::from_secs(30);
    subscribe(&hub, wanted);
    let began = tokio::time::Instant::now();
    for _ in 0..1000 {
        hub.emit(SystemTime::now(), line("x"));
    }
    assert_eq!(next(&mut received).await.1.len(), 1000);
    let long = "y".repeat(100_000);
    for _ in 0..3 {
        hub.emit(SystemTime::now(), line(&long));
    }
    // Two fit 262,144 bytes.
    assert_eq!(next(&mut received).await.1.len(), 2);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(next(&mut received).await.1.len(), 1);
    assert!(began.elapsed() >= Duration::from_secs(30));
}

// Spec: execution-environment.md §4.2, §11.2 and T6.
#[tokio::test(start_paused = true)]
async fn ee_t6_three_retries_then_the_loss_is_counted() {
    let Fixture { hub, dropped } = fixture();
    let (address, mut received) = subscriber(&[500, 500, 500, 500]).await;
    subscribe(&hub, subscription(&[Kind::Function], http(address)));
    hub.emit(SystemTime::now(), line("one"));
    hub.emit(SystemTime::now(), line("two"));
    for _ in 0..4 {
        assert_eq!(texts(&next(&mut received).await.1), ["one", "two"]);
    }
    hub.emit(SystemTime::now(), line("three"));
    assert_eq!(texts(&next(&mut received).await.1), ["three"]);
    let loss = dropped.try_recv().unwrap();
    assert_eq!(loss.records, 2);
    assert!(loss.bytes > 100 && loss.bytes < 300, "{}", loss.bytes);
    assert!(dropped.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn ee_t6_nobody_listens_or_nobody_answers() {
    // Nobody listens.
    let Fixture { hub, dropped } = fixture();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    subscribe(&hub, subscription(&[Kind::Function, Kind::Platform], http(address)));
    hub.emit(SystemTime::now(), line("lost"));
    hub.drain(Duration::from_secs(60)).await;
    assert_eq!(dropped.try_recv().map(|loss| loss.records), Ok(1));
    // That records were lost is lost as well, and not told without end.
    let told = Event::LogsDropped { reason: "", records: 1, bytes: 1 };
    hub.emit(SystemTime::now(), Item::Platform(told));
    hub.drain(Duration::from_secs(60)).await;
    assert!(dropped.try_recv().is_err());

    // Accepted by the kernel, and never answered.
    let Fixture { hub, dropped } = fixture();
    let stalled = TcpListener::bind("127.0.0.1:0").await.unwrap();
    subscribe(&hub, subscription(&[Kind::Function], http(stalled.local_addr().unwrap())));
    hub.emit(SystemTime::now(), line("lost"));
    hub.drain(Duration::from_secs(60)).await;
    assert_eq!(dropped.try_recv().map(|loss| loss.records), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_stalled_subscriber_cannot_take_is_bounded_and_counted() {
    let Fixture { hub, dropped } = fixture();
    let stalled = TcpListener::bind("127.0.0.1:0").await.unwrap();
    subscribe(&hub, subscription(&[Kind::Function], http(stalled.local_addr().unwrap())));
    let long = "z".repeat(100_000);
    for _ in 0..100 {
        hub.emit(SystemTime::now(), line(&long));
    }
    hub.drain(Duration::from_secs(3600)).await;
    let lost: u64 = dropped.try_iter().map(|loss| loss.records).sum();
    assert_eq!(lost, 100);
}

// Spec: execution-environment.md §1.5 and T11.
#[tokio::test(start_paused = true)]
async fn ee_t11_nothing_is_delivered_while_paused() {
    let Fixture { hub, dropped } = fixture();
    let (address, mut received) = subscriber(&[]).await;
    subscribe(&hub, subscription(&[Kind::Function], http(address)));
    hub.pause().await;
    hub.emit(SystemTime::now(), line("kept"));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(received.try_recv().is_err());
    hub.resume();
    assert_eq!(texts(&next(&mut received).await.1), ["kept"]);
    assert!(dropped.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_was_frozen_goes_on_after_the_thaw() {
    let Fixture { hub, dropped } = fixture();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    subscribe(&hub, subscription(&[Kind::Function], http(listener.local_addr().unwrap())));
    hub.emit(SystemTime::now(), line("slow"));
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
    hub.pause().await;
    // Far beyond what an attempt may take, had it not been frozen.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    hub.resume();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    hub.drain(Duration::from_secs(60)).await;
    assert!(dropped.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hub_without_listeners_keeps_nothing() {
    let Fixture { hub, .. } = fixture();
    hub.emit(SystemTime::now(), line("early"));
    hub.close();
    assert!(!hub.is_listening());
    let (address, _received) = subscriber(&[]).await;
    let late = hub.subscribe(Uuid::new_v4(), "ext", subscription(&[Kind::Function], http(address)));
    assert_eq!(late.err(), Some(Refused::Closed));
    // A new generation begins anew.
    hub.open();
    assert!(hub.is_listening());
    let long = "x".repeat(EARLY_BYTES_MAX);
    hub.emit(SystemTime::now(), line(&long));
    hub.emit(SystemTime::now(), line(&long));
    let inner = hub.shared.lock();
    assert_eq!((inner.early.len(), inner.early_dropped.0), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_hub() {
    let Fixture { hub, .. } = fixture();
    let stalled = TcpListener::bind("127.0.0.1:0").await.unwrap();
    subscribe(&hub, subscription(&[Kind::Function], http(stalled.local_addr().unwrap())));
    hub.emit(SystemTime::now(), line("x"));
    let shared = Arc::downgrade(&hub.shared);
    drop(hub);
    while shared.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}
