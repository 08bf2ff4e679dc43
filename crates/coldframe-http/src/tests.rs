use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server sees of a request.
type Seen = (Method, Uri, HeaderMap, Bytes);

/// All that hyper sees in these bytes.
async fn by_hyper(bytes: &[u8]) -> Vec<Seen> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let body = body.to_bytes();
                seen.lock().unwrap().push((parts.method, parts.uri, parts.headers, body));
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let (mut client, server) = tokio::io::duplex(1 << 16);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let served =
        http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let _ = served.await;
    seen.lock().unwrap().clone()
}

/// What is taken, hyper takes, and sees the same in it. Whether it was taken.
async fn check(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some(request) = Request::of(bytes) else { return false };
    let Some(head) = request.head() else { return false };
    let (parts, ()) = head.into_parts();
    let body = Bytes::copy_from_slice(request.body);
    let ours = (parts.method, parts.uri, parts.headers, body);
    let seen = by_hyper(bytes).await;
    assert_eq!(seen, [ours], "{text:?}");
    let headers = &seen[0].2;
    for name in headers.keys() {
        assert_eq!(request.header(name.as_str()), Some(headers[name].as_bytes()), "{name}");
    }
    true
}

fn with(headers: &str, body: &str) -> String {
    format!("POST /a/b HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn what_clients_send_is_taken() {
    for request in [
        with("Content-Length: 2\r\n", "{}"),
        with("content-length:2\r\n", "{}"),
        with("CONTENT-LENGTH: \t2 \r\n", "{}"),
        with("Content-Length: 0\r\n", ""),
        with("Content-Length: 002\r\n", "{}"),
        with("", ""),
        with("Connection: keep-alive\r\nContent-Length: 2\r\n", "{}"),
        with("connection: Keep-Alive\r\n", ""),
        with("X: 1\r\nx: 2\r\nX-Empty:\r\n", ""),
        with("User-Agent: \u{e4}\r\n", ""),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "\r\n\r\nGET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\nHost: x\n\n".to_owned(),
        "GET http://x:1/a HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        assert!(check(request.as_bytes()).await, "{request:?}");
    }
}

#[tokio::test]
async fn whatever_is_odd_is_hypers() {
    let many = "A: b\r\n".repeat(HEADERS_MAX);
    for request in [
        // A part of one, and more than one.
        with("Content-Length: 3\r\n", "{}"),
        with("Content-Length: 1\r\n", "{}"),
        with("", "{}"),
        with("Content-Length: 2\r\n", "{}GET / HTTP/1.1\r\n\r\n"),
        // Whose length is told twice, or oddly.
        with("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        with("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        with("Content-Length: 2, 2\r\n", "{}"),
        with("Content-Length: +2\r\n", "{}"),
        with("Content-Length: -2\r\n", "{}"),
        with("Content-Length: 0x2\r\n", "{}"),
        with("Content-Length:\r\n", ""),
        with("Content-Length: 99999999999999999999\r\n", "{}"),
        with("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "{}"),
        with("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        with("tRANSFER-eNCODING: identity\r\nContent-Length: 2\r\n", "{}"),
        with("Transfer-Encoding : chunked\r\nContent-Length: 2\r\n", "{}"),
        with("Content-Length : 2\r\n", "{}"),
        with("Content-Length: 2\r\n folded\r\n", "{}"),
        // What becomes of the connection.
        with("Connection: close\r\n", ""),
        with("Connection: keep-alive, close\r\n", ""),
        with("Connection: keep-alive\r\nConnection: close\r\n", ""),
        with("Connection: upgrade\r\nUpgrade: h2c\r\n", ""),
        with("Upgrade: websocket\r\n", ""),
        with("Expect: 100-continue\r\nContent-Length: 2\r\n", "{}"),
        with("TE: trailers\r\n", ""),
        with("Trailer: x\r\n", ""),
        with(&many, ""),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nA b: c\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nA: \0\r\n\r\n".to_owned(),
        "GET /\u{e4} /b HTTP/1.1\r\n\r\n".to_owned(),
        String::new(),
    ] {
        assert!(!check(request.as_bytes()).await, "{request:?}");
    }
    // Each beginning of a request is a part of one.
    let whole = with("Content-Length: 2\r\n", "{}");
    for end in 0..whole.len() {
        assert!(Request::of(&whole.as_bytes()[..end]).is_none(), "{end}");
    }
}

/// Requests with bytes of others in them: whatever of it is taken, hyper sees the same.
#[tokio::test]
async fn nothing_is_taken_that_hyper_sees_otherwise() {
    const PIECES: [&str; 18] = [
        "\r\n",
        "\n",
        "\r",
        " ",
        "\t",
        ":",
        "\0",
        "\u{e4}",
        "Content-Length: 2\r\n",
        "0",
        "1",
        ",",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "HTTP/1.1",
        "%",
        "#a",
        "A:b\r\n",
    ];
    let whole = with("Content-Length: 2\r\nAccept: a\r\n", "{}");
    let mut taken = 0;
    for piece in PIECES {
        for at in 0..=whole.len() {
            for replaced in [0, 1] {
                let mut bytes = whole.clone().into_bytes();
                let end = (at + replaced).min(bytes.len());
                bytes.splice(at..end, piece.bytes());
                taken += usize::from(check(&bytes).await);
            }
        }
    }
    assert!(taken > 200, "only {taken} were taken");
}

/// Both ends of a connection.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

/// The bytes but for the date's digits.
fn undated(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (before, rest) = text.split_once("ate: ").unwrap();
    let (date, after) = rest.split_once("\r\n").unwrap();
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    format!("{before}{after}")
}

#[tokio::test]
async fn messages_are_as_hyper_sends_them() {
    for (status, body, case) in [
        (200, "{}", Case::Lower),
        (202, "{\"status\":\"OK\"}\n", Case::Title),
        (204, "", Case::Lower),
        (404, "", Case::Title),
        (599, "x", Case::Lower),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("x-amzn-requestid", HeaderValue::from_static("1"));
        headers.append("x-amzn-requestid", HeaderValue::from_bytes(b"\xe4\t2").unwrap());
        let body = Bytes::from_static(body.as_bytes());
        let (mut client, server) = connection().await;
        let service = service_fn(|_: hyper::Request<Incoming>| {
            let mut response = Response::new(Full::new(body.clone()));
            *response.status_mut() = status;
            *response.headers_mut() = headers.clone();
            async move { Ok::<_, Infallible>(response) }
        });
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut hyper = http1::Builder::new();
        hyper.half_close(true).title_case_headers(case == Case::Title);
        hyper.serve_connection(TokioIo::new(server), service).await.unwrap();
        let mut wanted = Vec::new();
        client.read_to_end(&mut wanted).await.unwrap();

        let (mut client, server) = connection().await;
        let (_from, to) = server.into_split();
        Message::of(status, &headers, body.clone(), case).send(&to, 0).await.unwrap();
        drop(to);
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        let lossy = |bytes: &[u8]| undated(&bytes.iter().map(|b| b & 0x7f).collect::<Vec<_>>());
        assert_eq!(lossy(&sent), lossy(&wanted), "{status} {case:?}");
    }
}

#[test]
fn values_are_those_that_http_can_carry() {
    for character in (0..0x250).filter_map(char::from_u32) {
        let text = format!("a{character}b");
        assert_eq!(is_value(&text), HeaderValue::from_str(&text).is_ok(), "{character:?}");
    }
}

/// A message that no socket takes at once, from any byte on.
#[tokio::test]
async fn what_a_slow_reader_leaves_is_sent_later() {
    let body = Bytes::from(vec![b'x'; 8 << 20]);
    let message = Message::of(StatusCode::OK, &HeaderMap::new(), body, Case::Lower);
    let length = message.head.len() + message.body.len();
    let (mut client, server) = connection().await;
    let (_from, to) = server.into_split();
    to.writable().await.unwrap();
    let (begun, is_all) = message.try_send(&to, 0);
    assert!(begun > message.head.len() && !is_all, "{begun}");
    let sent = tokio::spawn(async move { message.send(&to, begun).await });
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.unwrap();
    sent.await.unwrap().unwrap();
    assert_eq!(read.len(), length);

    for from in 0..100 {
        // One that is copied, and one that isn't.
        let body = Bytes::from(vec![b'x'; if from % 2 == 0 { 5 } else { 5000 }]);
        let message = Message::of(StatusCode::OK, &HeaderMap::new(), body, Case::Lower);
        let all = [&message.head[..], &message.body[..]].concat();
        let (mut client, server) = connection().await;
        let (_from, to) = server.into_split();
        message.send(&to, from).await.unwrap();
        drop(to);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, all.get(from..).unwrap_or_default());
    }
}

#[tokio::test]
async fn a_closed_connection_is_seen_and_one_that_sends_is_left_alone() {
    let (client, server) = connection().await;
    let (mut from, _to) = server.into_split();
    drop(client);
    closed(&mut from).await;

    let (mut client, server) = connection().await;
    let (mut from, _to) = server.into_split();
    client.write_all(b"x").await.unwrap();
    drop(client);
    from.readable().await.unwrap();
    let seen = tokio::time::timeout(std::time::Duration::from_millis(20), closed(&mut from));
    assert!(seen.await.is_err(), "what was sent is still to be read");
    let mut read = Vec::new();
    from.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"x");
}
