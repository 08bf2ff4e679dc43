//! A sandbox without a kernel's help, and a runtime that follows a script.
//!
//! The fake keeps a journal of what was done to it and fails the test when something is done that a
//! real sandbox could not bear: a spawn or a kill while frozen, two freezes in a row.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coldframe_sandbox::{
    BoxFuture, Command, Created, Driver, Error, Event, Exit, Network, Process, Sandbox, SpawnError,
    Spec,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What the scripted runtime does with an event, named by the event's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Answers with the payload.
    Respond,
    /// Posts an error.
    Error,
    /// Ends without an answer.
    Exit,
    /// Answers, then ends before it asks for the next event.
    RespondThenExit,
    /// Answers, asks for the next event, and a moment later ends, while a child of it keeps the
    /// connection open.
    RespondAndLeave,
    /// Never answers.
    Hang,
}

impl Act {
    /// Those that fail, if at all, only their own invocation.
    pub const ALL: [Self; 5] =
        [Self::Respond, Self::Error, Self::Exit, Self::RespondThenExit, Self::Hang];

    /// The event that makes the runtime act so.
    pub fn payload(self) -> String {
        format!("\"{self:?}\"")
    }

    fn parse(payload: &str) -> Self {
        Self::ALL
            .into_iter()
            .chain([Self::RespondAndLeave])
            .find(|act| act.payload() == payload)
            .unwrap_or(Self::Respond)
    }
}

/// Long enough to have been frozen meanwhile.
const LEAVE_AFTER: Duration = Duration::from_millis(20);

/// Something done to a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Created,
    Spawned,
    /// Its runtime ended by itself.
    Exited,
    Frozen,
    Thawed,
    KilledAll,
    Dropped,
}

/// Makes [`FakeSandbox`]es.
#[derive(Clone, Default)]
pub struct FakeDriver {
    journal: Arc<Mutex<HashMap<usize, Vec<Deed>>>>,
    count: Arc<AtomicUsize>,
    stuck: Arc<AtomicBool>,
}

impl FakeDriver {
    /// From now on no sandbox thaws.
    pub fn stick(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    /// The deeds, sandbox by sandbox, in the order of their making.
    pub fn journal(&self) -> Vec<Vec<Deed>> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sandboxes: Vec<_> = journal.iter().collect();
        sandboxes.sort_by_key(|(number, _)| **number);
        sandboxes.into_iter().map(|(_, deeds)| deeds.clone()).collect()
    }
}

impl FakeDriver {
    fn note(&self, number: usize, deed: Deed) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.entry(number).or_default().push(deed);
    }
}

impl Driver for FakeDriver {
    fn create(&self, _: Spec) -> BoxFuture<'_, Result<Created, Error>> {
        Box::pin(async move {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
            let (events, receiver) = mpsc::unbounded_channel();
            let sandbox = FakeSandbox {
                number: self.count.fetch_add(1, Ordering::SeqCst),
                driver: self.clone(),
                address: listener.local_addr().expect("it is bound"),
                events,
                runtime: None,
                frozen: false,
                processes: 0,
            };
            sandbox.note(Deed::Created);
            let network = Arc::new(FakeNetwork);
            Ok(Created { sandbox: Box::new(sandbox), events: receiver, listener, network })
        })
    }
}

/// The host's own.
struct FakeNetwork;

impl Network for FakeNetwork {
    fn socket(&self) -> BoxFuture<'_, Result<OwnedFd, Error>> {
        Box::pin(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("loopback is there");
            // Through its raw descriptor: tokio gives a socket away only when it is connected.
            Ok(socket.as_fd().try_clone_to_owned().expect("descriptors are there"))
        })
    }
}

struct FakeSandbox {
    number: usize,
    driver: FakeDriver,
    address: SocketAddr,
    events: mpsc::UnboundedSender<Event>,
    runtime: Option<JoinHandle<()>>,
    frozen: bool,
    processes: u32,
}

