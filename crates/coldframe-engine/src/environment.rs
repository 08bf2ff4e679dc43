//! One execution environment: a task that owns everything of it and carries out what
//! [`coldframe_core::lifecycle`] decides.
//!
//! ```text
//! commands (pool) ─────────────┐
//! reports (runtime, extensions)├─► one input at a time ─► Event ─► Phase::on ─► actions, in order
//! events (sandbox) ────────────┤
//! output, deadline ────────────┘
//! ```
//! [`starting`] has what makes processes, [`answering`] what callers and logs are told, [`ending`]
//! the shutdown phase.

mod answering;
mod ending;
mod starting;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use coldframe_core::error::{self, FunctionError, chain};
use coldframe_core::event::{self, InitPhase, Status};
use coldframe_core::invoke::Invocation;
use coldframe_core::lifecycle::{Action, Event, Phase};
use coldframe_core::limits::{INIT_LIMIT, OPEN_FILES_MAX, PROCESSES_MAX};
use coldframe_core::observe::Listener;
use coldframe_core::{BoxFuture, EnvironmentId, FunctionVersion};
use coldframe_runtime_api::telemetry::{About, Dial};
use coldframe_runtime_api::{
    Completed, Delivery, InitFailure, Options, Outcome, Report, ReportKind, Server,
};
use coldframe_sandbox::{self as sandbox, Created, Sandbox};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::concurrency::Slot;
use crate::environment_variables::{self, Credentials};
use crate::output::{Outputs, Tail};
use crate::pool::{Job, Offered, Pool, Reply};
use crate::runtimes::{self, Start};
use crate::view::Handle;
use crate::{Shared, lock};

use self::ending::Ending;
use self::starting::ExtensionProcess;

/// What an ended process has sent may still be on its way through the kernel for this long.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(100);

/// How long the answer of a function is looked for without sleeping.
const EAGER_LIMIT: Duration = Duration::from_micros(150);

/// What the pool tells an environment.
pub(crate) enum Command {
    Invoke(Box<Job>),
    Stop,
}

/// Begins to make an environment: on demand, or ahead of it.
pub(crate) fn start(shared: Arc<Shared>, pool: Arc<Pool>, provisioned: bool) -> Arc<Handle> {
    let id = EnvironmentId::from(Uuid::new_v4());
    let mut function = pool.function().clone();
    if let (None, Some(layer)) = (&function.layers, &shared.options.layer) {
        Arc::make_mut(&mut function).layers = Some(layer.clone());
    }
    let date = jiff::Timestamp::now().strftime("%Y/%m/%d").to_string();
    let log_stream = function.log_stream(&date, id);
    let (commands, receiver) = mpsc::unbounded_channel();
    let credentials = shared.issuer.issue(&function);
    let stream = log_stream.clone();
    let handle = Handle::new(id, function.clone(), stream, commands, provisioned, credentials);
    let handle = Arc::new(handle);
    let known = handle.clone();
    lock(&shared.environments).insert(id, handle.clone());
    tokio::spawn(async move {
        let living = Living { id, shared, pool, handle, offered: false, finishing: false };
        match make(&living, function, &log_stream, receiver).await {
            Ok(environment) => environment.run(living).await,
            Err(error) => {
                tracing::error!(environment_id = %id, %error, "no environment could be made");
                living.pool.failed(&error);
                let mut living = living;
                living.offered = true;
            }
        }
    });
    known
}

/// Counts as an environment; dropped, it is one no more.
struct Living {
    id: EnvironmentId,
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    handle: Arc<Handle>,
    /// The pool knows that it is not starting any more.
    offered: bool,
    /// The pool counts on it to be free soon.
    finishing: bool,
}

