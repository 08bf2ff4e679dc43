//! Control groups: freeze, kill and clone-into by version 2; memory, CPU and pids by version 2
//! where those controllers are there, else by version 1 (hybrid hosts).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::Error;

/// Period of the CPU quota. Shorter than the kernel's usual 100 ms, so that a short invocation
/// does not run free.
const CPU_PERIOD_US: u64 = 20_000;

/// The controllers that limit.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// Where the groups of this service live.
#[derive(Clone, Debug)]
pub(super) struct Hierarchy {
    /// Version 2, for freeze, kill and clone-into.
    unified: Option<Unified>,
    /// Directory of each controller, and whether it is version 2.
    controllers: [Option<(PathBuf, bool)>; 3],
    /// Where services put their groups.
    roots: Roots,
}

/// Every directory that the groups of coldframe services may be in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Roots {
    /// Version 2: the group that this service was started in, and as root the top of the tree.
    unified: Vec<PathBuf>,
    /// Version 1: of each controller that has a tree of its own.
    separate: Vec<(usize, PathBuf)>,
}

impl Roots {
    fn of_this_process() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let is_root = rustix::process::geteuid().is_root();
        Self::find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"), is_root)
    }

    /// By the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    fn find(mounts: &str, own: &str, is_root: bool) -> Self {
        let mut roots = Self::default();
        for line in mounts.lines() {
            // 36 35 98:0 /root /mount/point options - type source super-options
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let head: Vec<&str> = head.split(' ').collect();
            let tail: Vec<&str> = tail.split(' ').collect();
            let ([_, _, _, root, point, ..], [kind, _, options, ..]) = (&head[..], &tail[..])
            else {
                continue;
            };
            let place = |controller: &str| {
                let own = own.lines().find_map(|line| {
                    let mut fields = line.splitn(3, ':');
                    let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
                    let found = match controller {
                        "" => number == "0",
                        _ => names.split(',').any(|name| name == controller),
                    };
                    found.then_some(path)
                })?;
                let below = Path::new(own).strip_prefix(root).ok()?;
                // A group outside of what this process sees begins with `..`.
                let seen = below.components().all(|part| matches!(part, Component::Normal(_)));
                // Components: an empty rest adds no slash.
                seen.then(|| Path::new(point).components().chain(below.components()).collect())
            };
            match *kind {
                "cgroup2" => {
                    let top = is_root.then(|| PathBuf::from(point));
                    for path in place("").into_iter().chain(top) {
                        if !roots.unified.contains(&path) {
                            roots.unified.push(path);
                        }
                    }
                }
                "cgroup" => {
                    for (index, controller) in CONTROLLERS.iter().enumerate() {
                        if options.split(',').any(|option| option == *controller) {
                            roots.separate.extend(place(controller).map(|path| (index, path)));
                        }
                    }
                }
                _ => {}
            }
        }
        roots
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        let separate = self.separate.iter().map(|(_, path)| path);
        self.unified.iter().chain(separate).map(PathBuf::as_path)
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all_at(text.as_bytes(), 0)
}

impl Hierarchy {
    /// Makes the directories of this service, named `name`, wherever the host lets it. `nursery` is
    /// the only other process of this service.
    pub(super) fn make(name: &str, nursery: u32) -> Self {
        let roots = Roots::of_this_process();
        let unified = Unified::make(&roots.unified, name, [std::process::id(), nursery]);
        let mut controllers = [const { None }; 3];
        if let Some(unified) = &unified {
            for (index, controller) in CONTROLLERS.iter().enumerate() {
                if unified.usable.iter().any(|name| name == controller) {
                    controllers[index] = Some((unified.directory.clone(), true));
                }
            }
        }
        for (index, root) in &roots.separate {
            let directory = root.join(name);
            if controllers[*index].is_none() && fs::create_dir(&directory).is_ok() {
                controllers[*index] = Some((directory, false));
            }
        }
        Self { unified, controllers, roots }
    }

