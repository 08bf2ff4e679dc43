//! The life cycle of one execution environment (execution-environment.md §1).
//!
//! ```text
//! Created --Start--> Init ----AllReady----> Idle --Freeze--> Frozen
//!                     | Fatal, Timeout       ^ |               |
//!                     v                      | +----Invoke-----+
//!                   Reset                    |         v
//!                     | Gone                 |       Invoke --Respond--> Responded --AllReady--> Idle
//!                     v                      |         | Fatal, Timeout      | Fatal, Timeout
//!                 NeedsInit --Invoke--> InvokeInit     +--------> Reset <----+      `/tmp` stays
//!
//! any but Terminated --Stop--> ShuttingDown (at once, or after the invocation) --Gone--> Terminated
//! any --Lost--> Terminated
//! ```
//!
//! This module decides and never acts: no clock, no I/O, no task. `coldframe-engine` carries the
//! actions out, in their order.

/// How far an init has come (§1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InitStep {
    /// Extensions run; not all have registered. The runtime doesn't run yet.
    Extensions,
    /// The runtime runs and has not asked for its first event.
    Runtime,
    /// The runtime waits; some extension has not asked for its first event.
    Settle,
}

/// Where an execution environment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The sandbox is there; no process of the function has been started.
    Created,
    /// The init phase; no invocation is held.
    Init(InitStep),
    /// No process runs, `/tmp` is kept; the next invocation begins with an init of its own.
    NeedsInit,
    /// The init inside an invocation ("suppressed init").
    InvokeInit(InitStep),
    /// Runtime and extensions wait for the next event; their threads may still run.
    Idle,
    /// No thread of the sandbox runs; memory and `/tmp` are kept.
    Frozen,
    /// The runtime has the event; the caller has no answer.
    Invoke,
    /// The caller has its answer; the runtime or an extension has not asked for the next event.
    Responded,
    /// Every process is being killed.
    Reset,
    /// The shutdown phase: processes are ending.
    ShuttingDown,
    Terminated,
}

/// What can happen to an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin the init phase.
    Start,
    /// Every external extension has registered, or there is none.
    ExtensionsRegistered,
    /// The runtime asked for the next event.
    RuntimeReady,
    /// The runtime and every extension that must have asked for the next event.
    AllReady,
    /// An invocation is handed to this environment.
    Invoke,
    /// The runtime's response or error has been received to its end.
    Respond,
    /// A process ended that must not, could not be started, or an extension reported its failure.
    Fatal,
    /// The limit of the phase passed.
    Timeout,
    /// Nobody needs the environment now.
    Freeze,
    /// Shut down: at once if no invocation is held, else after it.
    Stop,
    /// No process but our PID 1 is left.
    Gone,
    /// The sandbox itself is gone or out of control; nothing in it can be used again.
    Lost,
}

/// A deed the engine owes after an event. Carried out in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tell `initStart`, open registration, start the external extensions.
    StartExtensions,
    /// Start the runtime's process.
    StartRuntime,
    /// Tell `initRuntimeDone`: success, or the error if one is known.
    TellInitRuntimeDone,
    /// Tell `initReport`.
    TellInitReport,
    /// Offer the environment to the pool, which answers with an invocation or not.
    Offer,
    /// The pool must not hand out this environment any more.
    Withdraw,
    /// Stop every thread.
    Freeze,
    /// Let every thread run on.
    Thaw,
    /// Tell `start`.
    TellStart,
    /// Release the blocked `next` calls with the event: extensions first, then the runtime.
    Deliver,
    /// Hand the runtime's answer to the caller.
    Answer,
    /// Hand the error to the caller, as its answer.
    AnswerError,
    /// Tell `runtimeDone`.
    TellRuntimeDone,
    /// Tell `report`; the invocation is over.
    TellReport,
    /// End every process, with the shutdown phase of §1.7 if there are extensions; `Gone` follows
    /// when they are reaped.
    KillAll,
    /// Forget registrations and states of the ended processes; count the generation up.
    Reinitialise,
    /// Begin the shutdown phase of §1.7; `Gone` follows.
    ShutDown,
    /// Shut down once the invocation is over.
    StopLater,
    /// Free everything.
    Destroy,
}