impl Living {
    fn set_finishing(&mut self, finishing: bool) {
        match (std::mem::replace(&mut self.finishing, finishing), finishing) {
            (false, true) => self.pool.finishing(),
            (true, false) => self.pool.finished(),
            _ => {}
        }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.set_finishing(false);
        if !self.offered {
            self.pool.failed("the execution environment ended before it was ready");
        }
        lock(&self.shared.environments).remove(&self.id);
        self.pool.ended(&self.handle);
        self.shared.ended.notify_waiters();
    }
}

async fn make(
    living: &Living,
    function: Arc<FunctionVersion>,
    log_stream: &str,
    commands: mpsc::UnboundedReceiver<Command>,
) -> Result<Environment, String> {
    let (shared, looked_at) = (living.shared.clone(), function.clone());
    // A missing interpreter is the function's failure at init, not ours.
    let start = tokio::task::spawn_blocking(move || shared.runtimes.start(&looked_at))
        .await
        .map_err(|error| error.to_string())?;
    let mounts = match &start {
        Ok(start) => runtimes::mounts(&function, start),
        Err(_) => runtimes::own_mounts(&function),
    };
    let spec = sandbox::Spec {
        hostname: environment_variables::hostname(living.id),
        mounts,
        memory_bytes: function.memory.bytes(),
        scratch_mb: function.ephemeral_storage_mb,
        processes_max: PROCESSES_MAX,
        open_files_max: OPEN_FILES_MAX,
    };
    let created = living.shared.driver.create(spec).await.map_err(|error| chain(&error))?;
    let Created { sandbox, events, listener, network } = created;
    let credentials = Credentials {
        session: living.handle.credentials(),
        metadata_token: Uuid::new_v4().simple().to_string(),
    };
    let log_stream: Arc<str> = log_stream.into();
    let about = About {
        function: function.clone(),
        log_stream: log_stream.clone(),
        runtime_version: starting::runtime_version(&function),
        initialization_type: living.handle.initialization_type(),
    };
    let options = Options {
        about: about.clone(),
        dial: Arc::new(Inside(network)),
        stream_rate: living.shared.options.stream_rate,
        metadata_token: credentials.metadata_token.clone(),
        zone: environment_variables::zone(&function.arn.region),
        extensions: !starting::extensions_are_off(&function),
    };
    let (server, reports) = Server::start(listener, options).map_err(|error| chain(&error))?;
    let kind = living.handle.initialization_type();
    let variables = environment_variables::of_runtime(&function, &log_stream, &credentials, kind);
    Ok(Environment {
        phase: Phase::Created,
        sandbox,
        server,
        commands,
        reports,
        events,
        start,
        variables,
        log: Log {
            listener: living.shared.observer.environment(&function, living.id, &log_stream),
            tail: None,
        },
        about,
        runtime: None,
        extensions: Vec::new(),
        outputs: Outputs::default(),
        init: Init::default(),
        invocation: None,
        slot: None,
        failure: None,
        declared: None,
        extensions_listen: false,
        ending: None,
        deadline: None,
        timer: Box::pin(tokio::time::sleep(INIT_LIMIT)),
        delivered: Delivered::now(),
        event_is_out: false,
        thaw_untold: None,
        start_untold: false,
        stop_later: false,
        cpu_limited: false,
        out_of_memory_kills: 0,
        generation: 1,
        pending: VecDeque::new(),
        seen: VecDeque::new(),
        function,
    })
}

/// The network inside, as the Runtime API's server asks for it.
struct Inside(Arc<dyn sandbox::Network>);

impl Dial for Inside {
    fn socket(&self) -> BoxFuture<'_, std::io::Result<std::os::fd::OwnedFd>> {
        Box::pin(async { self.0.socket().await.map_err(std::io::Error::other) })
    }
}