    /// Removes what services that were killed have left behind. `alive` knows which still run.
    pub(super) fn sweep(&self, prefix: &str, alive: impl Fn(&str) -> bool) {
        for root in self.roots.all() {
            let Ok(entries) = fs::read_dir(root) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                if name.starts_with(prefix) && !alive(name) {
                    remove_tree(&entry.path());
                }
            }
        }
    }

    /// Whether environments can be frozen by the kernel.
    pub(super) fn can_freeze(&self) -> bool {
        self.unified.is_some()
    }

    /// For each of memory, cpu and pids: the version that limits it, if any.
    pub(super) fn limits(&self) -> [(&'static str, Option<u8>); 3] {
        std::array::from_fn(|index| {
            let version = self.controllers[index].as_ref().map(|(_, v2)| if *v2 { 2 } else { 1 });
            (CONTROLLERS[index], version)
        })
    }

    /// Makes a group.
    pub(super) fn group(&self, name: &str) -> Result<Group, Error> {
        let make = |directory: &Path| {
            let path = directory.join(name);
            match fs::create_dir(&path) {
                Ok(()) => Ok(path),
                Err(error) => Err(Error::Cgroup(path, error)),
            }
        };
        let mut group = Group {
            unified: None,
            freeze: None,
            events: None,
            peak: None,
            controllers: [const { None }; 3],
        };
        if let Some(unified) = &self.unified {
            let path = make(&unified.directory)?;
            let open = |file: &str, write: bool| {
                let path = path.join(file);
                OpenOptions::new()
                    .read(!write)
                    .write(write)
                    .open(&path)
                    .map_err(|error| Error::Cgroup(path, error))
            };
            // PID 1 apart from what it spawns: a frozen sandbox costs nothing but the function's own
            // threads to stop and to wake.
            for part in [INIT, FUNCTION] {
                let part = path.join(part);
                fs::create_dir(&part).map_err(|error| Error::Cgroup(part, error))?;
            }
            group.freeze = Some(open("function/cgroup.freeze", true)?);
            group.events = Some(open("function/cgroup.events", false)?);
            group.unified = Some(path);
        }
        for (index, place) in self.controllers.iter().enumerate() {
            group.controllers[index] = match place {
                Some((directory, true)) => Some((directory.join(name), true)),
                Some((directory, false)) => Some((make(directory)?, false)),
                None => None,
            };
        }
        if let Some((directory, v2)) = &group.controllers[MEMORY] {
            let file = if *v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
            // `memory.peak` is there since Linux 5.19.
            group.peak = File::open(directory.join(file)).ok();
        }
        Ok(group)
    }

    /// Removes the directories. What still runs in them is killed.
    pub(super) fn remove(&self) {
        for (directory, v2) in self.controllers.iter().flatten() {
            if !v2 {
                remove_tree(directory);
            }
        }
        if let Some(unified) = &self.unified {
            unified.remove();
        }
    }
}

