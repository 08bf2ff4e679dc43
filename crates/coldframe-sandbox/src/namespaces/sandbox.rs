//! One sandbox of the namespaces driver, and the host's end of its PID 1.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use coldframe_guest::protocol::{
    Descriptors, Event as GuestEvent, PACKET_BYTES_MAX, Request, Spawn, fits,
};
use coldframe_guest::transport;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::Held;
use crate::{
    BoxFuture, Command, Error, Event, Exit, LOG_DESCRIPTOR, Network, Process, Sandbox, SpawnError,
    step, sys,
};

/// A sandbox that isn't frozen after this never will be.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// How long `cgroup.events` is read again and again before a timer, whose grain is 1 ms, is used.
const EAGER_LIMIT: Duration = Duration::from_micros(200);

/// How long PID 1 may take to make a socket.
const SOCKET_LIMIT: Duration = Duration::from_secs(2);

/// Connections one relay carries at a time.
const RELAYED_CONNECTIONS_MAX: usize = 256;

/// The host's end of the socket to PID 1.
pub(super) struct Control {
    socket: Arc<AsyncFd<OwnedFd>>,
}

impl Control {
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Error> {
        let connect = || -> io::Result<_> {
            rustix::io::ioctl_fionbio(&socket, true)?;
            sys::async_fd(socket)
        };
        Ok(Self { socket: Arc::new(step(connect(), "reach PID 1")?) })
    }

    /// Whether PID 1 still holds its end.
    pub(super) fn is_open(&self) -> bool {
        let mut ready = [rustix::event::PollFd::new(&*self.socket, rustix::event::PollFlags::IN)];
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        // Nothing is expected from it: readable means closed.
        rustix::event::poll(&mut ready, Some(&now)) == Ok(0)
    }

    pub(super) async fn send(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let packet = request.encode();
        if !fits(&packet) {
            return Err(Error::CommandTooLong);
        }
        let sent = self.socket.async_io(Interest::WRITABLE, |fd| transport::send(fd, &packet, fds));
        sent.await.map_err(|_| Error::Gone)
    }

    /// For messages that always fit the socket's buffer.
    fn send_now(&self, request: &Request) -> Result<(), Error> {
        transport::send(self.socket.get_ref(), &request.encode(), &[]).map_err(|_| Error::Gone)
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<(GuestEvent, Descriptors), Error> {
        let received = self
            .socket
            .async_io(Interest::READABLE, |fd| transport::receive(fd, buffer))
            .await
            .map_err(|_| Error::Gone)?;
        let (length, descriptors) = received.ok_or(Error::Gone)?;
        let event = GuestEvent::decode(&buffer[..length]).map_err(|_| Error::Gone)?;
        Ok((event, descriptors))
    }

    /// The next message, its failure as an error. Only while nothing runs in the sandbox.
    pub(super) async fn expect(&mut self, what: &str) -> Result<(GuestEvent, Descriptors), Error> {
        match self.receive(&mut [0; 4096]).await? {
            (GuestEvent::Failed { step, errno }, _) => {
                let cause = io::Error::from_raw_os_error(errno);
                Err(Error::Step(format!("{what}: {step}"), cause))
            }
            message => Ok(message),
        }
    }
}

pub(super) struct NamespaceSandbox {
    control: Arc<Control>,
    replies: mpsc::UnboundedReceiver<GuestEvent>,
    reader: AbortHandle,
    relays: Vec<AbortHandle>,
    held: Held,
    next_process: u32,
    frozen: bool,
    /// The limit of CPU time, thousandths of one CPU.
    cpu: Option<u32>,
    /// The peak as the kernel tells it, and without what it can take back, bytes.
    peak: (u64, u64),
    lost: Arc<AtomicBool>,
}

impl NamespaceSandbox {
    pub(super) fn new(
        held: Held,
        control: Control,
        events: mpsc::UnboundedSender<Event>,
        relays: Vec<AbortHandle>,
    ) -> (Self, Arc<Inside>) {
        let (replied, replies) = mpsc::unbounded_channel();
        let (socket_made, sockets) = mpsc::unbounded_channel();
        let control = Arc::new(control);
        let lost = Arc::new(AtomicBool::new(false));
        let told = Told { replies: replied, events, sockets: socket_made, lost: lost.clone() };
        let reader = tokio::spawn(read(control.clone(), told));
        let inside = Inside { control: control.clone(), sockets: Mutex::new(sockets) };
        let sandbox = Self {
            control,
            replies,
            reader: reader.abort_handle(),
            relays,
            held,
            next_process: 0,
            frozen: false,
            cpu: None,
            peak: (0, 0),
            lost,
        };
        (sandbox, Arc::new(inside))
    }