/// An event the phase has no answer to: a bug of coldframe, never of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} is illegal in phase {phase:?}")]
pub struct IllegalTransition {
    pub phase: Phase,
    pub event: Event,
}

impl Phase {
    /// The whole policy: the next phase and what is to be done. Nothing else changes a phase.
    pub fn on(self, event: Event) -> Result<(Self, &'static [Action]), IllegalTransition> {
        use Action as A;
        use Event as E;
        use InitStep as I;
        Ok(match (self, event) {
            // Init.
            (Self::Created, E::Start) => (Self::Init(I::Extensions), &[A::StartExtensions]),
            (Self::Init(I::Extensions), E::ExtensionsRegistered) => {
                (Self::Init(I::Runtime), &[A::StartRuntime])
            }
            (Self::Init(I::Runtime), E::RuntimeReady) => {
                (Self::Init(I::Settle), &[A::TellInitRuntimeDone])
            }
            (Self::Init(I::Settle), E::AllReady) => (Self::Idle, &[A::TellInitReport, A::Offer]),
            (Self::Init(I::Runtime), E::Fatal | E::Timeout) => {
                (Self::Reset, &[A::TellInitRuntimeDone, A::TellInitReport, A::KillAll])
            }
            (Self::Init(_), E::Fatal | E::Timeout) => {
                (Self::Reset, &[A::TellInitReport, A::KillAll])
            }

            // An invocation that begins with an init.
            (Self::NeedsInit, E::Invoke) => {
                (Self::InvokeInit(I::Extensions), &[A::StartExtensions])
            }
            (Self::InvokeInit(I::Extensions), E::ExtensionsRegistered) => {
                (Self::InvokeInit(I::Runtime), &[A::StartRuntime])
            }
            (Self::InvokeInit(I::Runtime), E::RuntimeReady) => {
                (Self::InvokeInit(I::Settle), &[A::TellInitRuntimeDone])
            }
            (Self::InvokeInit(I::Settle), E::AllReady) => {
                (Self::Invoke, &[A::TellInitReport, A::TellStart, A::Deliver])
            }
            (Self::InvokeInit(I::Runtime), E::Fatal | E::Timeout) => (
                Self::Reset,
                &[
                    A::TellInitRuntimeDone,
                    A::TellInitReport,
                    A::TellStart,
                    A::AnswerError,
                    A::TellReport,
                    A::KillAll,
                ],
            ),
            (Self::InvokeInit(_), E::Fatal | E::Timeout) => (
                Self::Reset,
                &[A::TellInitReport, A::TellStart, A::AnswerError, A::TellReport, A::KillAll],
            ),

            // An invocation.
            // The event goes first; `start` is told before anything the function prints is read.
            (Self::Idle, E::Invoke) => (Self::Invoke, &[A::Deliver, A::TellStart]),
            (Self::Frozen, E::Invoke) => (Self::Invoke, &[A::Deliver, A::Thaw, A::TellStart]),
            (Self::Invoke, E::Respond) => (Self::Responded, &[A::Answer]),
            (Self::Responded, E::RuntimeReady) => (Self::Responded, &[A::TellRuntimeDone]),
            (Self::Responded, E::AllReady) => (Self::Idle, &[A::TellReport, A::Offer]),
            (Self::Invoke, E::Fatal | E::Timeout) => {
                (Self::Reset, &[A::TellRuntimeDone, A::AnswerError, A::TellReport, A::KillAll])
            }
            // The caller keeps its answer; only the log tells (§7.2).
            (Self::Responded, E::Fatal | E::Timeout) => {
                (Self::Reset, &[A::TellRuntimeDone, A::TellReport, A::KillAll])
            }

            // Between invocations.
            (Self::Idle, E::Freeze) => (Self::Frozen, &[A::Freeze]),
            (Self::Idle, E::Fatal) => (Self::Reset, &[A::Withdraw, A::KillAll]),
            // PID 1 must run to kill and reap.
            (Self::Frozen, E::Fatal) => (Self::Reset, &[A::Withdraw, A::Thaw, A::KillAll]),
            // An invocation was faster than the wish to freeze.
            (Self::Invoke | Self::Responded | Self::Reset | Self::ShuttingDown, E::Freeze) => {
                (self, &[])
            }

            // The end of a reset.
            (Self::Reset, E::Gone) => (Self::NeedsInit, &[A::Reinitialise, A::Offer]),
            // What still comes from processes that are being killed means nothing.
            (
                Self::Reset | Self::ShuttingDown | Self::NeedsInit,
                E::ExtensionsRegistered | E::RuntimeReady | E::AllReady | E::Respond | E::Fatal,
            ) => (self, &[]),
            // They do not end: the sandbox is given up.
            (Self::Reset | Self::ShuttingDown, E::Timeout) => {
                (Self::Terminated, &[A::Withdraw, A::Destroy])
            }

            // Shutdown.
            (Self::Created | Self::NeedsInit, E::Stop) => {
                (Self::Terminated, &[A::Withdraw, A::Destroy])
            }
            (Self::Init(_) | Self::Idle, E::Stop) => {
                (Self::ShuttingDown, &[A::Withdraw, A::ShutDown])
            }
            (Self::Frozen, E::Stop) => (Self::ShuttingDown, &[A::Withdraw, A::Thaw, A::ShutDown]),
            (Self::InvokeInit(_) | Self::Invoke | Self::Responded | Self::Reset, E::Stop) => {
                (self, &[A::StopLater])
            }
            (Self::ShuttingDown | Self::Terminated, E::Stop) => (self, &[]),
            (Self::ShuttingDown, E::Gone) => (Self::Terminated, &[A::Destroy]),

            // The sandbox is gone.
            (Self::InvokeInit(_), E::Lost) => (
                Self::Terminated,
                &[
                    A::TellInitReport,
                    A::TellStart,
                    A::AnswerError,
                    A::TellReport,
                    A::Withdraw,
                    A::Destroy,
                ],
            ),
            (Self::Invoke, E::Lost) => (
                Self::Terminated,
                &[A::TellRuntimeDone, A::AnswerError, A::TellReport, A::Withdraw, A::Destroy],
            ),
            (Self::Responded, E::Lost) => {
                (Self::Terminated, &[A::TellRuntimeDone, A::TellReport, A::Withdraw, A::Destroy])
            }
            (Self::Terminated, E::Lost) => (self, &[]),
            (_, E::Lost) => (Self::Terminated, &[A::Withdraw, A::Destroy]),

            (phase, event) => return Err(IllegalTransition { phase, event }),
        })
    }

