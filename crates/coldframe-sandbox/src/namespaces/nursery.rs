//! The nursery: a small single-threaded process, forked before the service starts any thread, that
//! makes sandboxes by `clone3`. Forking the service itself would cost milliseconds and grow with it.
//!
//! ```text
//! service --Make{ports} + cgroup--> nursery --clone3--> PID 1 of a sandbox
//!         <--pid + pidfd, control---        (PID 1 tells Ready + listeners over `control` itself)
//!         --Trees{paths}---------->         open_tree, read-only
//!         <--mounts----------------
//!         --UserNamespace{base}--->         a short-lived child holds it open
//!         <--namespace-------------
//! ```
//! It ends with the service, and every sandbox ends with it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use coldframe_guest::init::{Step, StepFailed};
use coldframe_guest::protocol::{Descriptors, Event, PACKET_BYTES_MAX};
use coldframe_guest::{init, netlink, sys as guest_sys, transport};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;

use super::base;
use crate::{Error, step, sys};

/// Ids in the range of one sandbox: 0 is PID 1's, 993 the functions'.
pub(super) const IDS: u32 = 1024;
/// User of everything spawned, as on AWS.
pub(super) const USER: u32 = 993;
pub(super) const GROUP: u32 = 990;
/// Where the Runtime API listens inside.
const RUNTIME_API_PORT: u16 = 9001;

/// The service's end of the nursery. Made by [`Nursery::start`], before any thread.
#[derive(Debug)]
pub struct Nursery {
    socket: OwnedFd,
    pub(super) pid: u32,
    pub(super) rootless: bool,
}

impl Nursery {
    /// Forks the nursery. Call it first thing in `main`: a process with threads is refused.
    ///
    /// `base` is an empty directory of this service; the nursery mounts the sandboxes' root there,
    /// in a namespace of its own.
    ///
    /// # Errors
    /// If the process has threads, or the system has no more processes.
    pub fn start(base: PathBuf) -> io::Result<Self> {
        let rootless = !rustix::process::geteuid().is_root();
        let (service, nursery) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let Some(pid) = guest_sys::fork()? else {
            drop(service);
            let code = match run(nursery, &base, rootless) {
                Ok(()) => 0,
                Err(_) => 1,
            };
            guest_sys::exit_now(code)
        };
        Ok(Self { socket: service, pid, rootless })
    }

    /// The asynchronous end; needs a running runtime.
    pub(super) fn connect(self) -> io::Result<Connection> {
        rustix::io::ioctl_fionbio(&self.socket, true)?;
        let socket = sys::async_fd(self.socket)?;
        Ok(Connection { socket: Mutex::new(socket) })
    }
}

/// One question at a time.
pub(super) struct Connection {
    socket: Mutex<AsyncFd<OwnedFd>>,
}

impl Connection {
    async fn ask(
        &self,
        what: &str,
        packet: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Vec<u8>, Descriptors), Error> {
        let socket = self.socket.lock().await;
        let sent = socket.async_io(Interest::WRITABLE, |fd| transport::send(fd, packet, fds)).await;
        step(sent, "reach the nursery")?;
        let mut buffer = vec![0; 1024];
        let received =
            socket.async_io(Interest::READABLE, |fd| transport::receive(fd, &mut buffer)).await;
        let (length, descriptors) = step(received, "hear the nursery")?.ok_or(Error::Gone)?;
        buffer.truncate(length);
        match buffer.split_first() {
            Some((b'k', rest)) => Ok((rest.to_vec(), descriptors)),
            Some((_, rest)) => match Event::decode(rest) {
                Ok(Event::Failed { step, errno }) => {
                    Err(Error::Step(step, io::Error::from_raw_os_error(errno)))
                }
                _ => step(Err(io::Error::from(io::ErrorKind::InvalidData)), what),
            },
            None => Err(Error::Gone),
        }
    }

    /// Makes a sandbox's PID 1: its pid outside, a descriptor of it, and its control socket.
    pub(super) async fn make(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        ports: &[u16],
    ) -> Result<(u32, OwnedFd, OwnedFd), Error> {
        let mut packet = vec![b'm'];
        ports.iter().for_each(|port| packet.extend_from_slice(&port.to_le_bytes()));
        let fds: Vec<_> = cgroup.into_iter().collect();
        let (reply, mut fds) = self.ask("make a sandbox", &packet, &fds).await?;
        let pid = reply.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        match (pid, fds.pop_front(), fds.pop_front()) {
            (Some(pid), Some(pidfd), Some(control)) => Ok((pid, pidfd, control)),
            _ => Err(Error::Gone),
        }
    }