impl FakeSandbox {
    fn note(&self, deed: Deed) {
        self.driver.note(self.number, deed);
    }
}

impl Sandbox for FakeSandbox {
    fn spawn(&mut self, _: Command) -> BoxFuture<'_, Result<Process, SpawnError>> {
        assert!(!self.frozen, "PID 1 of a frozen sandbox spawns nothing");
        self.note(Deed::Spawned);
        self.processes += 1;
        let (id, address, events) = (self.processes, self.address, self.events.clone());
        let (number, driver) = (self.number, self.driver.clone());
        self.runtime = Some(tokio::spawn(async move {
            // Whatever ends the conversation ends the process.
            let _ = runtime(address).await;
            driver.note(number, Deed::Exited);
            let _ = events.send(Event::Exited { process: id, exit: Exit::Code(1) });
        }));
        Box::pin(async move {
            let (output, _) = std::io::pipe().expect("pipes are there");
            Ok(Process { id, pid: id, output: output.into(), log: None })
        })
    }

    fn signal(&mut self, _: u32, _: i32) -> Result<(), Error> {
        Ok(())
    }

    fn kill_all(&mut self) -> Result<(), Error> {
        assert!(!self.frozen, "PID 1 of a frozen sandbox kills nobody");
        self.note(Deed::KilledAll);
        if let Some(runtime) = self.runtime.take() {
            runtime.abort();
        }
        let _ = self.events.send(Event::AllGone);
        Ok(())
    }

    fn freeze(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        assert!(!std::mem::replace(&mut self.frozen, true), "frozen twice");
        self.note(Deed::Frozen);
        Box::pin(async { Ok(()) })
    }

    fn thaw(&mut self) -> Result<(), Error> {
        assert!(std::mem::replace(&mut self.frozen, false), "thawed though not frozen");
        if self.driver.stuck.load(Ordering::SeqCst) {
            return Err(Error::Gone);
        }
        self.note(Deed::Thawed);
        Ok(())
    }

    fn limit_cpu(&mut self, _: Option<u32>) -> Result<(), Error> {
        Ok(())
    }

    fn memory_peak_bytes(&mut self) -> u64 {
        0
    }

    fn out_of_memory_kills(&mut self) -> u64 {
        0
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.abort();
        }
        self.note(Deed::Dropped);
    }
}

/// The Runtime API's other side, by hand: one kept connection.
async fn runtime(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    loop {
        let next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(next.as_bytes()).await?;
        let (head, payload) = reply(&mut stream).await?;
        let id = head
            .lines()
            .find_map(|line| line.strip_prefix("Lambda-Runtime-Aws-Request-Id: "))
            .ok_or(std::io::ErrorKind::InvalidData)?
            .trim()
            .to_owned();
        let act = Act::parse(&payload);
        let what = match act {
            Act::Respond | Act::RespondThenExit | Act::RespondAndLeave => "response",
            Act::Error => "error",
            Act::Exit => return Ok(()),
            Act::Hang => std::future::pending().await,
        };
        let length = payload.len();
        let post = format!(
            "POST /2018-06-01/runtime/invocation/{id}/{what} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{payload}"
        );
        stream.write_all(post.as_bytes()).await?;
        reply(&mut stream).await?;
        if act == Act::RespondAndLeave {
            stream.write_all(next.as_bytes()).await?;
            // The child holds it until the platform closes it.
            tokio::spawn(async move { stream.read(&mut [0; 1024]).await });
            tokio::time::sleep(LEAVE_AFTER).await;
            return Ok(());
        }
        if act == Act::RespondThenExit {
            return Ok(());
        }
    }
}

async fn reply(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok()
                })
                .unwrap_or(0);
            if bytes.len() >= at + 4 + length {
                let body = String::from_utf8_lossy(&bytes[at + 4..at + 4 + length]).into_owned();
                return Ok((head, body));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
