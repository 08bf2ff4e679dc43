//! Greets, and counts the invocations of its execution environment. The program is the runtime:
//! packed under the name `bootstrap`, it runs on `provided.al2023`.
//!
//! ```text
//! cargo build --release -p hello-rust
//! mkdir -p target/hello && cp target/release/hello-rust target/hello/bootstrap
//! coldframe run target/hello
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

async fn hello(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    if payload["fail"] == true {
        return Err("asked to fail".into());
    }
    let invocations = INVOCATIONS.fetch_add(1, Ordering::Relaxed) + 1;
    println!("invocation {invocations} of this environment");
    Ok(json!({
        "greeting": format!("Hello, {}!", payload["name"].as_str().unwrap_or("world")),
        "invocations": invocations,
        "pid": std::process::id(),
        "requestId": context.request_id,
        "functionArn": context.invoked_function_arn,
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(hello)).await
}
