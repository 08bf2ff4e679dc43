//! What makes processes: external extensions, then the runtime (execution-environment.md §1.2, §6.5).

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use coldframe_core::error::FunctionError;
use coldframe_core::event::{self, InitPhase, Status};
use coldframe_core::lifecycle::{Event, Phase};
use coldframe_core::limits::{EXTENSIONS_MAX, INIT_LIMIT};
use coldframe_core::{FunctionVersion, LogFormat, log};
use coldframe_runtime_api::telemetry::RuntimeVersion;
use coldframe_sandbox::{self as sandbox, SpawnError, SpawnStep};

use super::{Environment, Living, init_phase};
use crate::environment_variables;
use crate::output::{Tail, Writer};

/// A layer with this file switches extensions off (§1.2).
const EXTENSIONS_OFF: &str = "disable-extensions-jwigqn8j";

/// An external extension's process.
pub(super) struct ExtensionProcess {
    pub(super) name: Arc<str>,
    /// The host's number for it.
    pub(super) process: u32,
    pub(super) runs: bool,
}

/// Whether a layer switches extensions off.
pub(super) fn extensions_are_off(function: &FunctionVersion) -> bool {
    function.layers.as_ref().is_some_and(|layers| layers.join(EXTENSIONS_OFF).exists())
}

