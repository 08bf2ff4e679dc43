//! Who may run one more invocation (service-api.md §5): the limits of an account in a region, of a
//! function that reserves a part of it, and of the environments that a version has provisioned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use coldframe_core::invoke::{ConcurrencyPlan, Refusal};
use coldframe_core::observe::{self, Gauge, Metric};
use coldframe_core::{AccountId, FunctionArn};

use crate::lock;

/// An account in a region: what limits count by.
type Namespace = (AccountId, Arc<str>);

/// Every account's invocations, counted.
pub(crate) struct Concurrency {
    /// Simultaneous invocations of one account in one region.
    limit: usize,
    accounts: RwLock<HashMap<Namespace, Arc<Mutex<Account>>>>,
}

#[derive(Default)]
struct Account {
    functions: HashMap<Arc<str>, Function>,
    running: usize,
    /// Running outside of what is reserved or provisioned.
    unreserved: usize,
    /// What functions have reserved, and provisioned without a reservation.
    set_aside: usize,
}

#[derive(Default)]
struct Function {
    reserved: Option<usize>,
    /// By version.
    provisioned: HashMap<String, Provisioned>,
    /// Running outside of what is provisioned.
    on_demand: usize,
}

#[derive(Default)]
struct Provisioned {
    capacity: usize,
    running: usize,
}

impl Function {
    fn provisioned(&self) -> usize {
        self.provisioned.values().map(|version| version.capacity).sum()
    }

    fn running(&self) -> usize {
        let provisioned: usize = self.provisioned.values().map(|version| version.running).sum();
        self.on_demand + provisioned
    }

    fn set_aside(&self) -> usize {
        self.reserved.unwrap_or_else(|| self.provisioned())
    }

    /// Nothing runs and nothing is set aside.
    fn is_over(&self) -> bool {
        let idle = self.provisioned.values().all(|version| version.running == 0);
        self.on_demand == 0 && self.set_aside() == 0 && self.reserved.is_none() && idle
    }
}

