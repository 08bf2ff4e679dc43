//! The shutdown phase, and the same at a reset (execution-environment.md §1.6, §1.7): carries out
//! what [`coldframe_core::shutdown`] decides.

use std::time::{Duration, Instant, SystemTime};

use coldframe_core::lifecycle;
use coldframe_core::limits::REAP_LIMIT;
use coldframe_core::shutdown::{Budget, Deed, Event, Stage};
use coldframe_runtime_api::ExtensionView;
use coldframe_runtime_api::extension::State;
use coldframe_sandbox as sandbox;

use super::{Environment, Living};

/// `SIGTERM` and `SIGKILL`.
const TERM: i32 = 15;
const KILL: i32 = 9;

/// How long the SHUTDOWN event waits for telemetry that is still to be delivered. Delivery goes on
/// while extensions shut down.
const FLUSH_LIMIT: Duration = Duration::from_millis(300);

/// A shutdown under way.
pub(super) struct Ending {
    stage: Stage,
    reason: &'static str,
    /// When processes are killed that have not gone by themselves.
    deadline: (Instant, SystemTime),
    /// External extensions that were told and may end by themselves.
    told: Vec<u32>,
}

impl Environment {
    pub(super) async fn begin_ending(
        &mut self,
        living: &mut Living,
        reason: &'static str,
    ) -> Result<(), sandbox::Error> {
        // A function that spins must not slow its own end.
        self.limit_cpu(None)?;
        let views = self.server.extensions();
        // Registered, if gone by now, or only started: then a process is there.
        let registered = |view: &ExtensionView| {
            view.external && !matches!(view.state, State::Started | State::LaunchError)
        };
        let external =
            views.iter().any(registered) || self.extensions.iter().any(|extension| extension.runs);
        let internal = views.iter().any(|view| !view.external);
        let budget = Budget::of(external, internal);
        let (stage, deeds) = Stage::first(budget, self.runtime.is_some());
        let total = budget.map_or(Duration::ZERO, |budget| budget.total);
        let deadline = (Instant::now() + total, SystemTime::now() + total);
        self.ending = Some(Ending { stage, reason, deadline, told: Vec::new() });
        self.deadline = match budget {
            Some(budget) if stage == Stage::Runtime => Some(Instant::now() + budget.runtime),
            _ => Some(deadline.0),
        };
        self.carry_out(living, deeds).await
    }

    async fn carry_out(
        &mut self,
        living: &mut Living,
        deeds: &[Deed],
    ) -> Result<(), sandbox::Error> {
        for deed in deeds {
            match deed {
                Deed::TermRuntime => self.signal_runtime(TERM)?,
                Deed::KillRuntime => self.signal_runtime(KILL)?,
                Deed::TellExtensions => {
                    self.tell_extensions().await?;
                    self.extensions_may_be_gone(living).await?;
                }
                Deed::KillAll => {
                    self.deadline = Some(Instant::now() + REAP_LIMIT);
                    self.sandbox.kill_all()?;
                }
            }
        }
        Ok(())
    }

    fn signal_runtime(&mut self, signal: i32) -> Result<(), sandbox::Error> {
        self.runtime.map_or(Ok(()), |process| self.sandbox.signal(process, signal))
    }

    async fn tell_extensions(&mut self) -> Result<(), sandbox::Error> {
        let Some(ending) = &self.ending else { return Ok(()) };
        let (deadline, reason) = (ending.deadline, ending.reason);
        self.deadline = Some(deadline.0);
        // What the runtime said last is part of what subscribers get.
        self.read_output();
        let left = deadline.0.saturating_duration_since(Instant::now());
        self.server.telemetry().drain(FLUSH_LIMIT.min(left)).await;
        let views = self.server.extensions();
        for extension in self.extensions.iter().filter(|extension| extension.runs) {
            let listens = views.iter().any(|view| *view.name == *extension.name && view.shutdown);
            if listens {
                if let Some(ending) = &mut self.ending {
                    ending.told.push(extension.process);
                }
            } else {
                self.sandbox.signal(extension.process, KILL)?;
            }
        }
        self.server.shut_down(reason, deadline.1);
        Ok(())
    }

    /// Goes on when none runs any more that was told of the shutdown.
    async fn extensions_may_be_gone(&mut self, living: &mut Living) -> Result<(), sandbox::Error> {
        let Some(ending) = &self.ending else { return Ok(()) };
        let runs = |process: &u32| {
            self.extensions.iter().any(|known| known.process == *process && known.runs)
        };
        if ending.told.iter().any(runs) {
            return Ok(());
        }
        self.advance(living, Event::ExtensionsGone).await
    }

    fn advance<'a>(
        &'a mut self,
        living: &'a mut Living,
        event: Event,
    ) -> coldframe_core::BoxFuture<'a, Result<(), sandbox::Error>> {
        Box::pin(async move {
            let Some(ending) = &mut self.ending else { return Ok(()) };
            let Some((stage, deeds)) = ending.stage.on(event) else { return Ok(()) };
            ending.stage = stage;
            self.carry_out(living, deeds).await
        })
    }

    /// A process ended as it was told to.
    pub(super) async fn take_expected_exit(
        &mut self,
        living: &mut Living,
        process: u32,
        exit: sandbox::Exit,
    ) {
        let extension = self.extensions.iter().find(|known| known.process == process);
        let gone = match extension {
            None => self.advance(living, Event::RuntimeGone).await,
            Some(extension) => {
                let cleanly = exit == sandbox::Exit::Code(0);
                self.server.extension_exited(&extension.name, cleanly);
                if self.ending.as_ref().is_some_and(|ending| ending.stage == Stage::Extensions) {
                    self.extensions_may_be_gone(living).await
                } else {
                    Ok(())
                }
            }
        };
        if gone.is_err() {
            self.lose(living).await;
        }
    }

    /// The time of a stage is over.
    pub(super) async fn take_end_of_stage(&mut self, living: &mut Living) {
        let stage = self.ending.as_ref().map_or(Stage::Kill, |ending| ending.stage);
        if stage == Stage::Kill {
            tracing::warn!(environment_id = %living.id, "processes do not end; the sandbox is given up");
            self.step(living, lifecycle::Event::Timeout).await;
        } else if self.advance(living, Event::Timeout).await.is_err() {
            self.lose(living).await;
        }
    }
}
