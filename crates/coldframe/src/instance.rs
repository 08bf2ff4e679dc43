//! One running service: its directories, its name, and its nursery.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use coldframe_sandbox::namespaces::Nursery;

use crate::arguments::Service;

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
        let pid = std::process::id();
        let start = started(pid).context("cannot read /proc: coldframe needs Linux")?;
        let name = format!("{PREFIX}{pid}.{start}");
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
        let data = match (&options.data, options.ephemeral) {
            (Some(data), _) => data.clone(),
            (None, true) => run.join("data"),
            (None, false) => xdg("XDG_DATA_HOME", ".local/share")?,
        };
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        // The nursery opens what lies there by its path from the root.
        let data = fs::canonicalize(&data).context("cannot find the data directory")?;
        let nursery = Nursery::start(base).context("cannot fork the nursery")?;
        // Behind the fork: the nursery would hold the lock a moment longer than a killed service.
        let lock = if options.ephemeral { None } else { Some(lock(&data)?) };
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

/// When a process started, clock ticks since boot: tells apart processes that have had the same pid.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start is the twentieth field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn xdg(variable: &str, default: &str) -> anyhow::Result<PathBuf> {
    let base = match std::env::var_os(variable).filter(|value| !value.is_empty()) {
        Some(value) => PathBuf::from(value),
        None => match std::env::var_os("HOME").filter(|value| !value.is_empty()) {
            Some(home) => Path::new(&home).join(default),
            None => bail!("neither {variable} nor HOME is set: give a directory by --data"),
        },
    };
    Ok(base.join("coldframe"))
}

fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    if rustix::fs::flock(&file, operation).is_err() {
        bail!("another coldframe uses {}: end it, or give another --data", data.display());
    }
    Ok(file)
}

/// Every connection, environment and frozen `next` holds a descriptor.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
