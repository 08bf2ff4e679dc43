//! PID 1 of an environment: one thread, one loop.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MoveMountFlags, mount, move_mount};
use rustix::process::{Resource, Rlimit, WaitOptions, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::protocol::{Configure, Descriptors, Event, PACKET_BYTES_MAX, Request, Spawn, SpawnStep};
use crate::{netlink, seccomp, sys, transport};

/// Size of `/dev/shm`. Linux programs expect it; AWS has none that works (SEMANTICS.md).
const SHARED_MEMORY: &str = "mode=1777,size=16m,nr_inodes=256";

/// A step failed, with what it was called.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub struct StepFailed {
    pub step: String,
    #[source]
    pub source: io::Error,
}

/// Names the step of an error.
pub trait Step<T> {
    /// Turns any system call's error into a [`StepFailed`].
    fn step(self, step: &str) -> Result<T, StepFailed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, StepFailed> {
        self.map_err(|error| StepFailed { step: step.to_owned(), source: error.into() })
    }
}

/// Runs as PID 1 until the host closes `control`. Ends the process, and with it the namespace.
pub fn run(control: OwnedFd) -> ! {
    let code = match Init::new(control).and_then(Init::serve) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    sys::exit_now(code)
}

/// Tells the host that making the environment failed, and ends.
pub fn give_up(control: OwnedFd, failed: &StepFailed) -> ! {
    let _ = transport::send(&control, &failure(failed).encode(), &[]);
    sys::exit_now(1)
}

fn failure(failed: &StepFailed) -> Event {
    Event::Failed {
        step: failed.step.clone(),
        errno: failed.source.raw_os_error().unwrap_or(libc::EIO),
    }
}

struct Init {
    control: OwnedFd,
    children: OwnedFd,
    /// The host's numbers of spawned processes, by pid.
    processes: HashMap<u32, u32>,
    configure: Configure,
    /// Where spawned processes go, so that they can be frozen without PID 1.
    cgroup: Option<OwnedFd>,
    /// A `KillAll` waits for its `AllGone`.
    killing: bool,
}

