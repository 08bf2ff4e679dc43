//! Streams as many lines as the event asks for. Its client gets each as it is written:
//!
//! ```text
//! cargo build --release -p stream-rust
//! mkdir -p target/stream && cp target/release/stream-rust target/stream/bootstrap
//! coldframe run target/stream --event '{"lines": 3}'
//! ```
//! The lines come behind AWS's prelude for HTTP: its JSON, then eight zero bytes.

use lambda_runtime::streaming::{Body, Response, channel};
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, service_fn};
use serde_json::Value;

async fn stream(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let lines = event.payload["lines"].as_u64().unwrap_or(3);
    let fails = event.payload["fail"] == true;
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        for line in 1..=lines {
            // Waits while the client doesn't read; an error says that nobody will.
            if sender.send_data(format!("line {line}\n").into()).await.is_err() {
                return;
            }
        }
        if fails {
            sender.abort();
        }
    });
    let mut metadata_prelude = MetadataPrelude::default();
    metadata_prelude.headers.insert("content-type", "text/plain".parse()?);
    Ok(Response { metadata_prelude, stream: body })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(stream)).await
}
