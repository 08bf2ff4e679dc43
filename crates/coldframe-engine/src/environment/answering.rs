//! What callers, logs and subscribers are told (execution-environment.md §1.4, §5, §7).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use coldframe_core::error::{self, FunctionError};
use coldframe_core::event::{self, Span, Status, Trace};
use coldframe_core::invoke::{Answer, StreamEnd, StreamError};
use coldframe_core::limits::{RESPONSE_PAYLOAD_BYTES_MAX, STREAMED_RESPONSE_BYTES_MAX};
use coldframe_core::{LogFormat, LogLevel, Tracing, log};
use coldframe_runtime_api::Outcome;
use coldframe_runtime_api::telemetry::{self, Item};
use uuid::Uuid;

use super::{Environment, Living, Running};
use crate::output::{Record, Writer};
use crate::pool::Reply;

/// An answer that may have to wait for the end of the log.
pub(super) enum Made {
    Whole(Answer),
    Streamed(StreamEnd),
}

/// An error as the caller is told it: the payload, and the code at the end of a stream.
struct Failed {
    payload: Bytes,
    content_type: Option<String>,
    code: String,
}

impl Environment {
    pub(super) fn tell(&mut self, living: &Living, event: event::Event) {
        self.tell_of(living, SystemTime::now(), event);
    }

    /// Tells what happened at that time, after all that was told before.
    fn tell_of(&mut self, living: &Living, at: SystemTime, event: event::Event) {
        let line = match self.function.log_format {
            LogFormat::Text => log::line(&event),
            LogFormat::Json => {
                let level = log::system_level(&event, self.about.runtime_version.is_some());
                let least = self.function.system_log_level.unwrap_or(LogLevel::Info);
                let wanted = level >= least;
                wanted.then(|| telemetry::render(&self.about, at, &event)).flatten()
            }
        };
        if let Some(line) = line {
            self.print(at, &line);
        }
        if self.server.telemetry().is_listening() {
            self.server.telemetry().emit(at, Item::Platform(event.clone()));
        }
        self.log.listener.happened(at, &event);
        living.handle.happened(event);
    }

    fn print(&mut self, at: SystemTime, line: &str) {
        if let Some(tail) = &mut self.log.tail {
            tail.push(line);
        }
        self.log.listener.line(at, line);
    }

    /// Takes what processes have written by now.
    pub(super) fn read_output(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.read(|record| self.take_record(record));
        self.outputs = outputs;
    }

    /// The processes are gone: what they have written, to the last byte.
    pub(super) fn finish_output(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.finish(|record| self.take_record(record));
        self.outputs = outputs;
    }

    fn flush_output(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.flush(|record| self.take_record(record));
        self.outputs = outputs;
    }

    fn take_record(&mut self, record: Record) {
        if self.server.telemetry().is_listening() {
            let text = record.text.as_str().into();
            let item = match &record.writer {
                Writer::Function => Item::Function(text),
                Writer::Extension(_) => Item::Extension(text),
            };
            self.server.telemetry().emit(SystemTime::now(), item);
        }
        // The level is that of the application, not of extensions.
        if self.function.log_format == LogFormat::Json && record.writer == Writer::Function {
            let level = record.level.or_else(|| level_of(&record.text));
            let least = self.function.application_log_level.unwrap_or(LogLevel::Info);
            if level.is_some_and(|level| level < least) {
                return;
            }
        }
        self.print(SystemTime::now(), &record.text);
    }

    /// Tells what has been put off.
    pub(super) fn catch_up(&mut self, living: &Living) {
        if let Some((at, took)) = self.thaw_untold.take() {
            self.tell_of(living, at, event::Event::Thawed { took });
        }
        if std::mem::take(&mut self.start_untold) {
            self.tell_start(living, self.delivered.time);
        }
    }

    pub(super) fn tell_start(&mut self, living: &Living, at: SystemTime) {
        let Some(running) = &mut self.invocation else { return };
        if std::mem::replace(&mut running.told_start, true) {
            return;
        }
        let concurrency = self.slot.as_ref().map(|slot| slot.running(&self.function.version));
        let concurrency = concurrency.unwrap_or_default();
        self.log.listener.invoked(at, &running.invocation, &concurrency);
        let start = event::Event::Start {
            request_id: running.invocation.request_id,
            version: self.function.version.clone(),
            trace: running.trace(),
            tenant_id: running.invocation.tenant_id.clone(),
        };
        self.tell_of(living, at, start);
    }

