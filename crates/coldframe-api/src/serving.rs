//! What invocations run: kept apart from the catalogue, as an update in progress leaves the old
//! code serving.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use coldframe_core::invoke::ConcurrencyPlan;
use coldframe_core::{FunctionArn, FunctionVersion};
use coldframe_store::{AliasRecord, Function, FunctionRecord, State, Update};
use uuid::Uuid;

use crate::function::{Named, Which, is_settled};
use crate::{Error, Service};

/// The function versions of every function that can be invoked.
#[derive(Default)]
pub(crate) struct Catalogue(RwLock<HashMap<FunctionArn, Arc<Serving>>>);

/// Those of one function.
#[derive(Default)]
struct Serving {
    /// Absent while the function is made.
    latest: Option<Arc<FunctionVersion>>,
    versions: BTreeMap<u64, Arc<FunctionVersion>>,
    aliases: BTreeMap<String, Arc<AliasRecord>>,
}

impl Catalogue {
    /// Takes out of these trees what serves.
    pub(crate) fn spare(&self, trees: &mut HashSet<PathBuf>) {
        let serving = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for version in serving.values().flat_map(|serving| serving.all()) {
            for tree in std::iter::once(&version.code).chain(&version.layers) {
                trees.remove(tree);
            }
        }
    }
}