    fn group(&self) -> Result<&super::Group, Error> {
        if self.lost.load(Ordering::Acquire) {
            return Err(Error::Gone);
        }
        self.held.group.as_ref().ok_or(Error::Gone)
    }

    async fn freeze_group(&self) -> Result<(), Error> {
        let group = self.group()?;
        let file = |error| Error::Cgroup("cgroup.freeze".into(), error);
        group.wish_frozen(true).map_err(file)?;
        let began = Instant::now();
        let mut eager = true;
        // The kernel's own notification may be 10 ms late; the file is right at once.
        while !group.is_frozen().map_err(file)? {
            if self.lost.load(Ordering::Acquire) {
                return Err(Error::Gone);
            }
            if began.elapsed() > FREEZE_LIMIT {
                return Err(Error::FreezeTimeout { waited: began.elapsed() });
            }
            if began.elapsed() < EAGER_LIMIT {
                // To the function's threads, which must run to stop, and to other tasks.
                std::thread::yield_now();
                tokio::task::yield_now().await;
                continue;
            }
            if std::mem::take(&mut eager) && self.cpu.is_some() {
                // What has used up its share of CPU time would stop only in the next period.
                group.limit_cpu(None)?;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !eager && self.cpu.is_some() {
            group.limit_cpu(self.cpu)?;
        }
        Ok(())
    }
}

/// The network inside, by sockets that PID 1 makes.
pub(super) struct Inside {
    control: Arc<Control>,
    /// Answers to `Socket`, one at a time.
    sockets: Mutex<mpsc::UnboundedReceiver<Option<OwnedFd>>>,
}

impl Network for Inside {
    fn socket(&self) -> BoxFuture<'_, Result<OwnedFd, Error>> {
        Box::pin(async {
            let mut sockets = self.sockets.lock().await;
            // The answer to somebody who went away before it came.
            while sockets.try_recv().is_ok() {}
            self.control.send(&Request::Socket, &[]).await?;
            let answer = tokio::time::timeout(SOCKET_LIMIT, sockets.recv()).await;
            answer.ok().flatten().flatten().ok_or(Error::Gone)
        })
    }
}

/// Whom PID 1's messages are for.
struct Told {
    replies: mpsc::UnboundedSender<GuestEvent>,
    events: mpsc::UnboundedSender<Event>,
    sockets: mpsc::UnboundedSender<Option<OwnedFd>>,
    lost: Arc<AtomicBool>,
}

/// Sorts PID 1's messages into replies, sockets and events, until it is gone.
async fn read(control: Arc<Control>, told: Told) {
    let Told { replies, events, sockets, lost } = told;
    let mut buffer = vec![0; PACKET_BYTES_MAX.min(4096)];
    while let Ok((message, mut descriptors)) = control.receive(&mut buffer).await {
        match message {
            GuestEvent::Exited { process, code, signalled, core_dumped } => {
                let exit = match signalled {
                    true => Exit::Signal { signal: code, core_dumped },
                    false => Exit::Code(code),
                };
                let _ = events.send(Event::Exited { process, exit });
            }
            GuestEvent::AllGone => {
                let _ = events.send(Event::AllGone);
            }
            GuestEvent::Socket => {
                let _ = sockets.send(descriptors.pop_front());
            }
            reply => {
                let _ = replies.send(reply);
            }
        }
    }
    lost.store(true, Ordering::Release);
    let _ = events.send(Event::Lost);
}

impl Sandbox for NamespaceSandbox {
    fn spawn(&mut self, command: Command) -> BoxFuture<'_, Result<Process, SpawnError>> {
        Box::pin(async move {
            let file = command.argv.first().cloned().unwrap_or_default();
            self.next_process += 1;
            let id = self.next_process;
            let (read, write) = step(output_pipe(), "make a pipe")?;
            let (mut log, mut log_write) = (None, None);
            if command.log {
                let (read, write) = step(output_pipe(), "make a pipe")?;
                (log, log_write) = (Some(read), Some(write));
            }
            let spawn = Spawn {
                process: id,
                argv: command.argv,
                env: command.env,
                cwd: command.cwd,
                log: command.log.then_some(LOG_DESCRIPTOR),
            };
            let pipes: Vec<_> = [Some(&write), log_write.as_ref()].into_iter().flatten().collect();
            let pipes: Vec<_> = pipes.into_iter().map(AsFd::as_fd).collect();
            self.control.send(&Request::Spawn(spawn), &pipes).await?;
            loop {
                match self.replies.recv().await.ok_or(Error::Gone)? {
                    GuestEvent::Spawned { process, pid } if process == id => {
                        return Ok(Process { id, pid, output: read, log });
                    }
                    GuestEvent::SpawnFailed { process, errno, step } if process == id => {
                        let source = io::Error::from_raw_os_error(errno);
                        return Err(SpawnError::Refused { file, step, source });
                    }
                    _ => {}
                }
            }
        })
    }

