//! The environments of one revision of a function, and the invocations that wait for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coldframe_core::FunctionVersion;
use coldframe_core::invoke::{Answer, Invocation, ProvisionedState, Refusal};
use coldframe_runtime_api::stream;
use tokio::sync::oneshot;

use crate::concurrency::Slot;
use crate::environment::{self, Command};
use crate::view::Handle;
use crate::{Shared, lock};

/// How long a waiting invocation trusts that an environment which has answered becomes free.
const FINISH_LIMIT: Duration = Duration::from_millis(5);

/// An invocation and whom to tell.
pub(crate) struct Job {
    pub(crate) invocation: Invocation,
    pub(crate) reply: Reply,
    /// Held until the invocation is over, not only answered: the environment is busy that long.
    pub(crate) _slot: Slot,
}

/// Whom to tell, and how.
pub(crate) enum Reply {
    Whole(oneshot::Sender<Result<Answer, Refusal>>),
    Streamed(stream::Sender),
}

impl Reply {
    /// The invocation never reaches the function. The caller may have gone.
    fn refuse(self, refusal: Refusal) {
        match self {
            Self::Whole(reply) => drop(reply.send(Err(refusal))),
            Self::Streamed(stream) => stream.refuse(refusal),
        }
    }
}

pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// What it is known by: the function's revision, and the tenant if it keeps tenants apart.
    key: String,
    function: Arc<FunctionVersion>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// A stack: the most recently used is taken first, so that the others can age and go.
    idle: Vec<(Arc<Handle>, u64)>,
    waiting: VecDeque<Job>,
    /// Environments that are being made.
    starting: usize,
    /// Environments whose caller has its answer and whose runtime is about to ask for the next event.
    finishing: usize,
    living: usize,
    retired: bool,
    /// Environments that are kept whether somebody calls or not, and how many there are to be.
    provisioned: Vec<Arc<Handle>>,
    provisioned_wanted: usize,
    /// Why no more of them are made.
    provisioned_failure: Option<&'static str>,
}

impl Inner {
    /// The environment for the next invocation: one that is provisioned if there is one.
    fn take_idle(&mut self) -> Option<Arc<Handle>> {
        if self.provisioned.is_empty() {
            return self.idle.pop().map(|(handle, _)| handle);
        }
        let provisioned = self.idle.iter().rposition(|(handle, _)| handle.is_provisioned());
        let index = provisioned.or(self.idle.len().checked_sub(1))?;
        Some(self.idle.remove(index).0)
    }

    /// The least recently used idle environment that may go.
    fn oldest(&self) -> Option<usize> {
        self.idle.iter().position(|(handle, _)| !handle.is_provisioned())
    }
}