struct Environment {
    phase: Phase,
    function: Arc<FunctionVersion>,
    sandbox: Box<dyn Sandbox>,
    server: Server,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: mpsc::UnboundedReceiver<Report>,
    events: mpsc::UnboundedReceiver<sandbox::Event>,
    start: Result<Start, String>,
    variables: Vec<String>,
    log: Log,
    about: About,
    /// The host's number of the runtime's process.
    runtime: Option<u32>,
    /// External extensions that were started in this generation.
    extensions: Vec<ExtensionProcess>,
    outputs: Outputs,
    init: Init,
    invocation: Option<Running>,
    /// Counts as one of the account's simultaneous invocations until the environment is free again,
    /// a reset included.
    slot: Option<Slot>,
    /// The first fatal error of this generation.
    failure: Option<FunctionError>,
    /// The type of the fatal error, told by an extension that is about to exit.
    declared: Option<&'static str>,
    /// Some extension is told of invocations.
    extensions_listen: bool,
    /// The shutdown phase, or a reset's.
    ending: Option<Ending>,
    deadline: Option<Instant>,
    /// Fires at the deadline or before it.
    timer: Pin<Box<tokio::time::Sleep>>,
    delivered: Delivered,
    /// The event is written, and no task has yet to do it.
    event_is_out: bool,
    /// To be told before anything else is: how long the thaw took, and the invocation's `start`.
    thaw_untold: Option<(SystemTime, Duration)>,
    start_untold: bool,
    stop_later: bool,
    cpu_limited: bool,
    out_of_memory_kills: u64,
    generation: u64,
    /// Events that actions have brought about, to be taken before any input.
    pending: VecDeque<Event>,
    /// Input that was seen while something else was waited for, to be taken before any other.
    seen: VecDeque<Input>,
}

/// When the event was handed over.
#[derive(Clone, Copy)]
struct Delivered {
    at: Instant,
    time: SystemTime,
}

impl Delivered {
    fn now() -> Self {
        Self { at: Instant::now(), time: SystemTime::now() }
    }
}

/// The init that runs or ran last.
#[derive(Default)]
struct Init {
    began: Option<Instant>,
    /// What the runtime posted to `init/error` in this attempt.
    failure: Option<InitFailure>,
    /// Of a successful init phase that no invocation has reported yet.
    unreported: Option<Duration>,
}

/// The invocation this environment holds.
struct Running {
    invocation: Invocation,
    began: Instant,
    /// The tracing header as the runtime is told it.
    downstream: Option<String>,
    status: Status,
    completed: Option<Completed>,
    /// When the response came: its first byte, its last, and how many.
    response: Option<Response>,
    /// When the runtime, having answered, asked for the next event.
    runtime_done: Option<(Instant, SystemTime)>,
    /// The answer of a caller who wants the log's tail, which ends with REPORT.
    answer: Option<answering::Made>,
    reply: Option<Reply>,
    told_start: bool,
    /// `runtimeDone` has been told.
    told_done: bool,
}

#[derive(Clone, Copy)]
struct Response {
    began: Instant,
    ended: Instant,
    /// Absent of an error.
    bytes: Option<u64>,
}

struct Log {
    listener: Box<dyn Listener>,
    tail: Option<Tail>,
}

/// One thing that happened.
enum Input {
    Command(Option<Command>),
    Report(Report),
    Sandbox(sandbox::Event),
    Output,
    Deadline,
}