    fn signal(&mut self, process: u32, signal: i32) -> Result<(), Error> {
        self.control.send_now(&Request::Signal { process, signal })
    }

    fn kill_all(&mut self) -> Result<(), Error> {
        self.control.send_now(&Request::KillAll)
    }

    fn freeze(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if self.frozen {
                return Ok(());
            }
            if self.group()?.can_freeze() {
                self.freeze_group().await?;
            } else {
                self.control.send_now(&Request::Suspend)?;
                loop {
                    match self.replies.recv().await.ok_or(Error::Gone)? {
                        GuestEvent::Suspended => break,
                        _ => continue,
                    }
                }
            }
            self.frozen = true;
            Ok(())
        })
    }

    fn thaw(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.frozen) {
            return Ok(());
        }
        let group = self.group()?;
        if group.can_freeze() {
            let thawed = group.wish_frozen(false);
            thawed.map_err(|error| Error::Cgroup("cgroup.freeze".into(), error))
        } else {
            self.control.send_now(&Request::Resume)
        }
    }

    fn limit_cpu(&mut self, millis: Option<u32>) -> Result<(), Error> {
        self.cpu = millis;
        self.group()?.limit_cpu(millis)
    }

    fn memory_peak_bytes(&mut self) -> u64 {
        let Some(group) = &self.held.group else { return self.peak.1 };
        match group.memory_peak() {
            // What stands behind an unchanged peak has not changed either.
            Some(peak) if peak == self.peak.0 => {}
            Some(peak) => {
                let held = peak.saturating_sub(group.reclaimable_memory());
                self.peak = (peak, held.max(self.peak.1));
            }
            None => self.peak.1 = self.peak.1.max(resident_peak(self.held.pid)),
        }
        self.peak.1
    }

    fn out_of_memory_kills(&mut self) -> u64 {
        self.held.group.as_ref().map_or(0, super::Group::out_of_memory_kills)
    }
}

/// Where no group counts: the largest resident memory of each living process, added up.
fn resident_peak(pid: u32) -> u64 {
    let read =
        |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let own = read("status").lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let children = read(&format!("task/{pid}/children"));
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    own.unwrap_or_default() * 1024 + children.map(resident_peak).sum::<u64>()
}

impl Drop for NamespaceSandbox {
    fn drop(&mut self) {
        self.reader.abort();
        self.relays.iter().for_each(AbortHandle::abort);
    }
}

/// The host reads without blocking; inside it is an ordinary pipe.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// Carries connections from a listener inside to the same port of the host's loopback.
pub(super) fn relay(port: u16, listener: std::net::TcpListener) -> AbortHandle {
    tokio::spawn(async move {
        let listening =
            listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
        let Ok(listener) = listening else { return };
        // Dropped with this task: all connections end with the sandbox.
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() >= RELAYED_CONNECTIONS_MAX {
                connections.join_next().await;
            }
            let Ok((mut inside, _)) = listener.accept().await else {
                // Out of descriptors, say; what is lacking comes back in its own time.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            connections.spawn(async move {
                if let Ok(mut outside) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                    let _ = inside.set_nodelay(true);
                    let _ = outside.set_nodelay(true);
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                }
            });
        }
    })
    .abort_handle()
}