impl Init {
    fn new(control: OwnedFd) -> io::Result<Self> {
        let children = sys::child_signals()?;
        Ok(Self {
            control,
            children,
            processes: HashMap::new(),
            configure: Configure::default(),
            cgroup: None,
            killing: false,
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let (mut control, mut children) = (false, false);
            {
                let mut ready = [
                    PollFd::new(&self.control, PollFlags::IN),
                    PollFd::new(&self.children, PollFlags::IN),
                ];
                rustix::io::retry_on_intr(|| poll(&mut ready, None))?;
                control |= !ready[0].revents().is_empty();
                children |= !ready[1].revents().is_empty();
            }
            if children {
                self.reap()?;
            }
            if control {
                let Some((length, descriptors)) = transport::receive(&self.control, &mut buffer)?
                else {
                    return Ok(());
                };
                let request = Request::decode(&buffer[..length])
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                self.handle(request, descriptors)?;
            }
        }
    }

    fn tell(&self, event: &Event) -> io::Result<()> {
        transport::send(&self.control, &event.encode(), &[])
    }

    fn handle(&mut self, request: Request, descriptors: Descriptors) -> io::Result<()> {
        match request {
            Request::Configure(configure) => {
                match become_environment(&configure, descriptors) {
                    Ok(cgroup) => {
                        self.cgroup = cgroup;
                        self.tell(&Event::Configured)?;
                    }
                    Err(failed) => {
                        self.tell(&failure(&failed))?;
                        return Err(failed.source);
                    }
                }
                self.configure = configure;
            }
            Request::Spawn(spawn) => {
                let event = match self.spawn(&spawn, descriptors) {
                    Ok(pid) => Event::Spawned { process: spawn.process, pid },
                    Err((step, errno)) => {
                        Event::SpawnFailed { process: spawn.process, errno, step }
                    }
                };
                self.tell(&event)?;
            }
            Request::Signal { process, signal } => {
                let group = self.processes.iter().find(|(_, known)| **known == process);
                if let Some((pid, _)) = group {
                    // The group may be gone already; its exit tells the host.
                    let _ = sys::kill_group(*pid, signal);
                }
            }
            Request::KillAll => {
                self.killing = true;
                self.reap()?;
            }
            Request::Suspend => {
                let _ = sys::kill_everyone(libc::SIGSTOP);
                self.tell(&Event::Suspended)?;
            }
            Request::Resume => {
                let _ = sys::kill_everyone(libc::SIGCONT);
                self.tell(&Event::Resumed)?;
            }
            Request::Socket => {
                let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
                let (family, kind) =
                    (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
                // Without one the host learns that there is none.
                let socket = rustix::net::socket_with(family, kind, flags, None).ok();
                let sent: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
                let event = Event::Socket.encode();
                if transport::send(&self.control, &event, &sent).is_err() {
                    transport::send(&self.control, &event, &[])?;
                }
            }
        }
        Ok(())
    }

    /// Takes every ended child, tells of the spawned ones, and carries a `KillAll` on.
    fn reap(&mut self) -> io::Result<()> {
        let mut drained = [0; 128 * 4];
        while rustix::io::read(&self.children, &mut drained).is_ok_and(|length| length > 0) {}
        if self.killing {
            // Again at each turn: a process may have forked while the last signal was on its way.
            let _ = sys::kill_everyone(libc::SIGKILL);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_nonzero().get() as u32;
                    if let Some(process) = self.processes.remove(&pid) {
                        let signal = status.terminating_signal();
                        self.tell(&Event::Exited {
                            process,
                            code: signal.or(status.exit_status()).unwrap_or_default(),
                            signalled: signal.is_some(),
                            core_dumped: signal.is_some() && status.as_raw() & 0x80 != 0,
                        })?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => {
                    // No child is left, neither spawned nor orphaned.
                    if std::mem::take(&mut self.killing) {
                        self.tell(&Event::AllGone)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn spawn(&mut self, spawn: &Spawn, outputs: Descriptors) -> Result<u32, (SpawnStep, i32)> {
        if outputs.len() != 1 + usize::from(spawn.log.is_some()) {
            return Err((SpawnStep::Prepare, libc::EMFILE));
        }
        let at = |step| move |error: io::Error| (step, error.raw_os_error().unwrap_or(libc::EIO));
        let (report, reported) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| (SpawnStep::Fork, errno.raw_os_error()))?;
        let forked = match &self.cgroup {
            Some(cgroup) => sys::fork_into(cgroup.as_fd()),
            None => sys::fork_single_threaded(),
        };
        match forked.map_err(at(SpawnStep::Fork))? {
            None => {
                drop(report);
                let (step, errno) = become_process(&self.configure, spawn, outputs);
                let mut packet = [0; 5];
                packet[0] = step as u8;
                packet[1..].copy_from_slice(&errno.to_le_bytes());
                let _ = rustix::io::write(&reported, &packet);
                sys::exit_now(127)
            }
            Some(pid) => {
                drop(reported);
                let mut packet = [0; 5];
                let length = rustix::io::retry_on_intr(|| rustix::io::read(&report, &mut packet));
                if length != Ok(5) {
                    self.processes.insert(pid, spawn.process);
                    return Ok(pid);
                }
                let step = match packet[0] {
                    1 => SpawnStep::WorkingDirectory,
                    3 => SpawnStep::Exec,
                    _ => SpawnStep::Prepare,
                };
                let errno = [packet[1], packet[2], packet[3], packet[4]];
                Err((step, i32::from_le_bytes(errno)))
            }
        }
    }
}

/// Mounts, names, network, users, filter: in the order in which rights are given away.
/// Gives the cgroup of everything spawned, if there is one.
fn become_environment(
    configure: &Configure,
    mut fds: Descriptors,
) -> Result<Option<OwnedFd>, StepFailed> {
    for target in &configure.mounts {
        let tree = fds.pop_front().ok_or(io::ErrorKind::InvalidInput).step("receive a mount")?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, c"", rustix::fs::CWD, target.as_str(), flags)
            .step(&format!("mount {target}"))?;
    }
    let no_more = MountFlags::NOSUID | MountFlags::NODEV;
    let size = CString::new(SHARED_MEMORY).expect("a literal without NUL");
    mount(c"tmpfs", c"/dev/shm", c"tmpfs", no_more | MountFlags::NOEXEC, Some(size.as_c_str()))
        .step("mount /dev/shm")?;
    if let Some(mb) = configure.scratch_mb {
        let options = CString::new(format!("mode=1777,size={mb}m"));
        let options = options.expect("a number holds no NUL");
        mount(c"tmpfs", c"/tmp", c"tmpfs", no_more, Some(options.as_c_str())).step("mount /tmp")?;
    }
    rustix::system::sethostname(configure.hostname.as_bytes()).step("set the host name")?;
    if let Some(network) = configure.network {
        let connect = || -> io::Result<()> {
            let mut route = netlink::Netlink::route()?;
            // `lo` is 1; the only other interface of a fresh namespace is `eth0`.
            let index = rustix::net::netdevice::name_to_index(&route_socket()?, "eth0")?;
            route.add_address(index, network.address, network.prefix_length)?;
            route.up(index)?;
            route.add_default_route(network.gateway)
        };
        connect().step("configure eth0")?;
    }
    if configure.enter_user_namespace {
        let user =
            fds.pop_front().ok_or(io::ErrorKind::InvalidInput).step("receive a namespace")?;
        rustix::thread::move_into_link_name_space(
            user.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::User),
        )
        .step("enter the user namespace")?;
        let root = (rustix::thread::Gid::ROOT, rustix::thread::Uid::ROOT);
        rustix::thread::set_thread_groups(&[]).step("drop the groups")?;
        rustix::thread::set_thread_res_gid(root.0, root.0, root.0).step("become group 0")?;
        rustix::thread::set_thread_res_uid(root.1, root.1, root.1).step("become user 0")?;
    }
    drop_rights().step("drop capabilities")?;
    rustix::thread::set_no_new_privs(true).step("set no_new_privs")?;
    let undumpable = rustix::process::DumpableBehavior::NotDumpable;
    rustix::process::set_dumpable_behavior(undumpable).step("become undumpable")?;
    // Forgotten by the kernel when the user changed.
    let kill = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(kill).step("follow the parent")?;
    sys::install_filter(&seccomp::filter()).step("install the system call filter")?;
    Ok(fds.pop_front().filter(|_| configure.cgroup))
}

fn route_socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?)
}

fn drop_rights() -> io::Result<()> {
    let mut last = CapabilitySet::empty();
    for number in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else { break };
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => last |= capability,
            // The kernel knows no more.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let kept = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::KILL;
    set_rights(kept & last)
}

fn set_rights(rights: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: rights,
        permitted: rights,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Between fork and exec. Returns only if something failed.
fn become_process(configure: &Configure, spawn: &Spawn, outputs: Descriptors) -> (SpawnStep, i32) {
    if let Err(error) = prepare_process(configure, spawn.log, outputs) {
        return (SpawnStep::Prepare, error.raw_os_error().unwrap_or(libc::EIO));
    }
    if let Err(errno) = rustix::process::chdir(spawn.cwd.as_str()) {
        return (SpawnStep::WorkingDirectory, errno.raw_os_error());
    }
    let texts = |texts: &[String]| -> Result<Vec<CString>, _> {
        texts.iter().map(|text| CString::new(text.as_str())).collect()
    };
    let (Ok(arguments), Ok(variables)) = (texts(&spawn.argv), texts(&spawn.env)) else {
        // A text with a NUL inside is none that a program can be given.
        return (SpawnStep::Exec, libc::EINVAL);
    };
    let Some(file) = arguments.first() else {
        return (SpawnStep::Exec, libc::ENOENT);
    };
    let error = sys::execve(file, &arguments, &variables);
    (SpawnStep::Exec, error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn prepare_process(
    configure: &Configure,
    log: Option<u32>,
    mut outputs: Descriptors,
) -> io::Result<()> {
    rustix::process::setsid()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    if let Some(output) = outputs.pop_front() {
        rustix::stdio::dup2_stdout(&output)?;
        rustix::stdio::dup2_stderr(&output)?;
    }
    if let (Some(number), Some(pipe)) = (log, outputs.pop_front()) {
        sys::keep_descriptor(pipe, number)?;
    }
    // Out of memory, a function's process goes before PID 1.
    if let Ok(score) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty())
    {
        let _ = rustix::io::write(&score, b"500");
    }
    let limit = |maximum| Rlimit { current: Some(maximum), maximum: Some(maximum) };
    setrlimit(Resource::Core, limit(0))?;
    // A service with a lower hard limit of its own can't give more.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    setrlimit(Resource::Nofile, limit(configure.open_files_max.min(most)))?;
    if let Some(bytes) = configure.data_bytes_max {
        setrlimit(Resource::Data, limit(bytes))?;
    }
    if let Some(processes) = configure.processes_max {
        setrlimit(Resource::Nproc, limit(processes))?;
    }
    if configure.enter_user_namespace {
        let group = rustix::thread::Gid::from_raw(configure.gid);
        let user = rustix::thread::Uid::from_raw(configure.uid);
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)?;
    }
    set_rights(CapabilitySet::empty())?;
    sys::install_filter(&seccomp::no_clone3())
}
