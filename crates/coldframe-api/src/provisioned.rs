//! Provisioned concurrency (service-api.md §5): environments of a version or alias that are
//! initialised before anybody calls.

mod delete;
mod get;
mod list;
mod put;

use std::sync::Arc;

use coldframe_store::{Function, Provisioned};
use serde_json::{Map, Value, json};

use crate::function::{Named, Which};
use crate::{Error, Service};

/// What was asked for a version or alias; the place of it.
fn asked<'a>(
    function: &'a mut Function,
    named: &Named,
) -> Result<&'a mut Option<Provisioned>, Error> {
    match named.which() {
        Which::Latest => Err(latest()),
        Which::Version(number) => {
            let version = function.versions.get_mut(&number);
            let version = version.ok_or_else(|| Error::not_found(&named.shown()))?;
            Ok(&mut Arc::make_mut(version).provisioned)
        }
        Which::Alias(alias) => {
            let alias = function.aliases.get_mut(alias);
            let alias = alias.ok_or_else(|| Error::no_alias(&named.shown()))?;
            Ok(&mut Arc::make_mut(alias).provisioned)
        }
    }
}

/// A function that isn't there has no alias or version either.
fn absent(named: &Named) -> Error {
    match named.which() {
        Which::Alias(_) => Error::no_alias(&named.shown()),
        _ => Error::not_found(&named.shown()),
    }
}

fn latest() -> Error {
    Error::invalid("The function resource provided must be an alias or a published version.")
}

impl Service {
    /// What is told of it, as far as it is.
    fn progress(&self, function: &Function, which: Which<'_>, asked: &Provisioned) -> Value {
        let revision = which.record(function).map(|version| version.generation.clone());
        let state = self.invoker.provisioned(&revision.unwrap_or_default());
        let wanted = asked.requested;
        let ready = state.available >= wanted;
        let status = match state.failure {
            _ if ready => "READY",
            Some(_) => "FAILED",
            None => "IN_PROGRESS",
        };
        let mut shown = Map::new();
        let mut put = |key: &str, value: Value| shown.insert(key.to_owned(), value);
        put("RequestedProvisionedConcurrentExecutions", json!(wanted));
        put("AvailableProvisionedConcurrentExecutions", json!(state.available.min(wanted)));
        put("AllocatedProvisionedConcurrentExecutions", json!(state.available.min(wanted)));
        put("Status", json!(status));
        if let (false, Some(reason)) = (ready, state.failure) {
            put("StatusReason", json!(reason));
        }
        put("LastModified", json!(asked.last_modified));
        Value::Object(shown)
    }
}
