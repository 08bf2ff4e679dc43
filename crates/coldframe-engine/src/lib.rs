//! Execution environments: made when needed, reused, frozen, reset and shut down.
//!
//! ```text
//! invoke ──► Pool (one for each revision of a function): the most recently used idle environment,
//!            else a new one, raced against the next that becomes free (late binding)
//!        ──► Environment (one task each): carries out what `core::lifecycle` decides
//! ```
//! **Invariant:** knows neither the HTTP of the control plane nor event sources. One invocation at
//! a time in an environment, one revision of one function for its whole life.

mod concurrency;
mod credentials;
mod environment;
mod environment_variables;
mod output;
mod pool;
mod runtimes;
mod scaling;
mod view;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use coldframe_core::identity::{Session, Sessions};
use coldframe_core::invoke::{
    Answer, ConcurrencyPlan, Invocation, Invoker, ProvisionedState, Refusal, StreamedAnswer,
};
use coldframe_core::observe::{Gauge, Observer};
use coldframe_core::{BoxFuture, FunctionArn, FunctionVersion, Runtime};
use coldframe_runtime_api::stream;
use coldframe_sandbox::Driver;
use tokio::sync::{Notify, oneshot};

pub use self::runtimes::{Bootstraps, HostRuntime, HostRuntimes};
pub use self::view::{EnvironmentView, Moment};
pub use coldframe_runtime_api::ExtensionView;
pub use coldframe_runtime_api::stream::Rate;

use self::concurrency::Concurrency;
use self::pool::{Job, Pool, Reply};
use self::scaling::Scaling;

/// What the engine may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// An idle environment is shut down after this.
    pub idle_timeout: Duration,
    /// Memory of all environments together, MB: what functions are configured to, not what they use.
    pub memory_mb: u64,
    /// Simultaneous invocations of an account.
    pub account_concurrency: usize,
    /// Environments that a function may add in ten seconds; `None`: as many as there is room for, and
    /// as many requests a second as come.
    pub scaling_rate: Option<u32>,
    /// How fast responses are streamed; `None` as fast as they come.
    pub stream_rate: Option<Rate>,
    /// What functions without layers of their own have at `/opt`.
    pub layer: Option<PathBuf>,
}

/// Runs functions in environments that a [`Driver`] makes.
pub struct Engine {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    driver: Arc<dyn Driver>,
    options: Options,
    runtimes: HostRuntimes,
    observer: Arc<dyn Observer>,
    pub(crate) issuer: Arc<credentials::Issuer>,
    pools: RwLock<HashMap<String, Arc<Pool>>>,
    environments: Mutex<HashMap<coldframe_core::EnvironmentId, Arc<view::Handle>>>,
    concurrency: Concurrency,
    scaling: Option<Scaling>,
    /// Memory that living environments are configured to, MB.
    reserved_mb: AtomicU64,
    draining: AtomicBool,
    /// Told whenever an environment ends.
    ended: Notify,
    clock: AtomicU64,
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub fn new(
        driver: Arc<dyn Driver>,
        runtimes: HostRuntimes,
        observer: Arc<dyn Observer>,
        options: Options,
    ) -> Self {
        let concurrency = Concurrency::new(options.account_concurrency);
        let scaling = options.scaling_rate.map(Scaling::new);
        let shared = Shared {
            driver,
            options,
            runtimes,
            observer,
            issuer: Arc::default(),
            pools: RwLock::default(),
            environments: Mutex::default(),
            concurrency,
            scaling,
            reserved_mb: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            ended: Notify::new(),
            clock: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every living environment, the oldest first.
    pub fn environments(&self) -> Vec<EnvironmentView> {
        let handles: Vec<_> = lock(&self.shared.environments).values().cloned().collect();
        let mut views: Vec<_> = handles.iter().map(|handle| handle.view()).collect();
        views.sort_by_key(|view| view.created);
        views
    }

    /// How concurrency stands, function by function and account by account.
    pub fn gauges(&self) -> Vec<Gauge> {
        self.shared.concurrency.gauges()
    }

    fn submit(&self, invocation: Invocation, reply: Reply) -> Result<(), Refusal> {
        let shared = &self.shared;
        if shared.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        let FunctionVersion { arn, version, .. } = &*invocation.function;
        if let Some(scaling) = &shared.scaling {
            let reserved = shared.concurrency.reserved(arn);
            scaling.request(arn, reserved, shared.options.account_concurrency, Instant::now())?;
        }
        let slot = shared.concurrency.admit(arn, version)?;
        let pool = shared.pool(&invocation.function, invocation.tenant_id.as_deref());
        pool.submit(Job { invocation, reply, _slot: slot });
        Ok(())
    }

    /// Takes no invocation any more; running ones finish, environments get their shutdown phase.
    /// Resolves when none is left.
    pub async fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        let pools: Vec<_> = self.shared.pools().values().cloned().collect();
        for pool in pools {
            pool.retire();
        }
        loop {
            let ended = self.shared.ended.notified();
            if lock(&self.shared.environments).is_empty() {
                return;
            }
            ended.await;
        }
    }
}

impl Shared {
    fn pools(&self) -> std::sync::RwLockReadGuard<'_, HashMap<String, Arc<Pool>>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(self: &Arc<Self>, function: &Arc<FunctionVersion>, tenant: Option<&str>) -> Arc<Pool> {
        let of_tenant = tenant.map(|tenant| format!("{} {tenant}", function.revision));
        let key = of_tenant.as_deref().unwrap_or(&function.revision);
        if let Some(pool) = self.pools().get(key) {
            return pool.clone();
        }
        let pool = {
            let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
            let make = || Arc::new(Pool::new(self.clone(), key.to_owned(), function.clone()));
            pools.entry(key.to_owned()).or_insert_with(make).clone()
        };
        if self.draining.load(Ordering::SeqCst) {
            // Too late for `drain` to have seen it: it serves what waits and keeps nothing.
            pool.retire();
        }
        pool
    }