impl Serving {
    fn find(&self, which: Which<'_>) -> Option<&Arc<FunctionVersion>> {
        match which {
            Which::Latest => self.latest.as_ref(),
            Which::Version(number) => self.versions.get(&number),
            Which::Alias(alias) => {
                let version = draw(self.aliases.get(alias)?, random());
                self.find(Which::of(Some(version)))
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<FunctionVersion>> {
        self.latest.iter().chain(self.versions.values())
    }
}

/// The version that an invocation of the alias gets; `random` is in 0..1.
fn draw(alias: &AliasRecord, random: f64) -> &str {
    let mut bound = 0.0;
    for (version, weight) in &alias.weights {
        bound += weight;
        if random < bound {
            return version;
        }
    }
    &alias.version
}

/// Uniform in 0..1.
fn random() -> f64 {
    // Of a random UUID the lower half but its two highest bits is random: 53 bits fill a double.
    let (_, low) = Uuid::new_v4().as_u64_pair();
    (low << 2 >> 11) as f64 / (1_u64 << 53) as f64
}

impl Service {
    /// The version that an invocation runs; of an alias with weights, another each time.
    pub(crate) fn to_run(&self, named: &Named) -> Result<Arc<FunctionVersion>, Error> {
        let serving = self.serving(&named.arn);
        let found = serving.as_ref().and_then(|serving| serving.find(named.which()));
        found.cloned().ok_or_else(|| self.not_serving(named))
    }

    fn not_serving(&self, named: &Named) -> Error {
        let pending = self.store.function(&named.arn).is_some_and(|function| {
            let record = named.which().record(&function);
            record.is_some_and(|record| record.state == State::Pending)
        });
        if pending {
            return Error::new(
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the following state: Pending",
            );
        }
        // Asked to run, an absent function is told with its version.
        Error::not_found(&named.arn.qualified(named.qualifier.as_deref().unwrap_or("$LATEST")))
    }

    fn serving(&self, arn: &FunctionArn) -> Option<Arc<Serving>> {
        self.serving.0.read().unwrap_or_else(PoisonError::into_inner).get(arn).cloned()
    }

    /// The record, as invocations find it. What is settled in the store serves a moment later; who
    /// waits for it is told by then, not before.
    pub(crate) fn as_it_serves(
        &self,
        arn: &FunctionArn,
        version: &str,
        record: Arc<FunctionRecord>,
    ) -> Arc<FunctionRecord> {
        let serving = self.serving(arn);
        let serves = serving.as_ref().and_then(|serving| serving.find(Which::of(Some(version))));
        unsettled_until(serves.map(|version| version.revision.as_str()), record)
    }

    /// From now on invocations run what the store has; environments of what it has no more go,
    /// and so do the events of a function that is gone.
    pub(crate) fn serve(&self, arn: &FunctionArn) {
        let function = self.store.function(arn);
        let new = function.as_ref().map(|function| Arc::new(self.made_of(arn, function)));
        let keep: Vec<&str> =
            new.iter().flat_map(|new| new.all()).map(|version| version.revision.as_str()).collect();
        self.urls.set(arn, self.store.function(arn).as_deref());
        let old = self.serving(arn).unwrap_or_default();
        let left: Vec<_> =
            old.all().filter(|version| !keep.contains(&version.revision.as_str())).collect();
        // Before they serve no more: environments run them still.
        self.storage.retire(&left);
        let mut serving = self.serving.0.write().unwrap_or_else(PoisonError::into_inner);
        match &new {
            Some(new) => serving.insert(arn.clone(), new.clone()),
            None => serving.remove(arn),
        };
        drop(serving);
        let trees =
            left.iter().flat_map(|version| std::iter::once(&version.code).chain(&version.layers));
        self.storage.suspect(trees.cloned());
        self.invoker.retire(arn, &keep);
        self.invoker.plan(arn, &plan(function.as_deref(), new.as_deref()));
        if new.is_none() {
            // Before another of its name can be made.
            self.events.forget(arn);
        }
    }

    fn made_of(&self, arn: &FunctionArn, function: &Function) -> Serving {
        let old = self.serving(arn).unwrap_or_default();
        let latest = if is_settled(&function.latest) {
            let same = old.latest.iter().find(|old| old.revision == function.latest.generation);
            let made = || Arc::new(self.version(arn, "$LATEST".to_owned(), &function.latest));
            Some(same.cloned().unwrap_or_else(made))
        } else if function.latest.state == State::Pending {
            None
        } else {
            old.latest.clone()
        };
        let settled = function.versions.iter().filter(|(_, record)| is_settled(record));
        let versions = settled.map(|(number, record)| {
            let same = old.versions.get(number).filter(|old| old.revision == record.generation);
            let made = || Arc::new(self.version(arn, number.to_string(), record));
            (*number, same.cloned().unwrap_or_else(made))
        });
        Serving { latest, versions: versions.collect(), aliases: function.aliases.clone() }
    }
}

/// A settled record that isn't what `serves`, by its generation, is told as on its way.
fn unsettled_until(serves: Option<&str>, mut record: Arc<FunctionRecord>) -> Arc<FunctionRecord> {
    if is_settled(&record) && serves != Some(&record.generation) {
        let record = Arc::make_mut(&mut record);
        (record.state, record.update) = match serves {
            None => (State::Pending, None),
            Some(_) => (State::Active, Some(Update::InProgress)),
        };
    }
    record
}

/// What the function is guaranteed and limited to; what an alias has provisioned is of its version.
fn plan(function: Option<&Function>, serving: Option<&Serving>) -> ConcurrencyPlan {
    let (Some(function), Some(serving)) = (function, serving) else {
        return ConcurrencyPlan::default();
    };
    let mut provisioned: BTreeMap<u64, u32> = BTreeMap::new();
    let versions = function.versions.iter();
    let of_versions =
        versions.filter_map(|(number, version)| Some((*number, version.provisioned.as_ref()?)));
    let of_aliases = function.aliases.values().filter_map(|alias| {
        Some((alias.version.parse::<u64>().ok()?, alias.provisioned.as_ref()?))
    });
    for (number, asked) in of_versions.chain(of_aliases) {
        *provisioned.entry(number).or_default() += asked.requested;
    }
    let provisioned = provisioned.into_iter();
    ConcurrencyPlan {
        reserved: function.settings.reserved_concurrency,
        provisioned: provisioned
            .filter_map(|(number, count)| Some((serving.versions.get(&number)?.clone(), count)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(generation: &str) -> Arc<FunctionRecord> {
        let record = serde_json::json!({
            "runtime": null, "handler": null, "role": "", "description": "", "memory_mb": 128,
            "timeout_s": 3, "ephemeral_storage_mb": 512, "environment": null, "architectures": [],
            "tracing": "PassThrough", "code_sha256": "", "code_size": 1, "package_type": "Zip",
            "logging": {
                "format": "Text", "application_level": null, "system_level": null, "group": "",
            },
            "last_modified": "", "revision_id": "", "generation": generation, "state": "Active",
            "update": "Successful", "echoed": {},
        });
        Arc::new(serde_json::from_value(record).unwrap())
    }

    #[test]
    fn what_does_not_serve_yet_is_on_its_way() {
        let told = |serves| {
            let told = unsettled_until(serves, record("new"));
            (told.state, told.update)
        };
        assert_eq!(told(None), (State::Pending, None));
        assert_eq!(told(Some("old")), (State::Active, Some(Update::InProgress)));
        assert_eq!(told(Some("new")), (State::Active, Some(Update::Successful)));
    }

    #[test]
    fn weights_are_shares() {
        let weights = BTreeMap::from([("2".to_owned(), 0.25)]);
        let alias = AliasRecord { version: "1".to_owned(), weights, ..AliasRecord::default() };
        for (random, version) in [(0.0, "2"), (0.249, "2"), (0.25, "1"), (0.999, "1")] {
            assert_eq!(draw(&alias, random), version, "{random}");
        }
    }

    #[test]
    fn random_numbers_fill_the_unit() {
        let drawn: Vec<f64> = (0..10_000).map(|_| random()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        for tenth in 0..10 {
            let inside = drawn.iter().filter(|number| (*number * 10.0) as u32 == tenth).count();
            // Ten standard deviations around a thousand.
            assert!((700..1300).contains(&inside), "{inside} in tenth {tenth}");
        }
    }
}
