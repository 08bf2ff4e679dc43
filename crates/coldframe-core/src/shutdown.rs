//! The shutdown phase of one environment (execution-environment.md §1.7): the stages, and what each
//! begins with. Decides and never acts.
//!
//! ```text
//! nothing registered ───────────────────────────────────────────► Kill
//! Runtime --RuntimeGone, Timeout--> Extensions --ExtensionsGone, Timeout--> Kill
//! ```

use std::time::Duration;

use crate::limits::{SHUTDOWN_LIMIT, SHUTDOWN_LIMIT_INTERNAL, SHUTDOWN_LIMIT_RUNTIME};

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The runtime has its `SIGTERM`.
    Runtime,
    /// The runtime is gone or given up; external extensions have their SHUTDOWN event.
    Extensions,
    /// Everything is being killed.
    Kill,
}

/// What can happen in a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    RuntimeGone,
    /// No extension runs that was told of the shutdown.
    ExtensionsGone,
    /// The time of the stage is over.
    Timeout,
}

/// What is owed at the beginning of a stage, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// `SIGTERM` to the runtime's process group.
    TermRuntime,
    KillRuntime,
    /// Deliver telemetry, kill extensions that did not subscribe to SHUTDOWN, tell the others.
    TellExtensions,
    KillAll,
}

/// How much time processes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub runtime: Duration,
    pub total: Duration,
}

impl Budget {
    /// By what is registered; `None`: no time, and no `SIGTERM`.
    pub fn of(external: bool, internal: bool) -> Option<Self> {
        match (external, internal) {
            (true, _) => Some(Self { runtime: SHUTDOWN_LIMIT_RUNTIME, total: SHUTDOWN_LIMIT }),
            (false, true) => {
                Some(Self { runtime: SHUTDOWN_LIMIT_INTERNAL, total: SHUTDOWN_LIMIT_INTERNAL })
            }
            (false, false) => None,
        }
    }
}

impl Stage {
    /// The first stage of a shutdown with or without a budget.
    pub fn first(budget: Option<Budget>, runtime_runs: bool) -> (Self, &'static [Deed]) {
        match (budget, runtime_runs) {
            (None, _) => (Self::Kill, &[Deed::KillAll]),
            (Some(_), true) => (Self::Runtime, &[Deed::TermRuntime]),
            (Some(_), false) => (Self::Extensions, &[Deed::TellExtensions]),
        }
    }

    /// The next stage; `None` if the event changes nothing here.
    pub fn on(self, event: Event) -> Option<(Self, &'static [Deed])> {
        match (self, event) {
            (Self::Runtime, Event::RuntimeGone) => {
                Some((Self::Extensions, &[Deed::TellExtensions]))
            }
            (Self::Runtime, Event::Timeout) => {
                Some((Self::Extensions, &[Deed::KillRuntime, Deed::TellExtensions]))
            }
            (Self::Extensions, Event::ExtensionsGone | Event::Timeout) => {
                Some((Self::Kill, &[Deed::KillAll]))
            }
            (Self::Runtime, Event::ExtensionsGone)
            | (Self::Extensions, Event::RuntimeGone)
            | (Self::Kill, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: execution-environment.md §1.7.
    #[test]
    fn budgets_follow_what_is_registered() {
        let check = |external, internal, expected: Option<(u64, u64)>| {
            let found = Budget::of(external, internal);
            let found = found
                .map(|budget| (budget.runtime.as_millis() as u64, budget.total.as_millis() as u64));
            assert_eq!(found, expected);
        };
        check(false, false, None);
        check(false, true, Some((500, 500)));
        check(true, false, Some((600, 2000)));
        check(true, true, Some((600, 2000)));
    }

    #[test]
    fn stages_go_one_way_and_end_in_kill() {
        use Deed::{KillAll, KillRuntime, TellExtensions, TermRuntime};
        let budget = Budget::of(true, false);
        assert_eq!(Stage::first(None, true), (Stage::Kill, &[KillAll][..]));
        assert_eq!(Stage::first(budget, true), (Stage::Runtime, &[TermRuntime][..]));
        assert_eq!(Stage::first(budget, false), (Stage::Extensions, &[TellExtensions][..]));
        let mut rows = Vec::new();
        for stage in [Stage::Runtime, Stage::Extensions, Stage::Kill] {
            for event in [Event::RuntimeGone, Event::ExtensionsGone, Event::Timeout] {
                rows.extend(stage.on(event).map(|(next, deeds)| (stage, event, next, deeds)));
            }
        }
        assert_eq!(
            rows,
            [
                (Stage::Runtime, Event::RuntimeGone, Stage::Extensions, &[TellExtensions][..]),
                (
                    Stage::Runtime,
                    Event::Timeout,
                    Stage::Extensions,
                    &[KillRuntime, TellExtensions][..]
                ),
                (Stage::Extensions, Event::ExtensionsGone, Stage::Kill, &[KillAll][..]),
                (Stage::Extensions, Event::Timeout, Stage::Kill, &[KillAll][..]),
            ]
        );
    }
}
