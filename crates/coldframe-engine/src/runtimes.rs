//! Which interpreters this host has, and how a runtime is started by them.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use coldframe_core::{FunctionVersion, Runtime};
use coldframe_sandbox::Mount;

use crate::lock;

/// Our runtime clients, as they are written to disk: name and content.
#[derive(Clone, Copy, Debug)]
pub struct Bootstraps {
    pub python: &'static [(&'static str, &'static str)],
    pub nodejs: &'static [(&'static str, &'static str)],
}

/// An interpreter of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRuntime {
    /// AWS's identifier, e.g. `python3.11`.
    pub name: String,
    /// The file on the host.
    pub interpreter: PathBuf,
}

impl HostRuntime {
    /// The file inside, and the directory that must be mounted at `/var/lang` for it, if any.
    fn inside(&self) -> (String, Option<PathBuf>) {
        let file = self.interpreter.file_name().unwrap_or_default().to_string_lossy();
        match self.interpreter.parent().and_then(Path::parent) {
            // What lies below /usr is there already.
            Some(prefix) if prefix != Path::new("/usr") && prefix != Path::new("/") => {
                (format!("/var/lang/bin/{file}"), Some(prefix.to_owned()))
            }
            _ => (self.interpreter.display().to_string(), None),
        }
    }
}

/// What starts a runtime: the command and what must be mounted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) argv: Vec<String>,
    pub(crate) mounts: Vec<(PathBuf, &'static str)>,
}

/// The interpreters of this host, found once.
pub struct HostRuntimes {
    found: Mutex<Option<Vec<HostRuntime>>>,
    bootstraps: Bootstraps,
    directory: PathBuf,
    written: Mutex<HashMap<String, PathBuf>>,
}

impl HostRuntimes {
    /// `directory` is where the bootstraps are written to.
    pub fn new(bootstraps: Bootstraps, directory: PathBuf) -> Self {
        Self { found: Mutex::new(None), bootstraps, directory, written: Mutex::default() }
    }

    /// Every interpreter that can run functions, by name. Looks at the disk the first time.
    pub fn list(&self) -> Vec<HostRuntime> {
        lock(&self.found).get_or_insert_with(search).clone()
    }

    /// The interpreter of a runtime; else the reason, and how to change it, as a sentence.
    pub fn find(&self, runtime: &Runtime) -> Result<Option<HostRuntime>, String> {
        let (language, hint) = match runtime {
            Runtime::Provided { .. } => return Ok(None),
            Runtime::Python { minor } => (
                "python",
                format!("install it so that `python3.{minor}` is on the PATH, or by pyenv"),
            ),
            Runtime::NodeJs { major } => (
                "nodejs",
                format!("install Node.js {major} so that `node` is on the PATH, or by nvm"),
            ),
            Runtime::Other(name) => {
                return Err(format!(
                    "the runtime {name} cannot run on this host: coldframe runs python3.N and \
                     nodejsN.x by the host's interpreters, and provided.al2023 and provided.al2"
                ));
            }
        };
        let name = runtime.to_string();
        let list = self.list();
        if let Some(found) = list.iter().find(|found| found.name == name) {
            return Ok(Some(found.clone()));
        }
        let there: Vec<&str> = list
            .iter()
            .map(|found| found.name.as_str())
            .filter(|found| found.starts_with(language))
            .collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        Err(format!(
            "no interpreter for the runtime {name} was found on this host (there: {there}); {hint}, \
             and see `coldframe doctor`"
        ))
    }

    /// How the runtime of a function is started. Blocks; writes the bootstrap at its first use.
    pub(crate) fn start(&self, function: &FunctionVersion) -> Result<Start, String> {
        let Some(host) = self.find(&function.runtime)? else {
            // Which of the two exists is found out where they exist: inside.
            return Ok(Start { argv: Vec::new(), mounts: Vec::new() });
        };
        let (interpreter, lang) = host.inside();
        let (files, script) = match function.runtime {
            Runtime::Python { .. } => (self.bootstraps.python, "/var/runtime/bootstrap.py"),
            _ => (self.bootstraps.nodejs, "/var/runtime/bootstrap.cjs"),
        };
        let runtime = self
            .write(&host, files)
            .map_err(|error| format!("cannot write the runtime's bootstrap: {error}"))?;
        let mut argv = vec![interpreter, script.to_owned()];
        if let Runtime::Python { .. } = function.runtime {
            // The bootstrap sets the paths up itself, without reading the host's `.pth` files.
            argv.insert(1, "-S".to_owned());
        }
        // Honoured by managed runtimes only; it must exec its arguments (§6.5).
        if let Some(wrapper) = function.environment.get("AWS_LAMBDA_EXEC_WRAPPER") {
            argv.insert(0, wrapper.clone());
        }
        let mut mounts = vec![(runtime, "/var/runtime")];
        mounts.extend(lang.map(|lang| (lang, "/var/lang")));
        Ok(Start { argv, mounts })
    }