/// Kills, then removes a group with the groups below it, as soon as its processes are reaped.
fn remove_tree(directory: &Path) {
    let _ = write(&directory.join("cgroup.kill"), "1");
    for child in children(directory) {
        remove_tree(&child);
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while let Err(error) = fs::remove_dir(directory) {
        if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() > deadline {
            break;
        }
        if let Ok(pids) = fs::read_to_string(directory.join("cgroup.procs")) {
            for pid in pids.lines().filter_map(|line| line.parse().ok()) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path())
}

fn words(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The directory of this service in the version 2 tree.
#[derive(Clone, Debug)]
struct Unified {
    directory: PathBuf,
    /// The controllers of the groups below it.
    usable: Vec<String>,
    /// The group that this service was started in, if it had to leave it.
    left: Option<PathBuf>,
    /// This service and its nursery.
    processes: [u32; 2],
}

impl Unified {
    /// In the first of `roots` that gives every controller, else in the one that gives the most.
    fn make(roots: &[PathBuf], name: &str, processes: [u32; 2]) -> Option<Self> {
        let mut best: Option<Self> = None;
        for (index, root) in roots.iter().enumerate() {
            let directory = root.join(name);
            if fs::create_dir(&directory).is_err() {
                continue;
            }
            let mut new = Self { directory, usable: Vec::new(), left: None, processes };
            new.enable(root, index + 1 == roots.len());
            let complete = new.usable.len() == CONTROLLERS.len();
            let worse = match &best {
                Some(best) if best.usable.len() >= new.usable.len() => Some(new),
                _ => best.replace(new),
            };
            if let Some(worse) = worse {
                worse.remove();
            }
            if complete {
                break;
            }
        }
        best
    }

    /// Switches on what `root` offers for the groups below the directory.
    fn enable(&mut self, root: &Path, is_last: bool) {
        let offered = controllers(&root.join("cgroup.controllers"));
        let processes = words(&root.join("cgroup.procs"));
        // Only the top may have both processes and groups with controllers below it. Some controllers
        // would let themselves be switched on elsewhere, too, and no group below could be used.
        let is_top = !root.join("cgroup.type").exists();
        if is_top || processes.is_empty() {
            switch_on(root, &offered);
        } else if (is_last || offered.len() == CONTROLLERS.len())
            && are_all(&processes, self.processes)
        {
            // This service moves if it is alone. Others may not be moved.
            let service = self.directory.join(SERVICE);
            let _ = fs::create_dir(&service);
            self.left = Some(root.to_owned());
            self.move_into(&service);
            switch_on(root, &offered);
        }
        switch_on(&self.directory, &controllers(&self.directory.join("cgroup.controllers")));
        self.usable = controllers(&self.directory.join("cgroup.subtree_control"));
    }

    fn move_into(&self, group: &Path) {
        for process in self.processes {
            let _ = write(&group.join("cgroup.procs"), &process.to_string());
        }
    }

    /// Kills what still runs. A group that was left is taken again, and is as it was found.
    fn remove(&self) {
        let Some(root) = &self.left else { return remove_tree(&self.directory) };
        let service = self.directory.join(SERVICE);
        for child in children(&self.directory).filter(|child| *child != service) {
            remove_tree(&child);
        }
        for group in [&self.directory, root] {
            let path = group.join("cgroup.subtree_control");
            for controller in words(&path) {
                let _ = write(&path, &format!("-{controller}"));
            }
        }
        self.move_into(root);
        let _ = fs::remove_dir(service);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Those of a list that limit.
fn controllers(path: &Path) -> Vec<String> {
    let mut names = words(path);
    names.retain(|name| CONTROLLERS.contains(&name.as_str()));
    names
}

/// Gives controllers to the groups below `directory`.
fn switch_on(directory: &Path, controllers: &[String]) {
    let path = directory.join("cgroup.subtree_control");
    let there = words(&path);
    // One by one: a single one that can't be had must not take the others along.
    for controller in controllers.iter().filter(|name| !there.contains(name)) {
        let _ = write(&path, &format!("+{controller}"));
    }
}

/// Whether the processes of a group are these and no others.
fn are_all(found: &[String], processes: [u32; 2]) -> bool {
    let expected = processes.map(|process| process.to_string());
    !found.is_empty() && found.iter().all(|process| expected.contains(process))
}

/// The part of the service's version 2 directory that itself is in, when it had to move.
const SERVICE: &str = "service";

/// Parts of a version 2 group.
const INIT: &str = "init";
const FUNCTION: &str = "function";

const MEMORY: usize = 0;
const CPU: usize = 1;
const PIDS: usize = 2;

/// The groups of one sandbox. [`Group::remove`] takes them away; it may block.
#[derive(Debug)]
pub(super) struct Group {
    unified: Option<PathBuf>,
    freeze: Option<File>,
    events: Option<File>,
    peak: Option<File>,
    controllers: [Option<(PathBuf, bool)>; 3],
}

impl Group {
    /// The version 2 groups to clone into: PID 1's, and that of what it spawns.
    pub(super) fn open(&self) -> Result<Option<(OwnedFd, OwnedFd)>, Error> {
        let Some(directory) = &self.unified else { return Ok(None) };
        let open = |part: &str| {
            let path = directory.join(part);
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(&path, flags, Mode::empty());
            opened.map_err(|error| Error::Cgroup(path, error.into()))
        };
        Ok(Some((open(INIT)?, open(FUNCTION)?)))
    }

    /// Lets a user clone from PID 1's group into the function's: it must be able to write to that
    /// and to their common parent.
    pub(super) fn delegate(&self, user: u32) -> Result<(), Error> {
        let Some(directory) = &self.unified else { return Ok(()) };
        for path in [directory.join("cgroup.procs"), directory.join(FUNCTION).join("cgroup.procs")]
        {
            std::os::unix::fs::chown(&path, Some(user), None)
                .map_err(|error| Error::Cgroup(path, error))?;
        }
        Ok(())
    }

    pub(super) fn can_freeze(&self) -> bool {
        self.freeze.is_some()
    }

    pub(super) fn limits_memory(&self) -> bool {
        self.controllers[MEMORY].is_some()
    }

    pub(super) fn limits_processes(&self) -> bool {
        self.controllers[PIDS].is_some()
    }

    /// Moves a process into the version 1 groups. Blocks for 5–20 ms after an idle gap.
    pub(super) fn attach(&self, pid: u32) -> Result<(), Error> {
        for (path, _) in self.controllers.iter().flatten().filter(|(_, v2)| !v2) {
            let path = path.join("cgroup.procs");
            write(&path, &pid.to_string()).map_err(|error| Error::Cgroup(path, error))?;
        }
        Ok(())
    }

    fn set(&self, controller: usize, v1: &str, v2: &str, value: &str) -> Result<(), Error> {
        let Some((directory, is_v2)) = &self.controllers[controller] else { return Ok(()) };
        let path = directory.join(if *is_v2 { v2 } else { v1 });
        write(&path, value).map_err(|error| Error::Cgroup(path, error))
    }

    /// Limits memory, bytes. Swap is limited to nothing where the host counts it.
    pub(super) fn limit_memory(&self, bytes: u64) -> Result<(), Error> {
        self.set(MEMORY, "memory.limit_in_bytes", "memory.max", &bytes.to_string())?;
        if let Some((directory, v2)) = &self.controllers[MEMORY] {
            let (file, value) = if *v2 {
                ("memory.swap.max", "0".to_owned())
            } else {
                ("memory.memsw.limit_in_bytes", bytes.to_string())
            };
            // Absent on hosts without swap accounting.
            let _ = write(&directory.join(file), &value);
        }
        Ok(())
    }

    pub(super) fn limit_processes(&self, count: u32) -> Result<(), Error> {
        // One more for PID 1, which is ours.
        self.set(PIDS, "pids.max", "pids.max", &(count + 1).to_string())
    }

    /// Limits CPU time to thousandths of one CPU.
    pub(super) fn limit_cpu(&self, millis: Option<u32>) -> Result<(), Error> {
        // The kernel takes no quota below 1 ms.
        let quota = millis.map(|millis| (u64::from(millis) * CPU_PERIOD_US / 1000).max(1000));
        let Some((directory, v2)) = &self.controllers[CPU] else { return Ok(()) };
        if *v2 {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            return self.set(CPU, "", "cpu.max", &format!("{quota} {CPU_PERIOD_US}"));
        }
        let path = directory.join("cpu.cfs_period_us");
        write(&path, &CPU_PERIOD_US.to_string()).map_err(|error| Error::Cgroup(path, error))?;
        let quota = quota.map_or("-1".to_owned(), |quota| quota.to_string());
        self.set(CPU, "cpu.cfs_quota_us", "", &quota)
    }

    /// Wishes every thread stopped, or running. Stopped only when [`Group::is_frozen`] says so.
    pub(super) fn wish_frozen(&self, frozen: bool) -> io::Result<()> {
        let file = self.freeze.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        file.write_all_at(if frozen { b"1" } else { b"0" }, 0)
    }

    pub(super) fn is_frozen(&self) -> io::Result<bool> {
        let file = self.events.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let mut text = [0; 128];
        let length = file.read_at(&mut text, 0)?;
        Ok(text[..length].windows(8).any(|window| window == b"frozen 1"))
    }

    /// Kills every process in the group, frozen or not.
    pub(super) fn kill(&self) {
        if let Some(directory) = &self.unified {
            let _ = write(&directory.join("cgroup.kill"), "1");
        }
    }

    /// The peak of memory, page cache and all; `None` where nothing counts it.
    pub(super) fn memory_peak(&self) -> Option<u64> {
        let mut text = [0; 32];
        let length = self.peak.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
    }

    /// The page cache that the kernel gives back before it kills. Slow: the kernel adds up.
    pub(super) fn reclaimable_memory(&self) -> u64 {
        let v2 = self.controllers[MEMORY].as_ref().is_some_and(|(_, v2)| *v2);
        let prefix = if v2 { "" } else { "total_" };
        let sum = |name: &str| self.memory_field("memory.stat", &format!("{prefix}{name} "));
        sum("inactive_file") + sum("active_file")
    }

    /// Processes killed for the limit.
    pub(super) fn out_of_memory_kills(&self) -> u64 {
        match &self.controllers[MEMORY] {
            Some((_, true)) => self.memory_field("memory.events", "oom_kill "),
            Some((_, false)) => self.memory_field("memory.oom_control", "oom_kill "),
            None => 0,
        }
    }

    fn memory_field(&self, file: &str, name: &str) -> u64 {
        let Some((directory, _)) = &self.controllers[MEMORY] else { return 0 };
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        let field = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        field.unwrap_or_default()
    }

    /// Removes the directories, killing what is left. May block for 2 s.
    pub(super) fn remove(&self) {
        let v1 = self.controllers.iter().flatten().filter(|(_, v2)| !v2).map(|(path, _)| path);
        for directory in self.unified.iter().chain(v1) {
            remove_tree(directory);
        }
    }
}

#[cfg(test)]
mod tests;
