//! Logs, metrics and traces: kept, asked for, and sent on.
//!
//! ```text
//! engine ─► Listener: a buffer of each environment ─► the writer, one thread ─► log groups on disk
//!                                                                          ├─► metrics on disk
//!                                                                          └─► OTLP
//! ```
//! **Invariant:** the way of an invocation ends at its environment's buffer. Whatever the disk or a
//! receiver does, no invocation waits for it. Who asks, and over which protocol, is the binary's
//! matter; only the exporter speaks HTTP, as a client.

mod cloudwatch;
mod error;
mod listener;
mod log;
mod logs_api;
mod metrics;
mod otlp;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use coldframe_core::observe::{Gauge, Listener, Measured, Observer};
use coldframe_core::{AccountId, EnvironmentId, FunctionVersion};
use tokio::sync::broadcast;

use self::listener::{Ear, Queue, Source};
use self::log::{Direction, Key, Logs, Query, lock};
use self::metrics::Metrics;
use self::otlp::Exporter;

pub use self::cloudwatch::Protocol;
pub use self::error::Error;
pub use self::log::Line;
pub use self::otlp::OtlpOptions;

/// Lines given to who begins to follow.
const TAIL_LINES_MAX: usize = 10_000;

/// How long the end of the service waits for a receiver of telemetry.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);

/// Where and how much.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where log groups are kept.
    pub logs: PathBuf,
    /// Where metrics are kept.
    pub metrics: PathBuf,
    /// Of all log groups together, bytes. The oldest segments go first.
    pub stored_bytes_max: u64,
    /// Where telemetry is sent on to.
    pub otlp: Option<OtlpOptions>,
}

/// Keeps what environments say and do. Cheap to clone.
#[derive(Clone)]
pub struct Observe {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

pub(crate) struct Shared {
    logs: Logs,
    metrics: Metrics,
    queue: Arc<Queue>,
}

impl Observe {
    /// Starts the writer, and what sends on. What is on the disk is found by the writer, not by the
    /// caller. Needs a runtime.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            logs: Logs::new(options.logs, options.stored_bytes_max),
            metrics: Metrics::new(options.metrics, options.otlp.map(Exporter::start)),
            queue: Arc::default(),
        });
        let its = shared.clone();
        let builder = std::thread::Builder::new().name("coldframe-logs".to_owned());
        let writer = builder.spawn(move || writer::run(&its))?;
        shared.queue.set_writer(writer.thread().clone());
        Ok(Self { shared, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Resolves when all that has been said by now can be read.
    pub async fn settle(&self) {
        // The writer has ended: nothing more is coming.
        let _ = self.shared.queue.barrier().await;
    }

    /// Writes and sends what waits, and ends the writer.
    pub async fn close(&self) {
        self.shared.queue.stop();
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        if let Some(exporter) = self.shared.metrics.exporter() {
            // A receiver that doesn't answer must not keep the service.
            let _ = tokio::time::timeout(CLOSING_LIMIT, exporter.flush()).await;
        }
    }

    /// The newest lines of a log group, at most 1 MB, and every later line: of the streams that
    /// `wanted` takes by their names. Takes the disk's time.
    pub fn follow(
        &self,
        account: &AccountId,
        region: &str,
        group: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let (account, region, name) = (account.clone(), region.into(), group.into());
        let (kept, following) = self.shared.logs.follow(&Key { account, region, name }, wanted);
        let query = Query {
            from: 0,
            until: u64::MAX,
            position: None,
            direction: Direction::Backward,
            limit: TAIL_LINES_MAX,
            matches: &|_| true,
        };
        let found = kept.map(|snapshot| snapshot.page(&query).events).unwrap_or_default();
        let lines = found.into_iter().rev().map(|found| Line {
            at: found.at,
            stream: found.stream,
            text: found.text.into(),
        });
        (lines.collect(), following)
    }

    /// All metrics in Prometheus's text format; `gauges` are those that only their owner knows.
    pub fn prometheus(&self, gauges: &[Gauge]) -> String {
        self.shared.metrics.prometheus(gauges, self.shared.logs.stored_bytes())
    }
}

impl Observer for Observe {
    fn environment(
        &self,
        function: &Arc<FunctionVersion>,
        _: EnvironmentId,
        log_stream: &str,
    ) -> Box<dyn Listener> {
        let source = Source::new(function.clone(), log_stream);
        Box::new(Ear::new(Arc::new(source), self.shared.queue.clone()))
    }

    fn measured(&self, measured: Measured) {
        self.shared.queue.measure(measured);
    }
}

#[cfg(test)]
mod tests;