    pub(super) fn tell_runtime_done(&mut self, living: &mut Living) {
        let now = Instant::now();
        self.settle_status();
        // What the runtime has printed comes before what is told of it.
        self.read_output();
        let Some(running) = &mut self.invocation else { return };
        // An extension that fails after the runtime was done doesn't undo that.
        if std::mem::replace(&mut running.told_done, true) {
            return;
        }
        let delivered = self.delivered;
        if self.failure.is_none() {
            running.runtime_done = Some((now, SystemTime::now()));
        }
        let time = |at: Instant| delivered.time + at.saturating_duration_since(delivered.at);
        let mut spans = Vec::new();
        if let Some(response) = running.response {
            let span = |name, from: Instant, to: Instant| Span {
                name,
                start: time(from),
                duration: to.saturating_duration_since(from),
            };
            spans.push(span("responseLatency", delivered.at, response.began));
            spans.push(span("responseDuration", response.began, response.ended));
            spans.push(span("runtimeOverhead", response.ended, now));
        }
        let done = event::RuntimeDone {
            request_id: running.invocation.request_id,
            status: running.status.clone(),
            duration: now.saturating_duration_since(delivered.at),
            produced_bytes: running.response.map_or(Some(0), |response| response.bytes),
            spans,
            trace: running.trace(),
            tenant_id: running.invocation.tenant_id.clone(),
        };
        self.tell(living, event::Event::RuntimeDone(Box::new(done)));
    }

    /// Makes the answer from what is known: the runtime's outcome, else the failure.
    pub(super) fn answer(&mut self) {
        let Some(running) = &mut self.invocation else { return };
        let request_id = running.invocation.request_id;
        let platform = |error: &FunctionError| Failed {
            payload: format!(
                "{{\"errorType\":{},\"errorMessage\":{}}}",
                json_text(&error.kind),
                json_text(&error.message_for(request_id))
            )
            .into(),
            content_type: Some("application/json".to_owned()),
            code: error.kind.clone(),
        };
        let outcome = running.completed.take().map(|completed| completed.outcome);
        let answer = match outcome {
            Some(Outcome::Response { payload, content_type }) => Ok((payload, content_type)),
            Some(Outcome::Error { payload, content_type, kind, trailing }) => {
                running.status = Status::Error(kind);
                let code = trailing.unwrap_or_else(|| "Unhandled".to_owned());
                Err(Failed { payload, content_type, code })
            }
            Some(Outcome::TooLarge) => {
                let limit = match running.reply {
                    Some(Reply::Streamed(_)) => STREAMED_RESPONSE_BYTES_MAX,
                    _ => RESPONSE_PAYLOAD_BYTES_MAX as u64,
                };
                let error = FunctionError::response_too_large(limit);
                running.status = Status::of(&error);
                Err(platform(&error))
            }
            Some(Outcome::Truncated) => {
                let error =
                    FunctionError::new("Runtime.TruncatedResponse", "the response ended early");
                running.status = Status::of(&error);
                Err(platform(&error))
            }
            Some(Outcome::InvalidMode) => {
                let kind = "Runtime.InvalidResponseModeHeader".to_owned();
                running.status = Status::Error(kind.clone());
                Err(Failed { payload: Bytes::new(), content_type: None, code: kind })
            }
            None => Err(match (&self.init.failure, &self.failure) {
                // The init inside this invocation failed and said why.
                (Some(failure), Some(error)) if error.kind != "Sandbox.Timedout" => {
                    running.status = Status::Error(failure.kind.clone());
                    Failed {
                        payload: failure.payload.clone(),
                        content_type: failure.content_type.clone(),
                        code: failure.kind.clone(),
                    }
                }
                (_, Some(error)) => platform(error),
                (_, None) => platform(&FunctionError::new("Sandbox.Failure", "unknown")),
            }),
        };
        let made = match &running.reply {
            Some(Reply::Streamed(_)) => Made::Streamed(StreamEnd {
                error: answer.err().map(|failed| StreamError {
                    code: failed.code,
                    details: String::from_utf8_lossy(&failed.payload).into_owned(),
                }),
                log_tail: None,
            }),
            _ => Made::Whole(match answer {
                Ok((payload, content_type)) => {
                    Answer { payload, content_type, function_error: false, log_tail: None }
                }
                Err(Failed { payload, content_type, .. }) => {
                    Answer { payload, content_type, function_error: true, log_tail: None }
                }
            }),
        };
        if running.invocation.wants_log_tail {
            running.answer = Some(made);
        } else if let Some(reply) = running.reply.take() {
            reply.give(made, None);
        }
    }

    /// A failure of the environment counts for more than what the runtime has said before.
    fn settle_status(&mut self) {
        if let (Some(running), Some(failure)) = (&mut self.invocation, &self.failure) {
            running.status = Status::of(failure);
        }
    }