impl Concurrency {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, accounts: RwLock::default() }
    }

    fn account(&self, arn: &FunctionArn) -> Arc<Mutex<Account>> {
        let key = (arn.account.clone(), arn.region.clone());
        let known = {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            accounts.get(&key).cloned()
        };
        known.unwrap_or_else(|| {
            let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
            accounts.entry(key).or_default().clone()
        })
    }

    /// What the function has reserved.
    pub(crate) fn reserved(&self, arn: &FunctionArn) -> Option<usize> {
        lock(&self.account(arn)).functions.get(&arn.name)?.reserved
    }

    /// Counts one more invocation of a version, if it may run.
    pub(crate) fn admit(&self, arn: &FunctionArn, version: &str) -> Result<Slot, Refusal> {
        let shared = self.account(arn);
        let mut account = lock(&shared);
        let Account { functions, running, unreserved, set_aside } = &mut *account;
        let function = functions.entry(arn.name.clone()).or_default();
        let slot =
            |provisioned| Slot { account: shared.clone(), name: arn.name.clone(), provisioned };
        if let Some(provisioned) = function.provisioned.get_mut(version)
            && provisioned.running < provisioned.capacity
        {
            provisioned.running += 1;
            *running += 1;
            return Ok(slot(Some(version.to_owned())));
        }
        if let Some(reserved) = function.reserved {
            if function.on_demand >= reserved.saturating_sub(function.provisioned()) {
                let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
                return Err(Refusal::Throttled { reason });
            }
        } else {
            if *unreserved >= self.limit.saturating_sub(*set_aside) {
                if function.is_over() {
                    functions.remove(&arn.name);
                }
                let reason = "ConcurrentInvocationLimitExceeded";
                return Err(Refusal::Throttled { reason });
            }
            *unreserved += 1;
        }
        function.on_demand += 1;
        *running += 1;
        Ok(slot(None))
    }

    /// How all of it stands. What is idle and has nothing set aside isn't there.
    pub(crate) fn gauges(&self) -> Vec<Gauge> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut gauges = Vec::new();
        for ((account, region), shared) in accounts.iter() {
            let arn = |name: &Arc<str>| FunctionArn {
                account: account.clone(),
                region: region.clone(),
                name: name.clone(),
            };
            let of_account = lock(shared);
            let mut put = |function: &FunctionArn, metric, value: f64| {
                gauges.push(Gauge { function: function.clone(), metric, value });
            };
            for (name, function) in &of_account.functions {
                let arn = arn(name);
                let count = |count: usize| count as f64;
                put(&arn, Metric::ConcurrentExecutions, count(function.running()));
                let capacity = function.provisioned();
                if capacity > 0 {
                    let busy = count(function.running() - function.on_demand);
                    put(&arn, Metric::ProvisionedConcurrentExecutions, busy);
                    let used = busy / count(capacity);
                    put(&arn, Metric::ProvisionedConcurrencyUtilization, used);
                }
            }
            let (whole, unreserved) = (arn(&"".into()), of_account.unreserved);
            put(&whole, Metric::UnreservedConcurrentExecutions, unreserved as f64);
            let claimed = unreserved + of_account.set_aside;
            put(&whole, Metric::ClaimedAccountConcurrency, claimed as f64);
        }
        gauges
    }

    /// From now on these are the function's limits; what runs already goes on.
    pub(crate) fn plan(&self, arn: &FunctionArn, plan: &ConcurrencyPlan) {
        let shared = self.account(arn);
        let mut account = lock(&shared);
        let Account { functions, unreserved, set_aside, .. } = &mut *account;
        let function = functions.entry(arn.name.clone()).or_default();
        *set_aside -= function.set_aside();
        let reserved = plan.reserved.map(|reserved| reserved as usize);
        match (function.reserved, reserved) {
            (None, Some(_)) => *unreserved -= function.on_demand,
            (Some(_), None) => *unreserved += function.on_demand,
            _ => {}
        }
        function.reserved = reserved;
        for version in function.provisioned.values_mut() {
            version.capacity = 0;
        }
        for (version, capacity) in &plan.provisioned {
            let version = function.provisioned.entry(version.version.clone()).or_default();
            version.capacity = *capacity as usize;
        }
        function.provisioned.retain(|_, version| version.capacity > 0 || version.running > 0);
        *set_aside += function.set_aside();
        if function.is_over() {
            functions.remove(&arn.name);
        }
    }
}

/// One of the simultaneous invocations, until dropped.
pub(crate) struct Slot {
    account: Arc<Mutex<Account>>,
    name: Arc<str>,
    /// The version whose provisioned environments it counts against.
    provisioned: Option<String>,
}

impl Slot {
    /// What runs at this moment, with this invocation of that version.
    pub(crate) fn running(&self, version: &str) -> observe::Concurrency {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let account = lock(&self.account);
        let Some(function) = account.functions.get(&self.name) else {
            return observe::Concurrency::default();
        };
        let provisioned = function.provisioned.get(version).filter(|version| version.capacity > 0);
        observe::Concurrency {
            function: count(function.running()),
            account: count(account.running),
            unreserved: count(account.unreserved),
            claimed: count(account.unreserved + account.set_aside),
            provisioned: provisioned.map(|version| observe::Provisioned {
                running: count(version.running),
                capacity: count(version.capacity),
                spilled: self.provisioned.is_none(),
            }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut account = lock(&self.account);
        let Account { functions, running, unreserved, .. } = &mut *account;
        *running -= 1;
        let Some(function) = functions.get_mut(&self.name) else { return };
        match &self.provisioned {
            Some(version) => {
                if let Some(version) = function.provisioned.get_mut(version) {
                    version.running -= 1;
                }
                function.provisioned.retain(|_, one| one.capacity > 0 || one.running > 0);
            }
            None => {
                function.on_demand -= 1;
                if function.reserved.is_none() {
                    *unreserved -= 1;
                }
            }
        }
        if function.is_over() {
            functions.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests;