/// What an environment that became free is to do.
pub(crate) enum Offered {
    Take(Box<Job>),
    Wait,
    Stop,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, key: String, function: Arc<FunctionVersion>) -> Self {
        Self { shared, key, function, inner: Mutex::default() }
    }

    pub(crate) fn function(&self) -> &Arc<FunctionVersion> {
        &self.function
    }

    fn memory_mb(&self) -> u64 {
        self.function.memory.mb().into()
    }

    /// Hands the invocation to an idle environment, or starts one and lets it race those at work.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let mut job = job;
        {
            let mut inner = lock(&self.inner);
            while let Some(handle) = inner.take_idle() {
                match handle.command(Command::Invoke(Box::new(job))) {
                    Ok(()) => return,
                    Err(Command::Invoke(back)) => job = *back,
                    Err(Command::Stop) => return,
                }
            }
            inner.waiting.push_back(job);
            if inner.starting >= inner.waiting.len() {
                return;
            }
            if inner.starting + inner.finishing >= inner.waiting.len() {
                // A caller who calls again at once meets its own environment on the way back.
                let pool = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(FINISH_LIMIT).await;
                    pool.start_for_waiting();
                });
                return;
            }
            inner.starting += 1;
        }
        self.start();
    }

    /// Whoever still waits has waited long enough.
    fn start_for_waiting(self: &Arc<Self>) {
        let lacking = {
            let mut inner = lock(&self.inner);
            let lacking = inner.waiting.len().saturating_sub(inner.starting);
            inner.starting += lacking;
            lacking
        };
        for _ in 0..lacking {
            self.start();
        }
    }

    /// An environment has answered and will soon be free, or be lost.
    pub(crate) fn finishing(&self) {
        lock(&self.inner).finishing += 1;
    }

    /// It is free, or lost.
    pub(crate) fn finished(&self) {
        lock(&self.inner).finishing -= 1;
    }

    /// Starts one environment; `starting` counts it already.
    fn start(self: &Arc<Self>) {
        if !self.shared.may_grow(&self.function.arn) || !self.shared.reserve(self.memory_mb()) {
            let refused = {
                let mut inner = lock(&self.inner);
                inner.starting -= 1;
                inner.waiting.pop_back()
            };
            if let Some(job) = refused {
                let reason = "ConcurrentInvocationLimitExceeded";
                job.reply.refuse(Refusal::Throttled { reason });
            }
            return;
        }
        lock(&self.inner).living += 1;
        environment::start(self.shared.clone(), self.clone(), false);
    }

    /// From now on so many environments are kept initialised.
    pub(crate) fn provision(self: &Arc<Self>, wanted: usize) {
        let surplus = {
            let mut inner = lock(&self.inner);
            if inner.provisioned_wanted != wanted {
                inner.provisioned_failure = None;
            }
            inner.provisioned_wanted = wanted;
            let kept = inner.provisioned.len().min(wanted);
            let surplus = inner.provisioned.split_off(kept);
            for handle in &surplus {
                handle.let_go();
            }
            // Busy ones are like others from now on.
            inner
                .idle
                .extract_if(.., |(idle, _)| surplus.iter().any(|one| Arc::ptr_eq(one, idle)))
                .collect::<Vec<_>>()
        };
        for (handle, _) in surplus {
            let _ = handle.command(Command::Stop);
        }
        self.make_provisioned();
    }

    /// Makes what lacks of the provisioned environments.
    fn make_provisioned(self: &Arc<Self>) {
        loop {
            {
                let inner = lock(&self.inner);
                let enough = inner.provisioned.len() >= inner.provisioned_wanted;
                if enough || inner.retired || inner.provisioned_failure.is_some() {
                    return;
                }
            }
            let has_memory = self.shared.reserve(self.memory_mb());
            let mut inner = lock(&self.inner);
            if !has_memory {
                inner.provisioned_failure = Some("INSUFFICIENT_MEMORY");
                return;
            }
            if inner.provisioned.len() >= inner.provisioned_wanted || inner.retired {
                // Somebody else was faster.
                drop(inner);
                self.shared.release(self.memory_mb());
                return;
            }
            inner.starting += 1;
            inner.living += 1;
            let handle = environment::start(self.shared.clone(), self.clone(), true);
            inner.provisioned.push(handle);
        }
    }

    /// How far that is.
    pub(crate) fn provisioned(&self) -> ProvisionedState {
        let inner = lock(&self.inner);
        let good = inner.provisioned.iter().filter(|handle| handle.initialised() == Some(true));
        ProvisionedState {
            available: u32::try_from(good.count()).unwrap_or(u32::MAX),
            failure: inner.provisioned_failure,
        }
    }

    /// An environment is free: it gets what waits, or is kept for later.
    pub(crate) fn offer(&self, handle: &Arc<Handle>, first: bool) -> Offered {
        let mut inner = lock(&self.inner);
        if first {
            inner.starting -= 1;
            if handle.is_provisioned() && handle.initialised() == Some(false) {
                inner.provisioned_failure = Some("FUNCTION_ERROR_INIT_FAILURE");
                inner.provisioned.retain(|one| !Arc::ptr_eq(one, handle));
                handle.let_go();
                if inner.waiting.is_empty() {
                    return Offered::Stop;
                }
            }
        }
        if let Some(job) = inner.waiting.pop_front() {
            return Offered::Take(Box::new(job));
        }
        if inner.retired {
            return Offered::Stop;
        }
        inner.idle.push((handle.clone(), self.shared.tick()));
        Offered::Wait
    }

    /// Takes an environment that nobody has called for long out of the idle ones; `false` if it has
    /// been handed out, or is to stay.
    pub(crate) fn withdraw_aged(&self, handle: &Arc<Handle>) -> bool {
        !handle.is_provisioned() && self.withdraw(handle)
    }

    /// Takes an environment out of the idle ones; `false` if it has been handed out.
    pub(crate) fn withdraw(&self, handle: &Arc<Handle>) -> bool {
        let mut inner = lock(&self.inner);
        let before = inner.idle.len();
        inner.idle.retain(|(idle, _)| !Arc::ptr_eq(idle, handle));
        inner.idle.len() < before
    }

    /// An environment that was starting could not be made: one waiting invocation gets to know.
    pub(crate) fn failed(&self, error: &str) {
        let mut inner = lock(&self.inner);
        inner.starting -= 1;
        // Those for which another environment is on its way may still be served.
        if inner.waiting.len() > inner.starting
            && let Some(job) = inner.waiting.pop_front()
        {
            job.reply.refuse(Refusal::Platform(error.to_owned()));
        }
    }

    /// An environment ended.
    pub(crate) fn ended(self: &Arc<Self>, handle: &Handle) {
        self.release(handle);
        let start = {
            let mut inner = lock(&self.inner);
            inner.living -= 1;
            let before = inner.provisioned.len();
            inner.provisioned.retain(|one| !std::ptr::eq(&**one, handle));
            if inner.provisioned.len() < before && handle.initialised() != Some(true) {
                // Another would end like this one.
                inner.provisioned_failure = Some("INTERNAL_ERROR");
            }
            // One that ended while an invocation waited for it is replaced.
            inner.living == inner.starting
        };
        if start {
            self.start_for_waiting();
        }
        self.make_provisioned();
        self.forget();
    }

    /// Counts an environment's memory as free, once.
    fn release(&self, handle: &Handle) {
        if handle.release() {
            self.shared.release(self.memory_mb());
        }
    }

    /// A retired pool without environments is forgotten, and so is a tenant's: there may be no end
    /// of tenants.
    fn forget(&self) {
        let mut pools =
            self.shared.pools.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut inner = lock(&self.inner);
        let ends = inner.retired || self.key != self.function.revision;
        let empty = ends && inner.living == 0 && inner.waiting.is_empty();
        let known = pools.get(&self.key);
        if empty && known.is_some_and(|pool| std::ptr::eq(&**pool, self)) {
            // Who has found it just before is served, and nothing is kept.
            inner.retired = true;
            pools.remove(&self.key);
        }
    }

    /// No new environment is kept; idle ones shut down now, busy ones after their invocation.
    pub(crate) fn retire(&self) {
        let idle = {
            let mut inner = lock(&self.inner);
            inner.retired = true;
            std::mem::take(&mut inner.idle)
        };
        for (handle, _) in idle {
            let _ = handle.command(Command::Stop);
        }
        self.forget();
    }

    pub(crate) fn oldest_idle(&self) -> Option<u64> {
        let inner = lock(&self.inner);
        inner.oldest().map(|index| inner.idle[index].1)
    }

    /// Shuts the least recently used idle environment down and counts its memory as free.
    pub(crate) fn evict_oldest(&self) {
        let oldest = {
            let mut inner = lock(&self.inner);
            inner.oldest().map(|index| inner.idle.remove(index).0)
        };
        if let Some(handle) = oldest {
            self.release(&handle);
            let _ = handle.command(Command::Stop);
        }
    }
}