    /// Detached read-only copies of directory trees.
    pub(super) async fn trees(&self, paths: &[&Path]) -> Result<Descriptors, Error> {
        let mut packet = vec![b't'];
        for path in paths {
            packet.extend_from_slice(path.as_os_str().as_bytes());
            packet.push(0);
        }
        let (_, fds) = self.ask("mount the function's code", &packet, &[]).await?;
        if fds.len() == paths.len() { Ok(fds) } else { Err(Error::Gone) }
    }

    /// A user namespace whose ids 0.. are `base`.. outside.
    pub(super) async fn user_namespace(&self, base: u32) -> Result<OwnedFd, Error> {
        let packet = [&[b'u'][..], &base.to_le_bytes()].concat();
        let (_, mut fds) = self.ask("make a user namespace", &packet, &[]).await?;
        fds.pop_front().ok_or(Error::Gone)
    }
}

fn run(socket: OwnedFd, base: &Path, rootless: bool) -> io::Result<()> {
    guest_sys::ignore_children();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Sandboxes see PID 1's command line, which must not tell of the host.
    guest_sys::rename_command_line("coldframe-init")?;
    let _ = rustix::thread::set_name(c"coldframe-nurse");
    // A terminal's Ctrl-C is the service's to handle.
    let _ = rustix::process::setsid();
    let ready = prepare(base, rootless);
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let Some((length, fds)) = transport::receive(&socket, &mut buffer)? else { return Ok(()) };
        let answer = match &ready {
            Ok(()) => handle(&socket, &buffer[..length], fds, base, rootless),
            Err(failed) => Err(StepFailed {
                step: failed.step.clone(),
                source: io::Error::from_raw_os_error(
                    failed.source.raw_os_error().unwrap_or(libc::EIO),
                ),
            }),
        };
        if let Err(failed) = answer {
            let event = Event::Failed {
                step: failed.step,
                errno: failed.source.raw_os_error().unwrap_or(libc::EIO),
            };
            transport::send(&socket, &[&[b'e'][..], &event.encode()].concat(), &[])?;
        }
    }
}

fn prepare(base: &Path, rootless: bool) -> Result<(), StepFailed> {
    if rootless {
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).step("make a user namespace")?;
        let own = Path::new("/proc/self");
        write_maps(own, (0, user.as_raw(), 1), (0, group.as_raw(), 1), true)?;
    } else {
        sys::unshare(libc::CLONE_NEWNS).step("make a mount namespace")?;
    }
    base::build(base)
}

/// `(first inside, first outside, count)` each.
fn write_maps(
    process: &Path,
    users: (u32, u32, u32),
    groups: (u32, u32, u32),
    rootless: bool,
) -> Result<(), StepFailed> {
    let write = |file: &str, text: String| {
        let mut file = File::options().write(true).open(process.join(file))?;
        file.write_all(text.as_bytes())
    };
    let map = |(inside, outside, count)| format!("{inside} {outside} {count}");
    if rootless {
        write("setgroups", "deny".to_owned()).step("deny setgroups")?;
    }
    write("uid_map", map(users)).step("map the users")?;
    write("gid_map", map(groups)).step("map the groups")
}

fn handle(
    socket: &OwnedFd,
    packet: &[u8],
    mut fds: Descriptors,
    base: &Path,
    rootless: bool,
) -> Result<(), StepFailed> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    match packet.split_first() {
        Some((b'm', ports)) => {
            let ports: Vec<u16> =
                ports.chunks_exact(2).map(|port| u16::from_le_bytes([port[0], port[1]])).collect();
            let made = make(fds.pop_front(), &ports, base, rootless)?;
            let (pid, pidfd, control) = made;
            let reply = [&[b'k'][..], &pid.to_le_bytes()].concat();
            transport::send(socket, &reply, &[pidfd.as_fd(), control.as_fd()]).step("answer")
        }
        Some((b't', paths)) => {
            let paths = paths.split(|byte| *byte == 0).filter(|path| !path.is_empty());
            let trees: Vec<OwnedFd> = paths
                .map(|path| {
                    let path = Path::new(OsStr::from_bytes(path));
                    base::detached(path).step(&format!("mount {}", path.display()))
                })
                .collect::<Result<_, _>>()?;
            let trees: Vec<BorrowedFd<'_>> = trees.iter().map(AsFd::as_fd).collect();
            transport::send(socket, b"k", &trees).step("answer")
        }
        Some((b'u', number)) => {
            let number = number.try_into().map_err(|_| invalid()).step("read the request")?;
            let namespace = user_namespace(u32::from_le_bytes(number))?;
            transport::send(socket, b"k", &[namespace.as_fd()]).step("answer")
        }
        _ => Err(invalid()).step("read the request"),
    }
}

