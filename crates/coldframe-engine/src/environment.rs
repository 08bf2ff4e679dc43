//! One execution environment: a task that owns everything of it and carries out what
//! [`coldframe_core::lifecycle`] decides.
//!
//! ```text
//! commands (pool) ─┐
//! reports (runtime)├─► one input at a time ─► Event ─► Phase::on ─► actions, in their order
//! events (sandbox) │
//! output, deadline ┘
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use coldframe_core::error::{self, FunctionError};
use coldframe_core::event::{self, InitPhase, Status};
use coldframe_core::invoke::{Answer, Refusal};
use coldframe_core::lifecycle::{Action, Event, Phase};
use coldframe_core::limits::{INIT_LIMIT, OPEN_FILES_MAX, PROCESSES_MAX, REAP_LIMIT};
use coldframe_core::{EnvironmentId, FunctionVersion, Tracing, log};
use coldframe_runtime_api::{Delivery, InitFailure, Outcome, Report, ReportKind, Server};
use coldframe_sandbox::{self as sandbox, Created, Sandbox, SpawnError, SpawnStep};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::FunctionLog;
use crate::environment_variables::{self, Credentials};
use crate::output::{Lines, Tail};
use crate::pool::{Job, Offered, Pool};
use crate::runtimes::{self, Start};
use crate::view::Handle;
use crate::{Shared, lock};

/// What an ended process has sent may still be on its way through the kernel for this long.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(100);

/// Output read at one go before other matters get their turn, bytes.
const OUTPUT_TURN_BYTES: usize = 256 * 1024;

/// How long the answer of a function is looked for without sleeping.
const EAGER_LIMIT: Duration = Duration::from_micros(150);

/// One read of output, bytes: on the stack, as mostly there is nothing.
const OUTPUT_READ_BYTES: usize = 8 * 1024;

/// What the pool tells an environment.
pub(crate) enum Command {
    Invoke(Box<Job>),
    Stop,
}

/// Begins to make an environment.
pub(crate) fn start(shared: Arc<Shared>, pool: Arc<Pool>) {
    let id = EnvironmentId::from(Uuid::new_v4());
    let function = pool.function().clone();
    let date = jiff::Timestamp::now().strftime("%Y/%m/%d").to_string();
    let log_stream = function.log_stream(&date, id);
    let (commands, receiver) = mpsc::unbounded_channel();
    let handle = Arc::new(Handle::new(id, function.clone(), log_stream.clone(), commands));
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
        Err(_) => Vec::new(),
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
    let Created { sandbox, events, listener } = created;
    let (server, reports) = Server::start(listener).map_err(|error| chain(&error))?;
    let credentials = Credentials {
        // Twelve digits: calls back to this service stay in the account.
        access_key: function.account().to_string(),
        secret_key: Uuid::new_v4().simple().to_string(),
        session_token: Uuid::new_v4().simple().to_string(),
    };
    let variables = environment_variables::of_runtime(&function, log_stream, &credentials);
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
            function: living.shared.logs.of(&function.arn),
            stream: log_stream.into(),
            tail: None,
        },
        runtime: None,
        output: None,
        lines: Lines::default(),
        init: Init::default(),
        invocation: None,
        failure: None,
        deadline: None,
        timer: Box::pin(tokio::time::sleep(INIT_LIMIT)),
        delivered: Instant::now(),
        stop_later: false,
        cpu_limited: false,
        out_of_memory_kills: 0,
        generation: 1,
        pending: VecDeque::new(),
        function,
    })
}

/// The whole chain of an error's causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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
    /// The host's number of the runtime's process.
    runtime: Option<u32>,
    output: Option<pipe::Receiver>,
    lines: Lines,
    init: Init,
    invocation: Option<Running>,
    /// The first fatal error of this generation.
    failure: Option<FunctionError>,
    deadline: Option<Instant>,
    /// Fires at the deadline or before it.
    timer: Pin<Box<tokio::time::Sleep>>,
    delivered: Instant,
    stop_later: bool,
    cpu_limited: bool,
    out_of_memory_kills: u64,
    generation: u64,
    /// Events that actions have brought about, to be taken before any input.
    pending: VecDeque<Event>,
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
    job: Job,
    began: Instant,
    /// Its time as the log tells it: from `start` to the runtime's `next`.
    status: Status,
    outcome: Option<Outcome>,
    /// The answer of a caller who wants the log's tail, which ends with REPORT.
    answer: Option<Result<Answer, Refusal>>,
    reply: Option<tokio::sync::oneshot::Sender<Result<Answer, Refusal>>>,
}

