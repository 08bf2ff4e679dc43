//! What can be seen of an environment from outside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use coldframe_core::event::{Event, Status};
use coldframe_core::identity::Session;
use coldframe_core::lifecycle::Phase;
use coldframe_core::{EnvironmentId, FunctionVersion};
use coldframe_runtime_api::ExtensionView;
use tokio::sync::mpsc;

use crate::credentials::Issued;
use crate::environment::Command;
use crate::lock;

/// Moments kept of one environment's life; older ones are forgotten.
const MOMENTS_MAX: usize = 256;

/// One environment, as it stands.
#[derive(Clone, Debug)]
pub struct EnvironmentView {
    pub id: EnvironmentId,
    pub function: Arc<FunctionVersion>,
    pub phase: Phase,
    pub created: SystemTime,
    pub last_used: SystemTime,
    pub invocations: u64,
    pub generation: u64,
    pub log_stream: String,
    /// Pid of the runtime as seen inside.
    pub runtime_pid: Option<u32>,
    pub max_memory_used_mb: u32,
    /// As they stood when the last init ended.
    pub extensions: Vec<ExtensionView>,
    /// What the runtime calls itself.
    pub runtime_release: Option<String>,
    pub timeline: Vec<Moment>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Moment {
    pub at: SystemTime,
    /// Since the environment began to be made.
    pub after: Duration,
    pub event: Event,
}

/// The pool's and the viewer's end of an environment.
pub(crate) struct Handle {
    id: EnvironmentId,
    function: Arc<FunctionVersion>,
    created: (SystemTime, Instant),
    commands: mpsc::UnboundedSender<Command>,
    /// Good as long as this is.
    credentials: Issued,
    released: AtomicBool,
    /// Made ahead of any invocation.
    made_ahead: bool,
    /// Kept however long nobody calls; taken back when fewer are provisioned.
    kept: AtomicBool,
    seen: Mutex<Seen>,
}

struct Seen {
    phase: Phase,
    last_used: SystemTime,
    invocations: u64,
    generation: u64,
    log_stream: String,
    runtime_pid: Option<u32>,
    max_memory_used_mb: u32,
    extensions: Vec<ExtensionView>,
    runtime_release: Option<String>,
    /// Whether the last init succeeded.
    initialised: Option<bool>,
    timeline: VecDeque<Moment>,
}

impl Handle {
    pub(crate) fn new(
        id: EnvironmentId,
        function: Arc<FunctionVersion>,
        log_stream: String,
        commands: mpsc::UnboundedSender<Command>,
        provisioned: bool,
        credentials: Issued,
    ) -> Self {
        let now = SystemTime::now();
        let seen = Seen {
            phase: Phase::Created,
            last_used: now,
            invocations: 0,
            generation: 0,
            log_stream,
            runtime_pid: None,
            max_memory_used_mb: 0,
            extensions: Vec::new(),
            runtime_release: None,
            initialised: None,
            timeline: VecDeque::new(),
        };
        Self {
            id,
            function,
            created: (now, Instant::now()),
            commands,
            credentials,
            released: AtomicBool::new(false),
            made_ahead: provisioned,
            kept: AtomicBool::new(provisioned),
            seen: Mutex::new(seen),
        }
    }

    pub(crate) fn credentials(&self) -> &Session {
        self.credentials.session()
    }

    /// Gives the command back if the environment has ended.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.send(command).map_err(|error| error.0)
    }

    /// Its memory counts as free from now on; `true` the first time only.
    pub(crate) fn release(&self) -> bool {
        !self.released.swap(true, Ordering::SeqCst)
    }

    /// `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub(crate) fn initialization_type(&self) -> &'static str {
        if self.made_ahead { "provisioned-concurrency" } else { "on-demand" }
    }

    /// It is one of those that its version has provisioned.
    pub(crate) fn is_provisioned(&self) -> bool {
        self.kept.load(Ordering::SeqCst)
    }

    /// It is one like others from now on.
    pub(crate) fn let_go(&self) {
        self.kept.store(false, Ordering::SeqCst);
    }

    /// Whether the last init succeeded; `None` before one ended.
    pub(crate) fn initialised(&self) -> Option<bool> {
        lock(&self.seen).initialised
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        lock(&self.seen).phase = phase;
    }

    pub(crate) fn set_runtime(&self, pid: Option<u32>, generation: u64) {
        let mut seen = lock(&self.seen);
        (seen.runtime_pid, seen.generation) = (pid, generation);
    }

    pub(crate) fn set_init(&self, extensions: Vec<ExtensionView>, release: Option<String>) {
        let mut seen = lock(&self.seen);
        (seen.extensions, seen.runtime_release) = (extensions, release);
    }

    pub(crate) fn happened(&self, event: Event) {
        let (at, after) = (SystemTime::now(), self.created.1.elapsed());
        let mut seen = lock(&self.seen);
        match &event {
            Event::Start { .. } => {
                seen.invocations += 1;
                seen.last_used = at;
            }
            Event::InitReport { status, .. } => {
                seen.initialised = Some(*status == Status::Success);
            }
            Event::Report(report) => {
                seen.last_used = at;
                seen.max_memory_used_mb = report.max_memory_used_mb;
            }
            _ => {}
        }
        if seen.timeline.len() == MOMENTS_MAX {
            seen.timeline.pop_front();
        }
        seen.timeline.push_back(Moment { at, after, event });
    }

    pub(crate) fn view(&self) -> EnvironmentView {
        let seen = lock(&self.seen);
        EnvironmentView {
            id: self.id,
            function: self.function.clone(),
            phase: seen.phase,
            created: self.created.0,
            last_used: seen.last_used,
            invocations: seen.invocations,
            generation: seen.generation,
            log_stream: seen.log_stream.clone(),
            runtime_pid: seen.runtime_pid,
            max_memory_used_mb: seen.max_memory_used_mb,
            extensions: seen.extensions.clone(),
            runtime_release: seen.runtime_release.clone(),
            timeline: seen.timeline.iter().cloned().collect(),
        }
    }
}