/// Makes a user namespace by a child that lives just long enough to have it opened.
fn user_namespace(base: u32) -> Result<OwnedFd, StepFailed> {
    let (wait, go) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let child = sys::clone3(libc::CLONE_NEWUSER, None).step("make a user namespace")?;
    let Some(child) = child else {
        drop(go);
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0; 1]));
        guest_sys::exit_now(0)
    };
    let process = PathBuf::from(format!("/proc/{}", child.pid));
    write_maps(&process, (0, base, IDS), (0, base, IDS), false)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(process.join("ns/user"), flags, rustix::fs::Mode::empty())
        .step("open the user namespace")
}

fn make(
    cgroup: Option<OwnedFd>,
    ports: &[u16],
    base: &Path,
    rootless: bool,
) -> Result<(u32, OwnedFd, OwnedFd), StepFailed> {
    let (host, guest) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .step("make a socket pair")?;
    let (wait, go) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step("make a pipe")?;
    let mut flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if rootless {
        flags |= libc::CLONE_NEWUSER;
    }
    let child =
        sys::clone3(flags, cgroup.as_ref().map(AsFd::as_fd)).step("clone into namespaces")?;
    let Some(child) = child else {
        drop((go, host));
        // Until the nursery has written the maps, this process is nobody.
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0; 1]));
        become_pid_1(guest, ports, base, rootless)
    };
    if rootless {
        let process = PathBuf::from(format!("/proc/{}", child.pid));
        if let Err(failed) = write_maps(&process, (USER, 0, 1), (GROUP, 0, 1), true) {
            if let Some(pid) = Pid::from_raw(child.pid as i32) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            return Err(failed);
        }
    }
    drop(go);
    Ok((child.pid, child.pidfd, host))
}

fn become_pid_1(control: OwnedFd, ports: &[u16], base: &Path, rootless: bool) -> ! {
    if let Err(failed) = enter(&control, ports, base, rootless) {
        init::give_up(control, &failed);
    }
    init::run(control)
}

fn enter(control: &OwnedFd, ports: &[u16], base: &Path, rootless: bool) -> Result<(), StepFailed> {
    guest_sys::default_signals();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("follow the nursery")?;
    sys::close_all_but(control.as_fd()).step("close the nursery's files")?;
    let _ = rustix::thread::set_name(c"coldframe-init");
    let flags = rustix::fs::OFlags::RDWR;
    let null =
        rustix::fs::open(c"/dev/null", flags, rustix::fs::Mode::empty()).step("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step("leave the terminal")?;
    rustix::stdio::dup2_stdout(&null).step("leave the terminal")?;
    rustix::stdio::dup2_stderr(&null).step("leave the terminal")?;

    if rootless {
        base::unlock(base).step("unlock the root")?;
    }
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"proc", base.join("proc"), c"proc", hardened, None).step("mount /proc")?;
    rustix::process::chdir(base).step("enter the root")?;
    // The old root is mounted over the new one and then let go: no directory is needed for it.
    rustix::process::pivot_root(c".", c".").step("change the root")?;
    unmount(c".", UnmountFlags::DETACH).step("leave the host's root")?;
    rustix::process::chdir(c"/").step("enter the root")?;

    netlink::Netlink::route().and_then(|mut route| route.up(1)).step("bring up the loopback")?;
    let listeners: Vec<TcpListener> = std::iter::once(RUNTIME_API_PORT)
        .chain(ports.iter().copied())
        .map(|port| {
            TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
                .step(&format!("listen on port {port}"))
        })
        .collect::<Result<_, _>>()?;
    let listeners: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    transport::send(control, &Event::Ready.encode(), &listeners).step("tell the host")
}
