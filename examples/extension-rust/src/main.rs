//! An external extension by AWS's crate: prints each invocation, and what the platform tells of it.
//!
//! ```text
//! cargo build --release -p extension-rust
//! mkdir -p target/layer/extensions && cp target/release/extension-rust target/layer/extensions/
//! coldframe run examples/hello-python --layer target/layer
//! ```

use std::sync::Arc;

use lambda_extension::{
    Error, Extension, LambdaEvent, LambdaTelemetry, LambdaTelemetryRecord, LogBuffering, NextEvent,
    SharedService, service_fn,
};
use tokio::sync::watch;

/// Until the runtime is done with the invocation and that is known here, nothing is frozen.
async fn event(event: LambdaEvent, mut done: watch::Receiver<String>) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => {
            println!("[extension] invocation {}", invoke.request_id);
            done.wait_for(|request_id| *request_id == invoke.request_id).await?;
        }
        NextEvent::Shutdown(shutdown) => {
            println!("[extension] shutdown: {}", shutdown.shutdown_reason);
            // The crate would ask on, and be killed when the two seconds are over.
            std::process::exit(0);
        }
    }
    Ok(())
}

async fn telemetry(
    batch: Vec<LambdaTelemetry>,
    done: Arc<watch::Sender<String>>,
) -> Result<(), Error> {
    for event in batch {
        match event.record {
            LambdaTelemetryRecord::Function(line) => println!("[extension] function: {line}"),
            LambdaTelemetryRecord::PlatformRuntimeDone { request_id, .. } => {
                done.send_replace(request_id);
            }
            LambdaTelemetryRecord::PlatformReport { request_id, status, metrics, .. } => println!(
                "[extension] report: {request_id} {status:?} {} of {} MB",
                metrics.max_memory_used_mb, metrics.memory_size_mb
            ),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (done, known) = watch::channel(String::new());
    let done = Arc::new(done);
    Extension::new()
        .with_events_processor(service_fn(|next| event(next, known.clone())))
        // Not `extension`: what is printed here would come back, and be printed, without end.
        .with_telemetry_types(&["platform", "function"])
        .with_telemetry_buffering(LogBuffering { timeout_ms: 25, ..LogBuffering::default() })
        .with_telemetry_processor(SharedService::new(service_fn(move |batch| {
            telemetry(batch, done.clone())
        })))
        .run()
        .await
}
