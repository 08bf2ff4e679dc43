//! Isolated sets of processes that can be frozen: the traits [`Driver`] and [`Sandbox`], and the
//! [`namespaces`] driver.
//!
//! **Invariant:** has never heard of Lambda, functions or invocations. A sandbox runs processes,
//! freezes, thaws and kills them, limits what they use, and leaves nothing behind when dropped.

pub mod namespaces;
mod sys;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use coldframe_guest::protocol::SpawnStep;

/// A boxed future, as the traits here return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes sandboxes of one kind.
pub trait Driver: Send + Sync {
    /// Makes a sandbox with nothing running in it but its own PID 1.
    fn create(&self, spec: Spec) -> BoxFuture<'_, Result<Created, Error>>;
}

/// What a sandbox is to be.
#[derive(Clone, Debug)]
pub struct Spec {
    pub hostname: String,
    /// Directories seen read-only inside.
    pub mounts: Vec<Mount>,
    /// Memory of all processes together, bytes. Exceeding it kills.
    pub memory_bytes: u64,
    /// Size of `/tmp`, MB. Exceeding it says `ENOSPC`; not part of the memory.
    pub scratch_mb: u32,
    /// Processes and threads together.
    pub processes_max: u32,
    /// Open files of each process.
    pub open_files_max: u64,
}

/// A directory of the host, read-only inside.
#[derive(Clone, Debug)]
pub struct Mount {
    pub source: PathBuf,
    /// One of the mount points every sandbox has: `/var/task`, `/opt`, `/var/runtime`, `/var/lang`.
    pub target: &'static str,
}

/// A fresh sandbox and its ends.
pub struct Created {
    pub sandbox: Box<dyn Sandbox>,
    /// What happens inside. Ends when the sandbox does.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Listens at `127.0.0.1:9001` *inside*; connections are accepted by the host.
    pub listener: std::net::TcpListener,
    /// Reaches what listens inside.
    pub network: Arc<dyn Network>,
}

/// The network inside a sandbox, for as long as the sandbox lives.
pub trait Network: Send + Sync {
    /// A TCP socket that connects as a process inside would. Non-blocking, not yet connected.
    fn socket(&self) -> BoxFuture<'_, Result<OwnedFd, Error>>;
}

/// A process to start.
#[derive(Clone, Debug)]
pub struct Command {
    /// The first is the file to execute, absolute, as seen inside.
    pub argv: Vec<String>,
    /// Exactly the variables it gets, `KEY=VALUE`.
    pub env: Vec<String>,
    pub cwd: String,
    /// Whether it gets a pipe for framed records as descriptor [`LOG_DESCRIPTOR`].
    pub log: bool,
}

/// The number of a process's log pipe: above what anything opens by the way.
pub const LOG_DESCRIPTOR: u32 = 62;

/// A started process.
#[derive(Debug)]
pub struct Process {
    /// Names it in [`Event::Exited`] and [`Sandbox::signal`].
    pub id: u32,
    /// Its pid inside.
    pub pid: u32,
    /// What it and its children write to stdout and stderr, in order. Non-blocking.
    pub output: OwnedFd,
    /// What is written to its log pipe. Non-blocking.
    pub log: Option<OwnedFd>,
}

/// What happens inside a sandbox by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A started process ended.
    Exited { process: u32, exit: Exit },
    /// After [`Sandbox::kill_all`]: no process is left.
    AllGone,
    /// The sandbox is gone and nothing works any more. The last event.
    Lost,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal { signal: i32, core_dumped: bool },
}

/// One isolated set of processes. Dropping it kills what still runs and frees all it held.
pub trait Sandbox: Send {
    /// Starts a process.
    fn spawn(&mut self, command: Command) -> BoxFuture<'_, Result<Process, SpawnError>>;
    /// Signals a process and its group. Nothing happens if it has ended.
    fn signal(&mut self, process: u32, signal: i32) -> Result<(), Error>;
    /// Kills every process; [`Event::AllGone`] follows. Files in `/tmp` stay.
    fn kill_all(&mut self) -> Result<(), Error>;
    /// Stops every thread inside; returns when none runs any more.
    fn freeze(&mut self) -> BoxFuture<'_, Result<(), Error>>;
    /// Lets every thread run on.
    fn thaw(&mut self) -> Result<(), Error>;
    /// Limits CPU time to thousandths of one CPU; `None` lifts the limit.
    fn limit_cpu(&mut self, millis: Option<u32>) -> Result<(), Error>;
    /// Largest memory held at once that could not have been given back, bytes.
    fn memory_peak_bytes(&mut self) -> u64;
    /// Processes the kernel has killed for the memory limit.
    fn out_of_memory_kills(&mut self) -> u64;
}

/// A process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused this command.
    #[error("cannot start {file}")]
    Refused { file: String, step: SpawnStep, source: io::Error },
    #[error(transparent)]
    Sandbox(#[from] Error),
}

/// A step of a driver failed: the message names the step, `source` the cause.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {0}")]
    Step(String, #[source] io::Error),
    #[error("cannot use cgroup file {0}")]
    Cgroup(PathBuf, #[source] io::Error),
    #[error("threads still run {waited:?} after the freeze")]
    FreezeTimeout { waited: Duration },
    #[error("the command does not fit a message: arguments and variables are too long")]
    CommandTooLong,
    #[error("the sandbox is gone")]
    Gone,
}

pub(crate) fn step<T>(result: Result<T, impl Into<io::Error>>, step: &str) -> Result<T, Error> {
    result.map_err(|error| Error::Step(step.to_owned(), error.into()))
}
