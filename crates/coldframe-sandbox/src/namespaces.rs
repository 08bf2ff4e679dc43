//! The namespaces driver (design: a nursery makes PID 1s; PID 1 mounts, spawns and reaps).
//!
//! ```text
//! ready pool <--fill-- make: clone3 (all namespaces), cgroups attached, /tmp mounted, veth
//!     |
//!   create: limits, code mounted, Configure --> a sandbox
//!     |
//!   drop: cgroup.kill, wait for PID 1, rmdir, give the ids back
//! ```
//! What is slow and the same for all is done ahead of time; claiming a ready one is microseconds
//! of mounting.

mod base;
mod cgroup;
mod egress;
mod nursery;
mod sandbox;
mod scratch;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coldframe_guest::protocol::{Configure, Event as GuestEvent, Request};
use tokio::sync::{Notify, mpsc};

use self::cgroup::{Group, Hierarchy};
use self::egress::{Egress, Link};
use self::sandbox::{Control, NamespaceSandbox};
use self::scratch::Scratch;
use crate::{BoxFuture, Created, Driver, Error, Spec, step};

pub use self::nursery::Nursery;

/// First id of the range that sandboxes' users are mapped to; above what distributions hand out.
const FIRST_ID: u32 = 0x4000_0000;

/// How long making or configuring a sandbox may take.
const SETUP_LIMIT: Duration = Duration::from_secs(10);

/// What the driver may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// A directory of this service for templates of `/tmp`.
    pub directory: PathBuf,
    /// Sandboxes kept ready.
    pub ready: usize,
    /// The size of `/tmp` that ready sandboxes have, MB.
    pub ready_scratch_mb: u32,
    /// Ports of the host's loopback that are reachable at the same address inside.
    pub host_ports: Vec<u16>,
}

/// Which guarantees hold on this host.
#[derive(Clone, Debug)]
pub struct Guarantees {
    pub rootless: bool,
    /// Freezing by the kernel, invisible inside; else by signals.
    pub cgroup_freeze: bool,
    /// Controller and the cgroup version that enforces it.
    pub limits: [(&'static str, Option<u8>); 3],
    /// `/tmp` has a quota that says `ENOSPC` and is apart from memory.
    pub scratch_on_disk: bool,
    /// The sandboxes' addresses, or why they have no way out.
    pub egress: Result<String, String>,
}

/// Makes sandboxes from Linux namespaces. Dropping it ends every sandbox.
pub struct NamespaceDriver {
    shared: Arc<Shared>,
}

struct Shared {
    nursery: nursery::Connection,
    rootless: bool,
    hierarchy: Hierarchy,
    scratch: Scratch,
    egress: Result<Egress, String>,
    options: Options,
    ready: Mutex<VecDeque<Prepared>>,
    refill: Notify,
    closing: AtomicBool,
    ids: Mutex<Ids>,
    count: AtomicU32,
}

/// User namespaces made so far and not in use, and the next id range.
#[derive(Default)]
struct Ids {
    free: Vec<UserNamespace>,
    made: u32,
}

struct UserNamespace {
    /// The id outside of 0 inside.
    base: u32,
    fd: OwnedFd,
}

/// A sandbox made as far as it is the same for all.
struct Prepared {
    control: Control,
    held: Held,
    /// Where spawned processes go.
    cgroup: Option<OwnedFd>,
    listeners: VecDeque<std::net::TcpListener>,
    scratch: Option<OwnedFd>,
    scratch_mb: u32,
}

/// What a sandbox holds of the host; given back by [`Held`]'s drop, in the background.
struct Held {
    shared: Arc<Shared>,
    group: Option<Group>,
    pidfd: Option<OwnedFd>,
    user: Option<UserNamespace>,
    link: Option<Link>,
    /// Of PID 1, outside.
    pid: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl NamespaceDriver {
    /// Takes the nursery over. `name` names the cgroups: unique for each running service.
    ///
    /// # Errors
    /// If the nursery is gone.
    pub fn new(nursery: Nursery, name: &str, options: Options) -> Result<Self, Error> {
        let (rootless, hierarchy) = (nursery.rootless, Hierarchy::make(name, nursery.pid));
        let shared = Arc::new(Shared {
            nursery: step(nursery.connect(), "reach the nursery")?,
            rootless,
            hierarchy,
            scratch: Scratch::new(options.directory.clone(), !rootless),
            egress: match rootless {
                true => Err("an ordinary user may not make network links".to_owned()),
                false => Egress::open().map_err(|error| error.to_string()),
            },
            ready: Mutex::default(),
            refill: Notify::new(),
            closing: AtomicBool::new(false),
            ids: Mutex::default(),
            count: AtomicU32::new(0),
            options,
        });
        Ok(Self { shared })
    }

    /// Kills and removes what services that no longer run have left. Blocks.
    pub fn sweep(&self, prefix: &str, alive: impl Fn(&str) -> bool) {
        self.shared.hierarchy.sweep(prefix, alive);
    }

    /// Starts keeping sandboxes ready.
    pub fn keep_ready(&self) {
        let weak = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            loop {
                let Some(shared) = weak.upgrade() else { return };
                let wanted = shared.options.ready;
                let lacks = lock(&shared.ready).len() < wanted;
                if lacks {
                    match shared.prepare(shared.options.ready_scratch_mb).await {
                        Ok(prepared) => {
                            lock(&shared.ready).push_back(prepared);
                            continue;
                        }
                        // `create` meets the same error and tells it.
                        // What fails now fails because everything is being taken away.
                        Err(_) if shared.closing.load(Ordering::SeqCst) => return,
                        Err(error) => {
                            let error: &dyn std::error::Error = &error;
                            tracing::warn!(error, "no sandbox could be made ready");
                        }
                    }
                }
                let refilled = shared.clone();
                drop(shared);
                refilled.refill.notified().await;
            }
        });
    }

    /// Which guarantees hold here.
    pub fn guarantees(&self) -> Guarantees {
        Guarantees {
            rootless: self.shared.rootless,
            cgroup_freeze: self.shared.hierarchy.can_freeze(),
            limits: self.shared.hierarchy.limits(),
            scratch_on_disk: self.shared.scratch.on_disk(),
            egress: self.shared.egress.as_ref().map(Egress::subnet).map_err(Clone::clone),
        }
    }

    /// Ends every ready sandbox and removes the service's cgroups. Blocks.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        lock(&self.shared.ready).clear();
        self.shared.hierarchy.remove();
    }
}

