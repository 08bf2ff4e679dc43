//! The extensions of `bench-extensions`, one program under two names: `invoked` is told of every
//! invocation, `subscriber` gets platform and function records over HTTP. Both do nothing with it.

use std::io;
use std::net::TcpListener;

use coldframe_benches::wire::Connection;

/// Where `subscriber` listens; `sandbox.localdomain` is this environment.
const DESTINATION: &str = "sandbox.localdomain:8080";

/// Buffering as AWS's samples have it.
const SUBSCRIPTION: &str = r#"{"schemaVersion":"2022-12-13","types":["platform","function"],"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":100},"destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080"}}"#;

fn main() -> io::Result<()> {
    let own = std::env::args().next().unwrap_or_default();
    let name = own.rsplit('/').next().unwrap_or_default();
    let subscribes = name == "subscriber";
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let address = api.parse().map_err(io::Error::other)?;
    let mut connection = Connection::open(address)?;
    let events = if subscribes { r#"{"events":[]}"# } else { r#"{"events":["INVOKE"]}"# };
    let header = format!("Lambda-Extension-Name: {name}");
    let register = request("POST", "/2020-01-01/extension/register", &api, &header, events);
    expect_ok(&mut connection, &register)?;
    let id = connection.header("lambda-extension-identifier").unwrap_or_default();
    let header = format!("Lambda-Extension-Identifier: {id}");
    if subscribes {
        let listener = TcpListener::bind(DESTINATION)?;
        std::thread::spawn(move || {
            for delivery in listener.incoming().flatten() {
                // The platform may keep the connection or not.
                let _ = take(delivery);
            }
        });
        let subscribe = request("PUT", "/2022-07-01/telemetry", &api, &header, SUBSCRIPTION);
        expect_ok(&mut connection, &subscribe)?;
    }
    let next = request("GET", "/2020-01-01/extension/event/next", &api, &header, "");
    while expect_ok(&mut connection, &next).is_ok() {}
    Ok(())
}

fn take(delivery: std::net::TcpStream) -> io::Result<()> {
    let mut delivery = Connection::of(delivery)?;
    while delivery.receive()? {
        delivery.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
    Ok(())
}

fn request(method: &str, path: &str, api: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {api}\r\n{header}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn expect_ok(connection: &mut Connection, request: &[u8]) -> io::Result<()> {
    match connection.call(request)? {
        200 => Ok(()),
        status => Err(io::Error::other(format!("the Extensions API answers {status}"))),
    }
}