struct Log {
    function: Arc<FunctionLog>,
    stream: Arc<str>,
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
            let input = self.input().await;
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

    async fn input(&mut self) -> Input {
        // The timer is left as it is unless it would fire too late: setting it earlier costs a
        // system call, firing early for nothing costs next to nothing.
        if let Some(deadline) = self.deadline.map(tokio::time::Instant::from_std)
            && (deadline < self.timer.deadline() || self.timer.is_elapsed())
        {
            self.timer.as_mut().reset(deadline);
        }
        let timed = self.deadline.is_some();
        // A short function answers sooner than an idle processor sleeps and wakes.
        while self.phase == Phase::Invoke && self.delivered.elapsed() < EAGER_LIMIT {
            match self.reports.try_recv() {
                Ok(report) => return Input::Report(report),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        tokio::select! {
            biased;
            Some(report) = self.reports.recv() => Input::Report(report),
            command = self.commands.recv() => Input::Command(command),
            Some(event) = self.events.recv() => Input::Sandbox(event),
            () = &mut self.timer, if timed => Input::Deadline,
            () = async {
                match &self.output {
                    Some(output) if output.readable().await.is_ok() => {}
                    _ => std::future::pending().await,
                }
            } => Input::Output,
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
            Input::Output => self.read_output(),
            Input::Deadline => self.take_deadline(living).await,
        }
    }

    /// Takes an invocation: the life cycle says how it begins.
    async fn hold(&mut self, living: &mut Living, job: Box<Job>) {
        let Job { invocation, reply, _slot } = *job;
        let (unused, _) = tokio::sync::oneshot::channel();
        let wants_tail = invocation.wants_log_tail;
        let job = Job { invocation, reply: unused, _slot };
        self.invocation = Some(Running {
            job,
            began: Instant::now(),
            status: Status::Success,
            outcome: None,
            answer: None,
            reply: Some(reply),
        });
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
        match report.kind {
            ReportKind::Next => {
                // Without extensions, the runtime's readiness is everybody's.
                self.step(living, Event::RuntimeReady).await;
                self.step(living, Event::AllReady).await;
            }
            ReportKind::Completed(completed) => {
                if let Some(running) = &mut self.invocation {
                    running.outcome = Some(completed.outcome);
                }
                self.step(living, Event::Respond).await;
            }
            ReportKind::InitError(failure) => self.init.failure = Some(failure),
        }
    }

    async fn take_exit(&mut self, living: &mut Living, process: u32, exit: sandbox::Exit) {
        if self.runtime != Some(process) {
            return;
        }
        self.runtime = None;
        living.handle.set_runtime(None, self.generation);
        if matches!(self.phase, Phase::Reset | Phase::ShuttingDown) {
            return;
        }
        // A response may have been sent just before the end.
        let _ = tokio::time::timeout(LAST_WORDS_LIMIT, self.server.quiesced()).await;
        while let Ok(report) = self.reports.try_recv() {
            // A child of the runtime's may ask on; nobody is there any more to do the work.
            if !matches!(report.kind, ReportKind::Next) {
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
        self.fail(FunctionError::runtime_exit(exit, out_of_memory));
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
                if living.pool.withdraw(&living.handle) {
                    self.step(living, Event::Stop).await;
                }
            }
            Phase::Reset | Phase::ShuttingDown => {
                tracing::warn!(environment_id = %living.id, "processes do not end; the sandbox is given up");
                self.step(living, Event::Timeout).await;
            }
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
        match action {
            Action::StartExtensions => self.start_extensions(living),
            Action::StartRuntime => self.start_runtime(living).await?,
            Action::TellInitRuntimeDone => {
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
                let began = Instant::now();
                self.sandbox.freeze().await?;
                self.deadline = Some(Instant::now() + living.shared.options.idle_timeout);
                self.tell(living, event::Event::Frozen { took: began.elapsed() });
            }
            Action::Thaw => {
                // The event is written before the runtime wakes: it wakes once, not twice.
                tokio::task::yield_now().await;
                let began = Instant::now();
                self.sandbox.thaw()?;
                self.tell(living, event::Event::Thawed { took: began.elapsed() });
            }
            Action::TellStart => self.tell_start(living),
            Action::Deliver => self.deliver()?,
            Action::Answer => {
                living.set_finishing(true);
                self.answer();
            }
            Action::AnswerError => self.answer(),
            Action::TellRuntimeDone => {
                self.settle_status();
                if let Some(running) = &self.invocation {
                    let request_id = running.job.invocation.request_id;
                    let status = running.status.clone();
                    self.tell(living, event::Event::RuntimeDone { request_id, status });
                }
            }
            Action::TellReport => self.tell_report(living),
            Action::KillAll => {
                living.set_finishing(false);
                self.init.began = Some(Instant::now());
                // A function that spins must not slow its own end.
                self.limit_cpu(None)?;
                self.deadline = Some(Instant::now() + REAP_LIMIT);
                self.sandbox.kill_all()?;
            }
            Action::Reinitialise => self.reinitialise(living),
            // Without extensions the budget is nothing: no SIGTERM (§1.7).
            Action::ShutDown => {
                self.deadline = Some(Instant::now() + REAP_LIMIT);
                self.tell(living, event::Event::ShutDown { reason: "spindown" });
                self.limit_cpu(None)?;
                self.sandbox.kill_all()?;
            }
            Action::StopLater => self.stop_later = true,
            Action::Destroy => self.read_output(),
        }
        Ok(())
    }

    fn tell(&mut self, living: &Living, event: event::Event) {
        if let Some(line) = log::line(&event) {
            self.print(&line);
        }
        living.handle.happened(event);
    }

    fn print(&mut self, line: &str) {
        if let Some(tail) = &mut self.log.tail {
            tail.push(line);
        }
        self.log.function.append(&self.log.stream, line);
    }

    fn failure_status(&self) -> Status {
        self.failure.as_ref().map_or(Status::Success, Status::of)
    }

    fn start_extensions(&mut self, living: &mut Living) {
        self.init.began = Some(Instant::now());
        self.init.failure = None;
        self.failure = None;
        let phase = init_phase(self.phase);
        if phase == InitPhase::Init {
            self.deadline = Some(Instant::now() + INIT_LIMIT);
            // Whoever waits may want to see the init in the tail of its log.
            self.log.tail = Some(Tail::default());
        }
        self.tell(living, event::Event::InitStart { phase });
        if !self.function.runtime.is_os_only() {
            let runtime = self.function.runtime.to_string();
            let line =
                log::init_start_line(&runtime, &self.function.arn.region, &version_hash(&runtime));
            // Not part of any invocation's tail.
            self.log.function.append(&self.log.stream, &line);
        }
        self.pending.push_back(Event::ExtensionsRegistered);
    }

    async fn start_runtime(&mut self, living: &mut Living) -> Result<(), sandbox::Error> {
        if let Some(running) = &self.invocation {
            self.server.announce(running.job.invocation.request_id);
        }
        let argv = match &self.start {
            Err(missing) => {
                self.fail(FunctionError::new("Runtime.InvalidEntrypoint", missing.clone()));
                self.pending.push_back(Event::Fatal);
                return Ok(());
            }
            Ok(start) if start.argv.is_empty() => {
                let candidates = [
                    ("/var/task/bootstrap", Some(&self.function.code)),
                    ("/opt/bootstrap", self.function.layers.as_ref()),
                ];
                let found = candidates.into_iter().find(|(_, directory)| {
                    directory.is_some_and(|directory| directory.join("bootstrap").is_file())
                });
                let Some((path, _)) = found else {
                    self.fail(FunctionError::new(
                        "Runtime.InvalidEntrypoint",
                        "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
                    ));
                    self.pending.push_back(Event::Fatal);
                    return Ok(());
                };
                vec![path.to_owned()]
            }
            Ok(start) => start.argv.clone(),
        };
        let command =
            sandbox::Command { argv, env: self.variables.clone(), cwd: "/var/task".to_owned() };
        match self.sandbox.spawn(command).await {
            Ok(process) => {
                self.runtime = Some(process.id);
                self.lines = Lines::default();
                self.output = pipe::Receiver::from_owned_fd(process.output).ok();
                living.handle.set_runtime(Some(process.pid), self.generation);
                Ok(())
            }
            Err(SpawnError::Refused { file, step, source }) => {
                self.fail(refused_start(&file, step, &source));
                self.pending.push_back(Event::Fatal);
                Ok(())
            }
            Err(SpawnError::Sandbox(error)) => Err(error),
        }
    }

    fn tell_init_report(&mut self, living: &mut Living, from: Phase) {
        let duration = self.init.began.map(|began| began.elapsed()).unwrap_or_default();
        let phase = init_phase(from);
        let status = match (&self.init.failure, self.failure_status()) {
            // What the runtime said of its failure, not only that it exited.
            (Some(failure), Status::Error(_)) => Status::Error(failure.kind.clone()),
            (_, status) => status,
        };
        // An init that ran inside an invocation is part of that invocation's duration.
        if phase == InitPhase::Init && status == Status::Success {
            self.init.unreported = Some(duration);
        }
        // What init has printed comes before what is told of it.
        self.read_output();
        self.tell(living, event::Event::InitReport { phase, duration, status });
    }

    fn offer(&mut self, living: &mut Living) {
        let first = !std::mem::replace(&mut living.offered, true);
        living.set_finishing(false);
        self.deadline = None;
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

    fn tell_start(&mut self, living: &mut Living) {
        let Some(running) = &self.invocation else { return };
        let request_id = running.job.invocation.request_id;
        let version = self.function.version.clone();
        self.tell(living, event::Event::Start { request_id, version });
    }

    fn deliver(&mut self) -> Result<(), sandbox::Error> {
        if !self.cpu_limited {
            self.limit_cpu(Some(self.function.memory.cpu_millis()))?;
        }
        self.delivered = Instant::now();
        let Some(running) = &self.invocation else { return Ok(()) };
        let invocation = &running.job.invocation;
        // The timeout counts from the start of the invocation, a suppressed init included.
        let left =
            (running.began + self.function.timeout).saturating_duration_since(Instant::now());
        let trace = invocation.trace_header.as_deref();
        self.server.deliver(&Delivery {
            request_id: invocation.request_id,
            deadline: SystemTime::now() + left,
            invoked_arn: invocation.invoked_arn.clone(),
            payload: invocation.payload.clone(),
            trace: trace.map(|trace| downstream_trace(trace, self.function.tracing)),
            client_context: invocation.client_context.clone(),
            cognito_identity: invocation.cognito_identity.clone(),
        });
        Ok(())
    }

    fn limit_cpu(&mut self, millis: Option<u32>) -> Result<(), sandbox::Error> {
        self.cpu_limited = millis.is_some();
        self.sandbox.limit_cpu(millis)
    }

    /// Makes the answer from what is known: the runtime's outcome, else the failure.
    fn answer(&mut self) {
        let Some(running) = &mut self.invocation else { return };
        let request_id = running.job.invocation.request_id;
        let platform = |error: &FunctionError| {
            let payload = format!(
                "{{\"errorType\":{},\"errorMessage\":{}}}",
                json_text(&error.kind),
                json_text(&error.message_for(request_id))
            );
            failed(payload.into(), Some("application/json".to_owned()))
        };
        let answer = match running.outcome.take() {
            Some(Outcome::Response { payload, content_type }) => {
                Answer { payload, content_type, function_error: false, log_tail: None }
            }
            Some(Outcome::Error { payload, content_type, kind }) => {
                running.status = Status::Error(kind);
                failed(payload, content_type)
            }
            Some(Outcome::TooLarge) => {
                let error = FunctionError::response_too_large();
                running.status = Status::of(&error);
                platform(&error)
            }
            Some(Outcome::Truncated) => {
                let error =
                    FunctionError::new("Runtime.TruncatedResponse", "the response ended early");
                running.status = Status::of(&error);
                platform(&error)
            }
            Some(Outcome::InvalidMode) => {
                running.status = Status::Error("Runtime.InvalidResponseModeHeader".to_owned());
                failed(Bytes::new(), None)
            }
            None => match (&self.init.failure, &self.failure) {
                // The init inside this invocation failed and said why.
                (Some(failure), Some(error)) if error.kind == "Runtime.ExitError" => {
                    running.status = Status::Error(failure.kind.clone());
                    failed(failure.payload.clone(), failure.content_type.clone())
                }
                (_, Some(error)) => platform(error),
                (_, None) => platform(&FunctionError::new("Sandbox.Failure", "unknown")),
            },
        };
        if running.job.invocation.wants_log_tail {
            running.answer = Some(Ok(answer));
        } else if let Some(reply) = running.reply.take() {
            // The caller may have gone.
            let _ = reply.send(Ok(answer));
        }
    }

    /// A failure of the environment counts for more than what the runtime has said before.
    fn settle_status(&mut self) {
        if let (Some(running), Some(failure)) = (&mut self.invocation, &self.failure) {
            running.status = Status::of(failure);
        }
    }

    fn tell_report(&mut self, living: &mut Living) {
        self.settle_init_failure();
        self.read_output();
        self.lines_flush();
        let Some(mut running) = self.invocation.take() else { return };
        let request_id = running.job.invocation.request_id;
        if running.status == Status::Timeout {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            let timed_out = error::timeout_message(self.function.timeout);
            self.print(&format!("{now} {request_id} {timed_out}"));
            self.print("");
        }
        self.print(&log::end_line(request_id));
        let duration = match running.status {
            // Not what the timer's lateness adds.
            Status::Timeout => self.function.timeout,
            _ => running.began.elapsed(),
        };
        let used = self.sandbox.memory_peak_bytes().div_ceil(1024 * 1024);
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        let memory_mb = self.function.memory.mb();
        let exhausted = running.status.error_type() == Some("Runtime.OutOfMemory");
        let report = event::Report {
            request_id,
            duration,
            init_duration: self.init.unreported.take(),
            memory_mb,
            max_memory_used_mb: if exhausted { memory_mb } else { used.clamp(1, memory_mb) },
            status: running.status.clone(),
        };
        self.tell(living, event::Event::Report(report));
        let tail = self.log.tail.take();
        if let (Some(Ok(mut answer)), Some(reply)) = (running.answer.take(), running.reply.take()) {
            answer.log_tail = tail.map(|mut tail| tail.take().into());
            let _ = reply.send(Ok(answer));
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

    fn reinitialise(&mut self, living: &mut Living) {
        let took = self.init.began.map(|began| began.elapsed()).unwrap_or_default();
        self.read_output();
        self.lines_flush();
        self.output = None;
        self.runtime = None;
        self.failure = None;
        self.init = Init::default();
        self.generation += 1;
        self.server.reinitialise();
        living.handle.set_runtime(None, self.generation);
        self.tell(living, event::Event::Reset { took });
    }

    /// Takes what is in the pipe now, up to a bound: a process that never stops printing must not
    /// keep everything else waiting. What is left is read at the next turn.
    fn read_output(&mut self) {
        let Some(output) = &self.output else { return };
        let mut buffer = [0; OUTPUT_READ_BYTES];
        let mut taken = 0;
        let mut lines = std::mem::take(&mut self.lines);
        let mut ended = false;
        let mut read = Vec::new();
        while taken < OUTPUT_TURN_BYTES {
            match output.try_read(&mut buffer) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(length) => {
                    taken += length;
                    lines.push(&buffer[..length], |line| read.push(line.to_owned()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            self.output = None;
        }
        self.lines = lines;
        for line in read {
            self.print(&line);
        }
    }

    fn lines_flush(&mut self) {
        let mut last = None;
        self.lines.flush(|line| last = Some(line.to_owned()));
        if let Some(line) = last {
            self.print(&line);
        }
    }
}

fn failed(payload: Bytes, content_type: Option<String>) -> Answer {
    Answer { payload, content_type, function_error: true, log_tail: None }
}

fn init_phase(phase: Phase) -> InitPhase {
    match phase {
        Phase::InvokeInit(_) => InitPhase::Invoke,
        _ => InitPhase::Init,
    }
}

/// AWS's texts for a runtime that can't be started (§7.2).
fn refused_start(file: &str, step: SpawnStep, source: &io::Error) -> FunctionError {
    let reason = match source.raw_os_error() {
        Some(2) => "no such file or directory".to_owned(),
        Some(8) => "exec format error".to_owned(),
        Some(13) => "permission denied".to_owned(),
        _ => source.to_string(),
    };
    match step {
        SpawnStep::WorkingDirectory => {
            FunctionError::new("Runtime.InvalidWorkingDir", format!("chdir /var/task: {reason}"))
        }
        _ => FunctionError::new("Runtime.InvalidEntrypoint", format!("fork/exec {file}: {reason}")),
    }
}

/// The downstream tracing header (§2.10).
fn downstream_trace(incoming: &str, mode: Tracing) -> String {
    if mode == Tracing::PassThrough {
        return incoming.to_owned();
    }
    let field = |name: &str| {
        incoming.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name && !value.contains('=')).then_some(value)
        })
    };
    let parent = Uuid::new_v4().simple().to_string();
    let mut header = format!(
        "Root={};Parent={};Sampled={}",
        field("Root").unwrap_or_default(),
        &parent[..16],
        field("Sampled").unwrap_or("0")
    );
    if let Some(lineage) = field("Lineage") {
        header.push_str(";Lineage=");
        header.push_str(lineage);
    }
    header
}

/// Sixty-four hex digits that stay the same for a runtime's name.
fn version_hash(runtime: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    (0..4u8)
        .map(|part| {
            let mut hasher = DefaultHasher::new();
            (runtime, part).hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        })
        .collect()
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