impl Driver for NamespaceDriver {
    fn create(&self, spec: Spec) -> BoxFuture<'_, Result<Created, Error>> {
        Box::pin(async move {
            let ready = {
                let mut ready = lock(&self.shared.ready);
                // A ready one died only if somebody killed it; then the next is taken.
                std::iter::from_fn(|| ready.pop_front()).find(|prepared| prepared.control.is_open())
            };
            self.shared.refill.notify_one();
            let prepared = match ready {
                Some(prepared) => prepared,
                None => self.shared.prepare(spec.scratch_mb).await?,
            };
            self.shared.configure(prepared, spec).await
        })
    }
}

impl Shared {
    async fn user_namespace(&self) -> Result<UserNamespace, Error> {
        let number = {
            let mut ids = lock(&self.ids);
            if let Some(free) = ids.free.pop() {
                return Ok(free);
            }
            ids.made += 1;
            ids.made
        };
        let base = FIRST_ID + number * nursery::IDS;
        Ok(UserNamespace { base, fd: self.nursery.user_namespace(base).await? })
    }

    async fn prepare(self: &Arc<Self>, scratch_mb: u32) -> Result<Prepared, Error> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let group = self.hierarchy.group(&format!("{number}"))?;
        let mut held =
            Held { shared: self.clone(), group: None, pidfd: None, user: None, link: None, pid: 0 };
        let cgroups = group.open()?;
        held.group = Some(group);
        if !self.rootless {
            let user = held.user.insert(self.user_namespace().await?);
            if let Some(group) = &held.group {
                group.delegate(user.base)?;
            }
        }
        let cgroup = cgroups.as_ref().map(|(init, _)| init.as_fd());
        let (pid, pidfd, control) = self.nursery.make(cgroup, &self.options.host_ports).await?;
        held.pidfd = Some(pidfd);
        held.pid = pid;
        let mut control = Control::new(control)?;
        let ready = tokio::time::timeout(SETUP_LIMIT, control.expect("make a sandbox")).await;
        let descriptors = match ready {
            Ok(Ok((GuestEvent::Ready, descriptors))) => descriptors,
            Ok(Err(error)) => return Err(error),
            _ => return Err(Error::Gone),
        };
        let listeners = descriptors.into_iter().map(std::net::TcpListener::from).collect();
        let shared = self.clone();
        let (held, scratch) = blocking(move || {
            let mut work = || -> Result<_, Error> {
                if let Some(group) = &held.group {
                    group.attach(pid)?;
                }
                if let Ok(egress) = &shared.egress {
                    held.link =
                        Some(step(egress.connect(pid), "connect the sandbox to the network")?);
                }
                if shared.rootless { Ok(None) } else { shared.scratch.take(scratch_mb).map(Some) }
            };
            let scratch = work();
            (held, scratch)
        })
        .await?;
        let cgroup = cgroups.map(|(_, function)| function);
        Ok(Prepared { control, held, cgroup, listeners, scratch: scratch?, scratch_mb })
    }

    async fn configure(self: &Arc<Self>, prepared: Prepared, spec: Spec) -> Result<Created, Error> {
        let Prepared { mut control, held, cgroup, mut listeners, mut scratch, scratch_mb } =
            prepared;
        if scratch_mb != spec.scratch_mb && !self.rootless {
            let shared = self.clone();
            scratch = Some(blocking(move || shared.scratch.take(spec.scratch_mb)).await??);
        }
        let group = held.group.as_ref().ok_or(Error::Gone)?;
        group.limit_memory(spec.memory_bytes)?;
        group.limit_processes(spec.processes_max)?;
        let paths: Vec<&std::path::Path> =
            spec.mounts.iter().map(|mount| mount.source.as_path()).collect();
        let mut trees = self.nursery.trees(&paths).await?;
        let mut mounts: Vec<String> =
            spec.mounts.iter().map(|mount| mount.target.to_owned()).collect();
        if let Some(scratch) = scratch {
            mounts.push("/tmp".to_owned());
            trees.push_back(scratch);
        }
        let configure = Request::Configure(Configure {
            hostname: spec.hostname,
            mounts,
            enter_user_namespace: !self.rootless,
            cgroup: cgroup.is_some(),
            scratch_mb: self.rootless.then_some(spec.scratch_mb),
            uid: nursery::USER,
            gid: nursery::GROUP,
            open_files_max: spec.open_files_max,
            data_bytes_max: (!group.limits_memory()).then_some(spec.memory_bytes),
            processes_max: (!group.limits_processes()).then_some(spec.processes_max.into()),
            network: held.link.as_ref().map(|link| link.network),
        });
        let mut fds: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
        if let Some(user) = &held.user {
            fds.push(user.fd.as_fd());
        }
        fds.extend(cgroup.as_ref().map(AsFd::as_fd));
        control.send(&configure, &fds).await?;
        let answer = tokio::time::timeout(SETUP_LIMIT, control.expect("configure a sandbox")).await;
        match answer {
            Ok(Ok((GuestEvent::Configured, _))) => {}
            Ok(Err(error)) => return Err(error),
            _ => return Err(Error::Gone),
        }
        let listener = listeners.pop_front().ok_or(Error::Gone)?;
        let relays = self.options.host_ports.iter().copied().zip(listeners);
        let relays = relays.map(|(port, listener)| sandbox::relay(port, listener)).collect();
        let (events, receiver) = mpsc::unbounded_channel();
        let (sandbox, network) = NamespaceSandbox::new(held, control, events, relays);
        Ok(Created { sandbox: Box::new(sandbox), events: receiver, listener, network })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Gone)
}

impl Drop for Held {
    fn drop(&mut self) {
        let (group, pidfd, user) = (self.group.take(), self.pidfd.take(), self.user.take());
        let link = self.link.take();
        if let Some(group) = &group {
            group.kill();
        }
        if let Some(pidfd) = &pidfd {
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
        let shared = self.shared.clone();
        let finish = move || {
            let gone = pidfd.is_none_or(|pidfd| {
                let mut ready = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
                let limit = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
                rustix::event::poll(&mut ready, Some(&limit)).is_ok_and(|count| count > 0)
            });
            if let Some(group) = group {
                group.remove();
            }
            // Ids and addresses are used again only when nobody can have them any more.
            if let (true, Some(user)) = (gone, user) {
                lock(&shared.ids).free.push(user);
            }
            if let (true, Some(link), Ok(egress)) = (gone, link, &shared.egress) {
                egress.release(&link);
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(finish)),
            Err(_) => finish(),
        }
    }
}