    pub(super) fn tell_report(&mut self, living: &mut Living) {
        self.settle_init_failure();
        // One whose event could not be handed over.
        self.tell_start(living, SystemTime::now());
        self.read_output();
        self.flush_output();
        let Some(mut running) = self.invocation.take() else { return };
        let request_id = running.invocation.request_id;
        // JSON mode has neither line (§5.4).
        if self.function.log_format == LogFormat::Text {
            let now = SystemTime::now();
            if running.status == Status::Timeout {
                let time = telemetry::time(now);
                let timed_out = error::timeout_message(self.function.timeout);
                self.print(now, &format!("{time} {request_id} {timed_out}"));
                self.print(now, "");
            }
            self.print(now, &log::end_line(request_id));
        }
        let duration = match running.status {
            // Not what the timer's lateness adds.
            Status::Timeout => self.function.timeout,
            _ => running.began.elapsed(),
        };
        let used = self.sandbox.memory_peak_bytes().div_ceil(1024 * 1024);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        let memory_mb = self.function.memory.mb();
        let exhausted = running.status.error_type() == Some("Runtime.OutOfMemory");
        let extension_overhead = running.runtime_done.filter(|_| self.extensions_listen);
        let report = event::Report {
            request_id,
            duration,
            init_duration: self.init.unreported.take(),
            memory_mb,
            max_memory_used_mb: if exhausted { memory_mb } else { used.clamp(1, memory_mb) },
            status: running.status.clone(),
            extension_overhead: extension_overhead.map(|(at, start)| Span {
                name: "extensionOverhead",
                start,
                duration: at.elapsed(),
            }),
            trace: running.trace(),
            tenant_id: running.invocation.tenant_id.clone(),
        };
        self.tell(living, event::Event::Report(Box::new(report)));
        let tail = self.log.tail.take();
        if let (Some(made), Some(reply)) = (running.answer.take(), running.reply.take()) {
            reply.give(made, tail.map(|mut tail| tail.take().into()));
        }
    }

    fn settle_init_failure(&mut self) {
        // An invocation that ended in its own init has no `runtimeDone` that would have settled it.
        if let (Some(running), Some(failure)) = (&mut self.invocation, &self.failure)
            && running.status == Status::Success
        {
            running.status = Status::of(failure);
        }
    }
}

impl Running {
    /// The trace, if it is sampled.
    fn trace(&self) -> Option<Trace> {
        let header = self.invocation.trace_header.as_deref()?;
        Trace::sampled(header, self.downstream.as_deref().unwrap_or_default())
    }
}

impl Reply {
    /// Gives the answer. The caller may have gone.
    fn give(self, made: Made, log_tail: Option<Bytes>) {
        match (self, made) {
            (Self::Whole(reply), Made::Whole(answer)) => {
                let _ = reply.send(Ok(Answer { log_tail, ..answer }));
            }
            (Self::Streamed(stream), Made::Streamed(end)) => {
                stream.complete(StreamEnd { log_tail, ..end });
            }
            // An answer is made for its reply.
            (Self::Whole(_), Made::Streamed(_)) | (Self::Streamed(_), Made::Whole(_)) => {}
        }
    }
}

/// The level of a JSON record that has a timestamp (§5.4); one without a level counts as INFO.
fn level_of(text: &str) -> Option<LogLevel> {
    let (level, timestamp) = telemetry::level_and_timestamp(text)?;
    let level = level.map_or(Some(LogLevel::Info), |level| LogLevel::parse(&level));
    level.filter(|_| timestamp)
}

/// The downstream tracing header (§2.10).
pub(super) fn downstream(incoming: &str, mode: Tracing) -> String {
    if mode == Tracing::PassThrough {
        return incoming.to_owned();
    }
    let field = |name| event::field(incoming, name);
    let parent = Uuid::new_v4().simple().to_string();
    // What has no root is no trace that could be continued.
    let root = field("Root").map_or_else(new_root, str::to_owned);
    let mut header =
        format!("Root={root};Parent={};Sampled={}", &parent[..16], field("Sampled").unwrap_or("0"));
    if let Some(lineage) = field("Lineage") {
        header.push_str(";Lineage=");
        header.push_str(lineage);
    }
    header
}

/// The root of a new trace: its version, the time, 96 random bits.
fn new_root() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("1-{:08x}-{}", since.as_secs(), &Uuid::new_v4().simple().to_string()[..24])
}

/// A JSON string.
fn json_text(text: &str) -> String {
    use std::fmt::Write;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