    /// Takes memory for one more environment, at the cost of idle ones if need be.
    fn reserve(&self, mb: u64) -> bool {
        loop {
            let taken =
                self.reserved_mb.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |reserved| {
                    let wanted = reserved + mb;
                    (wanted <= self.options.memory_mb).then_some(wanted)
                });
            if taken.is_ok() {
                return true;
            }
            let pools: Vec<_> = self.pools().values().cloned().collect();
            let oldest = pools
                .iter()
                .filter_map(|pool| Some((pool.oldest_idle()?, pool)))
                .min_by_key(|(age, _)| *age);
            match oldest {
                Some((_, pool)) => pool.evict_oldest(),
                None => return false,
            }
        }
    }

    /// Whether the function may have one more environment that isn't provisioned, as fast as it grows.
    fn may_grow(&self, arn: &FunctionArn) -> bool {
        self.scaling.as_ref().is_none_or(|scaling| scaling.environment(arn, Instant::now()))
    }

    fn release(&self, mb: u64) {
        self.reserved_mb.fetch_sub(mb, Ordering::SeqCst);
    }

    /// Counts up: tells which environment was used last.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }
}

impl Invoker for Engine {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Answer, Refusal>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.submit(invocation, Reply::Whole(reply))?;
            answer.await.unwrap_or_else(|_| {
                Err(Refusal::Platform("the execution environment ended without an answer".into()))
            })
        })
    }

    fn invoke_with_response_stream(
        &self,
        invocation: Invocation,
    ) -> BoxFuture<'_, Result<StreamedAnswer, Refusal>> {
        Box::pin(async move {
            let (sender, receiver) = stream::channel();
            self.submit(invocation, Reply::Streamed(sender))?;
            receiver.begun().await
        })
    }

    fn retire(&self, arn: &FunctionArn, keep: &[&str]) {
        let pools: Vec<_> = self.shared.pools().values().cloned().collect();
        for pool in pools {
            let function = pool.function();
            if function.arn == *arn && !keep.contains(&function.revision.as_str()) {
                pool.retire();
            }
        }
    }

    fn plan(&self, arn: &FunctionArn, plan: &ConcurrencyPlan) {
        self.shared.concurrency.plan(arn, plan);
        let pools: Vec<_> = self.shared.pools().values().cloned().collect();
        let planned = |revision: &str| {
            plan.provisioned.iter().any(|(function, _)| function.revision == revision)
        };
        for pool in pools {
            if pool.function().arn == *arn && !planned(&pool.function().revision) {
                pool.provision(0);
            }
        }
        for (function, count) in &plan.provisioned {
            self.shared.pool(function, None).provision(*count as usize);
        }
    }

    fn provisioned(&self, revision: &str) -> ProvisionedState {
        let pool = self.shared.pools().get(revision).cloned();
        pool.map_or_else(ProvisionedState::default, |pool| pool.provisioned())
    }

    fn concurrency_limit(&self) -> u32 {
        self.shared.options.account_concurrency.try_into().unwrap_or(u32::MAX)
    }

    fn runtime_missing(&self, runtime: &Runtime) -> Option<String> {
        self.shared.runtimes.find(runtime).err()
    }
}

impl Sessions for Engine {
    fn session(&self, access_key: &str) -> Option<Session> {
        self.shared.issuer.session(access_key)
    }
}

#[cfg(test)]
mod tests;