    fn write(
        &self,
        host: &HostRuntime,
        files: &[(&'static str, &'static str)],
    ) -> std::io::Result<PathBuf> {
        let mut written = lock(&self.written);
        if let Some(directory) = written.get(&host.name) {
            return Ok(directory.clone());
        }
        // Another interpreter, or another coldframe, has another directory: they share the rest.
        let mut hasher = DefaultHasher::new();
        let modified = fs::metadata(&host.interpreter)?.modified()?;
        (&host.interpreter, modified, files).hash(&mut hasher);
        let directory = self.directory.join(format!("{}-{:016x}", host.name, hasher.finish()));
        if !directory.exists() {
            let new = self.directory.join(format!("new-{}-{}", std::process::id(), host.name));
            let _ = fs::remove_dir_all(&new);
            fs::create_dir_all(&new)?;
            for (name, content) in files {
                fs::write(new.join(name), content)?;
            }
            if host.name.starts_with("python") {
                // Read-only inside, so Python could not keep what it compiles. Not compiled, it
                // works as well, only slower.
                let _ = Command::new(&host.interpreter)
                    .args(["-I", "-S", "-m", "compileall", "-q"])
                    .args(["--invalidation-mode", "unchecked-hash", "."])
                    .current_dir(&new)
                    .env_clear()
                    .output();
            }
            if fs::rename(&new, &directory).is_err() {
                // Another service was faster.
                let _ = fs::remove_dir_all(&new);
            }
        }
        written.insert(host.name.clone(), directory.clone());
        Ok(directory)
    }
}

/// The PATH first, then where version managers put interpreters.
fn search() -> Vec<HostRuntime> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let root = |variable: &str, default: &str| {
        std::env::var_os(variable).map_or_else(|| home.join(default), PathBuf::from)
    };
    for (versions, below) in [
        (root("PYENV_ROOT", ".pyenv").join("versions"), "bin"),
        (root("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python"), "bin"),
        (root("NVM_DIR", ".nvm").join("versions/node"), "bin"),
        (root("FNM_DIR", ".local/share/fnm").join("node-versions"), "installation/bin"),
        (home.join(".asdf/installs/python"), "bin"),
        (home.join(".asdf/installs/nodejs"), "bin"),
        (home.join(".volta/tools/image/node"), "bin"),
        (PathBuf::from("/opt"), "bin"),
    ] {
        let mut found: Vec<PathBuf> = fs::read_dir(versions)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        found.sort();
        directories.extend(found.into_iter().rev().map(|version| version.join(below)));
    }
    let mut runtimes: Vec<HostRuntime> = Vec::new();
    for directory in directories {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let python = name.strip_prefix("python3.").and_then(|rest| rest.parse::<u32>().ok());
            // Our client needs 3.8.
            if python.map_or(name != "node", |minor| minor < 8) {
                continue;
            }
            // A link is followed: the interpreter finds its library beside itself.
            let Some(interpreter) =
                fs::canonicalize(entry.path()).ok().filter(|file| is_program(file))
            else {
                continue;
            };
            let name = match python {
                Some(minor) => format!("python3.{minor}"),
                None => match node_major(&interpreter) {
                    Some(major) => format!("nodejs{major}.x"),
                    None => continue,
                },
            };
            if runtimes.iter().all(|known| known.name != name) {
                runtimes.push(HostRuntime { name, interpreter });
            }
        }
    }
    runtimes.sort();
    runtimes
}

/// Not a script, as the shims of version managers are.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

fn node_major(interpreter: &Path) -> Option<u32> {
    let output = Command::new(interpreter).arg("--version").env_clear().output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// What is mounted read-only for a function: its code, its layers, its runtime.
pub(crate) fn mounts(function: &FunctionVersion, start: &Start) -> Vec<Mount> {
    let runtime = start.mounts.iter();
    let runtime = runtime.map(|(source, target)| Mount { source: source.clone(), target });
    own_mounts(function).into_iter().chain(runtime).collect()
}

/// Its code and its layers: extensions run even if the runtime can't.
pub(crate) fn own_mounts(function: &FunctionVersion) -> Vec<Mount> {
    let code = Mount { source: function.code.clone(), target: "/var/task" };
    let layers = function.layers.clone().map(|source| Mount { source, target: "/opt" });
    std::iter::once(code).chain(layers).collect()
}