/// The files in `/opt/extensions`, by name; directories don't count.
fn extensions(function: &FunctionVersion) -> Vec<String> {
    let Some(layers) = function.layers.as_ref().filter(|_| !extensions_are_off(function)) else {
        return Vec::new();
    };
    let entries = fs::read_dir(layers.join("extensions")).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    let mut names: Vec<String> =
        files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The release of a managed runtime: there is one for each of our own.
pub(super) fn runtime_version(function: &FunctionVersion) -> Option<RuntimeVersion> {
    if function.runtime.is_os_only() {
        return None;
    }
    let runtime = function.runtime.to_string();
    let (name, arn) = log::runtime_version(&runtime, &function.arn.region, &version_hash(&runtime));
    Some(RuntimeVersion { name, arn })
}

/// Sixty-four hex digits that stay the same for a runtime's name.
fn version_hash(runtime: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    (0..4u8)
        .map(|part| {
            let mut hasher = DefaultHasher::new();
            (runtime, part).hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        })
        .collect()
}

impl Environment {
    /// Begins an init: starts every external extension. The runtime waits until all have
    /// registered.
    pub(super) async fn start_extensions(
        &mut self,
        living: &mut Living,
    ) -> Result<(), sandbox::Error> {
        self.init.began = Some(Instant::now());
        self.init.failure = None;
        self.failure = None;
        let phase = init_phase(self.phase);
        if phase == InitPhase::Init {
            self.deadline = Some(Instant::now() + INIT_LIMIT);
            // Whoever waits may want to see the init in the tail of its log.
            self.log.tail = Some(Tail::default());
        }
        let names = extensions(&self.function);
        self.server.begin_init(names.clone());
        if let (LogFormat::Text, Some(version)) =
            (self.function.log_format, &self.about.runtime_version)
        {
            let line = log::init_start_line(&version.name, &version.arn);
            // Not part of any invocation's tail.
            self.log.listener.line(SystemTime::now(), &line);
        }
        self.tell(living, event::Event::InitStart { phase });
        if names.is_empty() {
            self.pending.push_back(Event::ExtensionsRegistered);
            return Ok(());
        }
        let variables = environment_variables::of_extensions(&self.variables);
        for (index, name) in names.into_iter().enumerate() {
            if index >= EXTENSIONS_MAX {
                self.refuse_extension(&name, "TooManyExtensions", "too many extensions");
                return Ok(());
            }
            let file = format!("/opt/extensions/{name}");
            let command = sandbox::Command {
                argv: vec![file.clone()],
                env: variables.clone(),
                cwd: "/".to_owned(),
                log: false,
            };
            match self.sandbox.spawn(command).await {
                Ok(process) => {
                    let name: Arc<str> = name.into();
                    self.outputs.add(Writer::Extension(name.clone()), process.output, false);
                    let process = process.id;
                    self.extensions.push(ExtensionProcess { name, process, runs: true });
                }
                Err(SpawnError::Refused { source, .. }) => {
                    let kind = match source.raw_os_error() {
                        Some(13) => "PermissionDenied",
                        _ => "UnknownError",
                    };
                    let message = format!("fork/exec {file}: {}", reason(&source));
                    self.refuse_extension(&name, kind, &message);
                    return Ok(());
                }
                Err(SpawnError::Sandbox(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn refuse_extension(&mut self, name: &str, kind: &str, message: &str) {
        self.server.launch_failed(name, kind);
        self.fail(FunctionError::new("Extension.LaunchError", message));
        self.pending.push_back(Event::Fatal);
    }

    pub(super) async fn start_runtime(
        &mut self,
        living: &mut Living,
    ) -> Result<(), sandbox::Error> {
        if let Some(running) = &self.invocation {
            self.server.announce(running.invocation.request_id);
        }
        let argv = match &self.start {
            Err(missing) => {
                self.fail(FunctionError::new("Runtime.InvalidEntrypoint", missing.clone()));
                self.pending.push_back(Event::Fatal);
                return Ok(());
            }
            Ok(start) if start.argv.is_empty() => {
                let candidates = [
                    ("/var/task/bootstrap", Some(&self.function.code)),
                    ("/opt/bootstrap", self.function.layers.as_ref()),
                ];
                let found = candidates.into_iter().find(|(_, directory)| {
                    directory.is_some_and(|directory| directory.join("bootstrap").is_file())
                });
                let Some((path, _)) = found else {
                    self.fail(FunctionError::new(
                        "Runtime.InvalidEntrypoint",
                        "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]",
                    ));
                    self.pending.push_back(Event::Fatal);
                    return Ok(());
                };
                vec![path.to_owned()]
            }
            Ok(start) => start.argv.clone(),
        };
        let command = sandbox::Command {
            argv,
            env: self.variables.clone(),
            cwd: "/var/task".to_owned(),
            log: true,
        };
        self.server.runtime_starts();
        match self.sandbox.spawn(command).await {
            Ok(process) => {
                self.runtime = Some(process.id);
                self.outputs.add(Writer::Function, process.output, false);
                if let Some(log) = process.log {
                    self.outputs.add(Writer::Function, log, true);
                }
                living.handle.set_runtime(Some(process.pid), self.generation);
                Ok(())
            }
            Err(SpawnError::Refused { file, step, source }) => {
                self.fail(refused_start(&file, step, &source));
                self.pending.push_back(Event::Fatal);
                Ok(())
            }
            Err(SpawnError::Sandbox(error)) => Err(error),
        }
    }

    pub(super) fn tell_init_report(&mut self, living: &mut Living, from: Phase) {
        let duration = self.init.began.map(|began| began.elapsed()).unwrap_or_default();
        let phase = init_phase(from);
        let status = match (&self.init.failure, self.failure_status()) {
            // What the runtime said of its failure, not only that it exited.
            (Some(failure), Status::Error(_)) => Status::Error(failure.kind.clone()),
            (_, status) => status,
        };
        // An init that ran inside an invocation is part of that invocation's duration.
        if phase == InitPhase::Init && status == Status::Success {
            self.init.unreported = Some(duration);
        }
        self.read_output();
        let views = self.server.extensions();
        self.extensions_listen = views.iter().any(|view| view.invoke);
        for view in &views {
            self.tell(living, event::Event::Extension(view.into()));
        }
        living.handle.set_init(views, self.server.runtime_release());
        let succeeded = status == Status::Success;
        self.tell(living, event::Event::InitReport { phase, duration, status });
        if succeeded {
            self.server.telemetry().close();
        }
    }
}

/// The kernel's reasons in Go's words.
fn reason(source: &io::Error) -> String {
    match source.raw_os_error() {
        Some(2) => "no such file or directory".to_owned(),
        Some(8) => "exec format error".to_owned(),
        Some(13) => "permission denied".to_owned(),
        _ => source.to_string(),
    }
}

/// AWS's texts for a runtime that can't be started (§7.2).
fn refused_start(file: &str, step: SpawnStep, source: &io::Error) -> FunctionError {
    let reason = reason(source);
    match step {
        SpawnStep::WorkingDirectory => {
            FunctionError::new("Runtime.InvalidWorkingDir", format!("chdir /var/task: {reason}"))
        }
        _ => FunctionError::new("Runtime.InvalidEntrypoint", format!("fork/exec {file}: {reason}")),
    }
}
