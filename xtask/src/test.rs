//! `cargo xtask test`: installs what the tests need, and runs all of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cargo, check, run};

/// Where what tests need is installed.
const TOOLS: &str = "target/conformance";
const SUITES: &str = "crates/coldframe-conformance/suites";

/// Files of what the tests start, and Debian's packages that bring them.
const PROGRAMS: [(&str, &str); 15] = [
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/python3", "python3"),
    ("/var/lib/dpkg/info/python3-venv.list", "python3-venv"),
    ("/usr/lib/postgresql", "postgresql"),
    ("/usr/bin/node", "nodejs"),
    ("/usr/bin/npm", "npm"),
    ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
    // What aws-lambda-ric compiles its native part with.
    ("/usr/bin/g++", "g++"),
    ("/usr/bin/make", "make"),
    ("/usr/bin/cmake", "cmake"),
    ("/usr/bin/autoconf", "autoconf"),
    ("/usr/bin/automake", "automake"),
    ("/usr/bin/libtoolize", "libtool"),
    ("/usr/include/node/node.h", "libnode-dev"),
    // Emulates the host with version 2 control groups.
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
];

/// What that host is made of. Unpacked, not installed: this one has its own.
const GUEST: [&str; 2] = [KERNEL, "busybox-static"];
/// Depends on Debian's newest.
const KERNEL: &str = "linux-image-cloud-amd64";

pub(crate) fn test(suites: &[&str]) -> anyhow::Result<()> {
    // The owner of a process's directory is its effective user.
    let user = fs::metadata("/proc/self").context("no /proc: the tests need Linux")?.uid();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if let Some(refusal) = refusal(user, &system) {
        bail!(refusal);
    }
    // First of all: the tests of the bootstraps need Node.js, too, and what can't be had is told
    // before minutes of building.
    programs()?;
    let python = tools()?;
    if suites.is_empty() {
        check()?;
        run(Command::new("python3").args([
            "-B",
            "-m",
            "unittest",
            "discover",
            "-s",
            "bootstraps/tests",
        ]))?;
    }
    run(cargo(&["build", "--release", "--locked", "--workspace", "--bins"]))?;
    let mut command = Command::new(python);
    command
        .args(["-B", "-m", "unittest"])
        .env("PYTHONPATH", SUITES)
        .env("COLDFRAME_BIN", fs::canonicalize("target/release/coldframe").context("no binary")?)
        .env("COLDFRAME_TOOLS", fs::canonicalize(TOOLS).context("no tools")?);
    match suites {
        [] => command.args(["discover", "-v", "-s", SUITES, "-p", "test_*.py"]),
        names => command.arg("-v").args(names),
    };
    run(command)
}

/// What is said to those who cannot have the tests, before anything is built or installed.
fn refusal(user: u32, os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']))
    };
    if user == 0 && field("ID") == Some("debian") {
        return None;
    }
    let who = if user == 0 { "root" } else { "an ordinary user" };
    let place = field("PRETTY_NAME").unwrap_or("an unknown system");
    Some(format!(
        "the tests install Debian's packages and isolate functions as root, but this is {who} on \
         {place}: run `cargo xtask test` as root on Debian, in a virtual machine say; \
         `cargo xtask check` needs neither"
    ))
}

/// Quiet; patient with the network, and with whoever else installs something now.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// Installs what is missing of Debian's packages.
fn programs() -> anyhow::Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| *package)
        .collect();
    let guest = Path::new(TOOLS).join("guest");
    let lacks_guest = cfg!(target_arch = "x86_64") && !guest.exists();
    if !missing.is_empty() || lacks_guest {
        // A source that is away need not be the one that has what is missing.
        if let Err(error) = run(apt_get().arg("update")) {
            eprintln!("xtask: {error:#}");
        }
    }
    if !missing.is_empty() {
        run(apt_get()
            .args(["install", "-y", "--no-install-recommends"])
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    if lacks_guest {
        fetch_guest(&guest)?;
    }
    Ok(())
}

/// Installs once; again when a list has changed. Gives the interpreter of the virtual environment.
fn tools() -> anyhow::Result<PathBuf> {
    let tools = Path::new(TOOLS);
    fs::create_dir_all(tools).context("cannot make the directory of tools")?;
    let requirements = Path::new("crates/coldframe-conformance/requirements.txt");
    let python = tools.join("venv/bin/python");
    once(requirements, &tools.join("requirements.done"), || {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(tools.join("venv")))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r"])
            .arg(requirements))
    })?;
    let packages = Path::new("crates/coldframe-conformance/package.json");
    once(packages, &tools.join("package.done"), || {
        fs::create_dir_all(tools.join("node"))?;
        fs::copy(packages, tools.join("node/package.json"))?;
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
            .arg(tools.join("node")))
    })?;
    Ok(python)
}

/// Unpacks [`GUEST`] into `place`, which appears whole or not at all.
fn fetch_guest(place: &Path) -> anyhow::Result<()> {
    let output = Command::new("apt-cache").args(["depends", KERNEL]).output();
    let depends = String::from_utf8(output.context("cannot run apt-cache")?.stdout)?;
    let newest = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let newest = newest.with_context(|| format!("Debian's archive has no {KERNEL}"))?;
    let new = place.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).context("cannot clear what an earlier download has left")?;
    }
    fs::create_dir_all(&new).context("cannot make the directory of the guest")?;
    run(apt_get()
        // Its own user may have no access here.
        .args(["download", "-o", "APT::Sandbox::User=root"])
        .args(GUEST.map(|package| if package == KERNEL { newest } else { package }))
        .current_dir(&new))?;
    for entry in fs::read_dir(&new)?.collect::<Result<Vec<_>, _>>()? {
        run(Command::new("dpkg-deb").arg("--extract").arg(entry.path()).arg(&new))?;
        fs::remove_file(entry.path())?;
    }
    fs::rename(&new, place).context("cannot put the guest's files into their place")
}

/// Does `work` unless it has been done for this content of `list`.
fn once(list: &Path, done: &Path, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let wanted = fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    if fs::read(done).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    work()?;
    fs::write(done, wanted).with_context(|| format!("cannot write {}", done.display()))
}

#[cfg(test)]
mod tests;