    /// Whether an invocation is held that its caller, or at least its log, still waits for.
    pub fn holds_invocation(self) -> bool {
        matches!(self, Self::InvokeInit(_) | Self::Invoke | Self::Responded)
    }

    /// Whether processes of the function may be running.
    pub fn is_running(self) -> bool {
        !matches!(self, Self::Created | Self::NeedsInit | Self::Frozen | Self::Terminated)
    }

    /// The word shown to users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Init(_) => "init",
            Self::NeedsInit => "needs-init",
            Self::InvokeInit(_) => "invoke-init",
            Self::Idle => "idle",
            Self::Frozen => "frozen",
            Self::Invoke => "invoke",
            Self::Responded => "responded",
            Self::Reset => "reset",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }
}

/// Every phase, for tests and tables.
pub const PHASES: [Phase; 15] = [
    Phase::Created,
    Phase::Init(InitStep::Extensions),
    Phase::Init(InitStep::Runtime),
    Phase::Init(InitStep::Settle),
    Phase::NeedsInit,
    Phase::InvokeInit(InitStep::Extensions),
    Phase::InvokeInit(InitStep::Runtime),
    Phase::InvokeInit(InitStep::Settle),
    Phase::Idle,
    Phase::Frozen,
    Phase::Invoke,
    Phase::Responded,
    Phase::Reset,
    Phase::ShuttingDown,
    Phase::Terminated,
];

/// Every event, for tests and tables.
pub const EVENTS: [Event; 12] = [
    Event::Start,
    Event::ExtensionsRegistered,
    Event::RuntimeReady,
    Event::AllReady,
    Event::Invoke,
    Event::Respond,
    Event::Fatal,
    Event::Timeout,
    Event::Freeze,
    Event::Stop,
    Event::Gone,
    Event::Lost,
];

#[cfg(test)]
mod tests;