impl Environment {
    async fn run(mut self, mut living: Living) {
        self.pending.push_back(Event::Start);
        while self.phase != Phase::Terminated {
            if let Some(event) = self.pending.pop_front() {
                self.step(&mut living, event).await;
                continue;
            }
            let input = self.input(&living).await;
            self.take(&mut living, input).await;
        }
        // An invocation that was on its way here is for another environment.
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Invoke(job) = command {
                living.pool.submit(*job);
            }
        }
    }

    async fn input(&mut self, living: &Living) -> Input {
        if let Some(input) = self.seen.pop_front() {
            self.catch_up(living);
            return input;
        }
        // The timer is left as it is unless it would fire too late: setting it earlier costs a
        // system call, firing early for nothing costs next to nothing.
        if let Some(deadline) = self.deadline.map(tokio::time::Instant::from_std)
            && (deadline < self.timer.deadline() || self.timer.is_elapsed())
        {
            self.timer.as_mut().reset(deadline);
        }
        let timed = self.deadline.is_some();
        // A short function answers sooner than an idle processor sleeps and wakes.
        while self.phase == Phase::Invoke && self.delivered.at.elapsed() < EAGER_LIMIT {
            match self.reports.try_recv() {
                Ok(report) => return Input::Report(report),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        if self.start_untold || self.thaw_untold.is_some() {
            // Who has his answer goes on meanwhile.
            tokio::task::yield_now().await;
            self.catch_up(living);
        }
        let outputs = &self.outputs;
        tokio::select! {
            biased;
            // First, or a flood of anything else would put the end off.
            () = &mut self.timer, if timed => Input::Deadline,
            Some(report) = self.reports.recv() => Input::Report(report),
            command = self.commands.recv() => Input::Command(command),
            Some(event) = self.events.recv() => Input::Sandbox(event),
            () = std::future::poll_fn(|context| outputs.poll_ready(context)) => Input::Output,
        }
    }

    async fn take(&mut self, living: &mut Living, input: Input) {
        match input {
            Input::Command(Some(Command::Invoke(job))) => match self.phase {
                Phase::Idle | Phase::Frozen | Phase::NeedsInit => self.hold(living, job).await,
                // Handed out just before a process here ended.
                _ => living.pool.submit(*job),
            },
            // The pool is gone only with the whole engine.
            Input::Command(Some(Command::Stop) | None) => self.step(living, Event::Stop).await,
            Input::Report(report) => self.take_report(living, report).await,
            Input::Sandbox(sandbox::Event::Exited { process, exit }) => {
                self.take_exit(living, process, exit).await;
            }
            Input::Sandbox(sandbox::Event::AllGone) => self.step(living, Event::Gone).await,
            Input::Sandbox(sandbox::Event::Lost) => self.lose(living).await,
            Input::Output => {
                self.read_output();
                // Who prints without end is not alone on this thread.
                tokio::task::yield_now().await;
            }
            Input::Deadline => self.take_deadline(living).await,
        }
    }

    /// Takes an invocation: the life cycle says how it begins.
    async fn hold(&mut self, living: &mut Living, job: Box<Job>) {
        let Job { invocation, reply, _slot } = *job;
        let wants_tail = invocation.wants_log_tail;
        let trace = invocation.trace_header.as_deref();
        self.invocation = Some(Running {
            began: Instant::now(),
            downstream: trace.map(|trace| answering::downstream(trace, self.function.tracing)),
            invocation,
            status: Status::Success,
            completed: None,
            response: None,
            runtime_done: None,
            answer: None,
            reply: Some(reply),
            told_start: false,
            told_done: false,
        });
        self.slot = Some(_slot);
        match (&mut self.log.tail, wants_tail) {
            // A cold start's tail has begun with the init.
            (Some(_), true) => {}
            (tail, true) => *tail = Some(Tail::default()),
            (tail, false) => *tail = None,
        }
        self.deadline = Some(Instant::now() + self.function.timeout);
        self.step(living, Event::Invoke).await;
    }

    async fn take_report(&mut self, living: &mut Living, report: Report) {
        if report.generation != self.server.generation() {
            return;
        }
        if !matches!(report.kind, ReportKind::Completed(_)) {
            self.catch_up(living);
        }
        match report.kind {
            ReportKind::Next { all_ready } => {
                self.step(living, Event::RuntimeReady).await;
                if all_ready {
                    self.step(living, Event::AllReady).await;
                }
            }
            ReportKind::Completed(completed) => {
                let cut = matches!(completed.outcome, Outcome::Truncated);
                let ends = cut && self.runtime_ends().await;
                if let Some(running) = &mut self.invocation {
                    running.response = Some(Response {
                        began: completed.began,
                        ended: completed.ended,
                        bytes: match completed.outcome {
                            Outcome::Error { trailing: None, .. } => None,
                            _ => Some(completed.bytes),
                        },
                    });
                    running.completed = (!ends).then_some(completed);
                }
                if !ends {
                    self.step(living, Event::Respond).await;
                }
            }
            ReportKind::InitError(failure) => self.init.failure = Some(failure),
            ReportKind::ExtensionsRegistered => {
                self.step(living, Event::ExtensionsRegistered).await;
            }
            ReportKind::ExtensionNext { all_ready: true } => {
                self.step(living, Event::AllReady).await;
            }
            ReportKind::ExtensionNext { all_ready: false } => {}
            ReportKind::ExtensionFailed(kind) => {
                self.declared.get_or_insert(kind);
            }
            ReportKind::Subscribed(subscription) => {
                self.read_output();
                self.tell(living, event::Event::Subscribed(subscription));
            }
            ReportKind::LogsDropped(dropped) => {
                let (records, bytes) = (dropped.records, dropped.bytes);
                let reason = dropped.reason;
                self.tell(living, event::Event::LogsDropped { reason, records, bytes });
            }
        }
    }

    /// Whether the runtime's process ends, whose connections may be seen to end before it. How it
    /// ended says more than that its upload did.
    async fn runtime_ends(&mut self) -> bool {
        let deadline = tokio::time::Instant::now() + LAST_WORDS_LIMIT;
        while self.runtime.is_some() {
            let event = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let Ok(Some(event)) = event else { return false };
            let ends = match event {
                sandbox::Event::Exited { process, .. } => self.runtime == Some(process),
                _ => false,
            };
            self.seen.push_back(Input::Sandbox(event));
            if ends {
                return true;
            }
        }
        // It is ended: its exit is what these last words are taken for.
        true
    }

    async fn take_exit(&mut self, living: &mut Living, process: u32, exit: sandbox::Exit) {
        let is_runtime = self.runtime == Some(process);
        let extension = self.extensions.iter_mut().find(|known| known.process == process);
        if !is_runtime && extension.is_none() {
            return;
        }
        if let Some(extension) = extension {
            extension.runs = false;
        } else {
            self.runtime = None;
            living.handle.set_runtime(None, self.generation);
        }
        if matches!(self.phase, Phase::Reset | Phase::ShuttingDown) {
            self.take_expected_exit(living, process, exit).await;
            return;
        }
        if is_runtime {
            // A response may have been sent just before the end.
            let _ = tokio::time::timeout(LAST_WORDS_LIMIT, self.server.quiesced()).await;
        }
        while let Ok(report) = self.reports.try_recv() {
            // A child of the runtime's may ask on; nobody is there any more to do the work.
            if !matches!(report.kind, ReportKind::Next { .. } | ReportKind::ExtensionNext { .. }) {
                self.take_report(living, report).await;
            }
        }
        self.read_output();
        let exit = match exit {
            sandbox::Exit::Code(code) => error::Exit::Code(code),
            sandbox::Exit::Signal { signal, core_dumped } => {
                error::Exit::Signal { signal, core_dumped }
            }
        };
        let kills = self.sandbox.out_of_memory_kills();
        let out_of_memory = exit.killed() && kills > self.out_of_memory_kills;
        self.out_of_memory_kills = kills;
        let mut error = match is_runtime {
            true => FunctionError::runtime_exit(exit, out_of_memory),
            false => FunctionError::extension_exit(exit),
        };
        // What an extension said of itself before it went.
        if let Some(declared) = self.declared.take() {
            declared.clone_into(&mut error.kind);
        }
        self.fail(error);
        self.step(living, Event::Fatal).await;
    }

    async fn take_deadline(&mut self, living: &mut Living) {
        if self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            return;
        }
        self.deadline = None;
        match self.phase {
            Phase::Frozen | Phase::Idle | Phase::NeedsInit => {
                // Handed out in the meantime: the invocation is on its way.
                if living.pool.withdraw_aged(&living.handle) {
                    self.step(living, Event::Stop).await;
                }
            }
            Phase::Reset | Phase::ShuttingDown => self.take_end_of_stage(living).await,
            _ => {
                self.fail(FunctionError::timeout(self.function.timeout));
                self.step(living, Event::Timeout).await;
            }
        }
    }

    async fn lose(&mut self, living: &mut Living) {
        self.fail(FunctionError::new("Sandbox.Failure", "the execution environment was lost"));
        self.step(living, Event::Lost).await;
    }

    /// The first fatal error wins.
    fn fail(&mut self, error: FunctionError) {
        self.failure.get_or_insert(error);
    }

    async fn step(&mut self, living: &mut Living, event: Event) {
        let (next, actions) = match self.phase.on(event) {
            Ok(decided) => decided,
            Err(illegal) => {
                tracing::error!(environment_id = %living.id, error = %illegal, "environment is given up");
                self.fail(FunctionError::new("Sandbox.Failure", illegal.to_string()));
                match self.phase.on(Event::Lost) {
                    Ok(decided) => decided,
                    Err(_) => (Phase::Terminated, &[][..]),
                }
            }
        };
        let from = std::mem::replace(&mut self.phase, next);
        // Ending takes its time, and who has the answer of what failed may look meanwhile.
        if matches!(next, Phase::Reset | Phase::ShuttingDown) {
            living.handle.set_phase(next);
        }
        for action in actions {
            if let Err(error) = self.act(living, from, *action).await {
                tracing::error!(environment_id = %living.id, ?action, error = chain(&error), "environment is given up");
                self.fail(FunctionError::new("Sandbox.Failure", chain(&error)));
                self.pending.clear();
                self.pending.push_back(Event::Lost);
                return;
            }
        }
        // Only now: who sees `frozen` may rely on it.
        if from != next {
            living.handle.set_phase(next);
        }
    }

    async fn act(
        &mut self,
        living: &mut Living,
        from: Phase,
        action: Action,
    ) -> Result<(), sandbox::Error> {
        if !matches!(action, Action::Answer | Action::TellStart) {
            self.catch_up(living);
        }
        match action {
            Action::StartExtensions => self.start_extensions(living).await?,
            Action::StartRuntime => self.start_runtime(living).await?,
            Action::TellInitRuntimeDone => {
                // What init has printed comes before what is told of it.
                self.read_output();
                let status = self.failure_status();
                let phase = init_phase(from);
                self.tell(living, event::Event::InitRuntimeDone { phase, status });
            }
            Action::TellInitReport => self.tell_init_report(living, from),
            Action::Offer => self.offer(living),
            Action::Withdraw => {
                living.pool.withdraw(&living.handle);
            }
            Action::Freeze => {
                // No subscriber gets anything while it can't answer.
                self.server.telemetry().pause().await;
                let began = Instant::now();
                self.sandbox.freeze().await?;
                self.deadline = Some(Instant::now() + living.shared.options.idle_timeout);
                self.tell(living, event::Event::Frozen { took: began.elapsed() });
            }
            Action::Thaw => {
                // The event is written before the runtime wakes: it wakes once, not twice.
                if !self.event_is_out {
                    tokio::task::yield_now().await;
                }
                let began = Instant::now();
                self.sandbox.thaw()?;
                // Told later: the processor may be the function's now.
                self.thaw_untold = Some((SystemTime::now(), began.elapsed()));
                self.server.telemetry().resume();
            }
            // The event is out, and the function may have answered before this is told.
            Action::TellStart if matches!(from, Phase::Idle | Phase::Frozen) => {
                self.start_untold = true;
            }
            Action::TellStart => self.tell_start(living, SystemTime::now()),
            Action::Deliver => self.deliver()?,
            Action::Answer => {
                living.set_finishing(true);
                self.answer();
            }
            Action::AnswerError => self.answer(),
            Action::TellRuntimeDone => self.tell_runtime_done(living),
            Action::TellReport => self.tell_report(living),
            Action::KillAll => {
                living.set_finishing(false);
                self.init.began = Some(Instant::now());
                let timed_out = self.failure_status() == Status::Timeout;
                let reason = if timed_out { "timeout" } else { "failure" };
                self.begin_ending(living, reason).await?;
            }
            Action::Reinitialise => self.reinitialise(living),
            Action::ShutDown => {
                let reason = "spindown";
                self.tell(living, event::Event::ShutDown { reason });
                self.begin_ending(living, reason).await?;
            }
            Action::StopLater => self.stop_later = true,
            Action::Destroy => self.finish_output(),
        }
        Ok(())
    }

    fn offer(&mut self, living: &mut Living) {
        let first = !std::mem::replace(&mut living.offered, true);
        living.set_finishing(false);
        self.deadline = None;
        self.slot = None;
        match living.pool.offer(&living.handle, first) {
            Offered::Take(job) if !self.stop_later => {
                let _ = living.handle.command(Command::Invoke(job));
            }
            // It must go: the invocation is for another environment.
            Offered::Take(job) => {
                self.pending.push_back(Event::Stop);
                living.pool.submit(*job);
            }
            Offered::Stop => self.pending.push_back(Event::Stop),
            Offered::Wait if self.stop_later => {
                if living.pool.withdraw(&living.handle) {
                    self.pending.push_back(Event::Stop);
                }
            }
            Offered::Wait if self.phase == Phase::Idle => {
                // An invocation that came meanwhile needs no freeze.
                if self.commands.is_empty() {
                    self.pending.push_back(Event::Freeze);
                }
            }
            Offered::Wait => {
                self.deadline = Some(Instant::now() + living.shared.options.idle_timeout);
            }
        }
    }

    fn deliver(&mut self) -> Result<(), sandbox::Error> {
        if !self.cpu_limited {
            self.limit_cpu(Some(self.function.memory.cpu_millis()))?;
        }
        self.delivered = Delivered::now();
        let Some(running) = &self.invocation else { return Ok(()) };
        let invocation = &running.invocation;
        // The timeout counts from the start of the invocation, a suppressed init included.
        let left =
            (running.began + self.function.timeout).saturating_duration_since(self.delivered.at);
        self.event_is_out = self.server.deliver(Delivery {
            request_id: invocation.request_id,
            deadline: self.delivered.time + left,
            invoked_arn: invocation.invoked_arn.clone(),
            payload: invocation.payload.clone(),
            trace: running.downstream.clone(),
            incoming_trace: invocation.trace_header.clone(),
            client_context: invocation.client_context.clone(),
            cognito_identity: invocation.cognito_identity.clone(),
            tenant_id: invocation.tenant_id.clone(),
            stream: match &running.reply {
                Some(Reply::Streamed(stream)) => Some(stream.clone()),
                _ => None,
            },
        });
        Ok(())
    }

    fn limit_cpu(&mut self, millis: Option<u32>) -> Result<(), sandbox::Error> {
        self.cpu_limited = millis.is_some();
        self.sandbox.limit_cpu(millis)
    }

    fn failure_status(&self) -> Status {
        self.failure.as_ref().map_or(Status::Success, Status::of)
    }

    fn reinitialise(&mut self, living: &mut Living) {
        let took = self.init.began.map(|began| began.elapsed()).unwrap_or_default();
        self.finish_output();
        self.runtime = None;
        self.extensions.clear();
        self.failure = None;
        self.declared = None;
        self.ending = None;
        self.init = Init::default();
        self.generation += 1;
        self.server.reinitialise();
        living.handle.set_runtime(None, self.generation);
        self.tell(living, event::Event::Reset { took });
    }
}

fn init_phase(phase: Phase) -> InitPhase {
    match phase {
        Phase::InvokeInit(_) => InitPhase::Invoke,
        _ => InitPhase::Init,
    }
}
