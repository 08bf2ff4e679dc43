//! One running service: its directories, its name, and its nursery.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use coldframe_sandbox::namespaces::Nursery;

use crate::arguments::Service;

/// How long what a killed service has left may hold its lock.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// Begins the names of our cgroups and run directories.
pub(crate) const PREFIX: &str = "coldframe.";

/// What must exist before the first thread. Dropped, it takes its directories away.
pub(crate) struct Instance {
    /// `coldframe.PID.START`: tells from the names of others whether its service still runs.
    pub(crate) name: String,
    /// Functions and code; gone at the end if the service is ephemeral.
    pub(crate) data: PathBuf,
    /// What all services of this user share and can be made again.
    pub(crate) cache: PathBuf,
    pub(crate) ephemeral: bool,
    pub(crate) nursery: Option<Nursery>,
    run: PathBuf,
    /// Held as long as the data directory is ours.
    _lock: Option<File>,
}

impl Instance {
    /// Makes the directories, locks the data directory, forks the nursery.
    pub(crate) fn start(options: &Service) -> anyhow::Result<Self> {
        let name = own_name()?;
        let cache = xdg("XDG_CACHE_HOME", ".cache")?;
        let runs = cache.join("run");
        fs::create_dir_all(&runs).with_context(|| format!("cannot make {}", runs.display()))?;
        for entry in fs::read_dir(&runs).into_iter().flatten().flatten() {
            if !is_alive(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let run = runs.join(&name);
        let base = run.join("base");
        fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
        let data = if options.ephemeral { Some(run.join("data")) } else { options.data.clone() };
        let data = data_directory(data)?;
        // The nursery opens what lies there by its path from the root.
        let data = fs::canonicalize(&data).context("cannot find the data directory")?;
        let nursery = Nursery::start(base).context("cannot fork the nursery")?;
        // Behind the fork: the nursery would hold the lock a moment longer than a killed service.
        let lock = if options.ephemeral { None } else { Some(lock(&data, &name)?) };
        raise_open_files();
        let ephemeral = options.ephemeral;
        Ok(Self { name, data, cache, ephemeral, nursery: Some(nursery), run, _lock: lock })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.run);
    }
}

/// Whether the service of that name still runs.
pub(crate) fn is_alive(name: &str) -> bool {
    let parse = || {
        let (pid, start) = name.strip_prefix(PREFIX)?.split_once('.')?;
        Some(started(pid.parse().ok()?)? == start.parse::<u64>().ok()?)
    };
    parse().unwrap_or(false)
}

/// What this process is known by.
pub(crate) fn own_name() -> anyhow::Result<String> {
    let pid = std::process::id();
    let start = started(pid).context("cannot read /proc: coldframe needs Linux")?;
    Ok(format!("{PREFIX}{pid}.{start}"))
}

/// When a process started, clock ticks since boot: tells apart processes that have had the same pid.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start is the twentieth field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn xdg(variable: &str, default: &str) -> anyhow::Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (given(variable), given("HOME")) {
        (Some(value), _) => PathBuf::from(value),
        (None, Some(home)) => Path::new(&home).join(default),
        // Managers of services set none for root.
        (None, None) if rustix::process::geteuid().is_root() => Path::new("/root").join(default),
        (None, None) => bail!("neither {variable} nor HOME is set: set one of them"),
    };
    Ok(base.join("coldframe"))
}

/// Where functions and keys are kept, made if need be.
pub(crate) fn data_directory(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let data = given.map_or_else(|| xdg("XDG_DATA_HOME", ".local/share"), Ok)?;
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    Ok(data)
}

/// Takes the data directory for the service of this name.
fn lock(data: &Path, name: &str) -> anyhow::Result<File> {
    take(data, name)?.with_context(|| {
        format!("another coldframe uses {}: end it, or give another --data", data.display())
    })
}

/// The data directory is ours as long as the file is open; `None` if it is another's.
pub(crate) fn take(data: &Path, name: &str) -> anyhow::Result<Option<File>> {
    let path = data.join("lock");
    let failed = || format!("cannot use {}", path.display());
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(failed)?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let deadline = Instant::now() + LOCK_LIMIT;
    while rustix::fs::flock(&file, operation).is_err() {
        let holder = fs::read_to_string(&path).unwrap_or_default();
        if is_alive(&holder) || Instant::now() > deadline {
            return Ok(None);
        }
        // A child that a killed service was about to start may hold its lock until it executes.
        std::thread::sleep(Duration::from_millis(5));
    }
    file.set_len(0).with_context(failed)?;
    file.write_all(name.as_bytes()).with_context(failed)?;
    Ok(Some(file))
}

/// Every connection, environment and frozen `next` holds a descriptor.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_dead_service_is_waited_for() {
        let data = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let own = format!("{PREFIX}{pid}.{}", started(pid).unwrap());
        let held = lock(data.path(), &own).unwrap();
        let refused = lock(data.path(), "another").unwrap_err().to_string();
        assert!(refused.starts_with("another coldframe uses "), "{refused}");
        drop(held);
        // Its service is gone, and something still holds it for a moment.
        let held = lock(data.path(), &format!("{PREFIX}{pid}.1")).unwrap();
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(data.path(), &own));
            drop(held);
            waiting.join().unwrap()
        });
        assert!(waiting.is_ok());
        assert_eq!(fs::read_to_string(data.path().join("lock")).unwrap(), own);
    }
}
