//! Aliases (service-api.md §2.10): names for versions.

mod create;
mod delete;
mod get;
mod list;
mod update;

use std::collections::BTreeMap;

use coldframe_core::FunctionArn;
use coldframe_store::{AliasRecord, Function};
use serde_json::{Value, json};

use crate::Error;
use crate::function::Which;

/// `AliasConfiguration`.
fn configuration(arn: &FunctionArn, name: &str, alias: &AliasRecord) -> Value {
    let mut shown = json!({
        "AliasArn": arn.qualified(name),
        "Name": name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    });
    if !alias.weights.is_empty() {
        shown["RoutingConfig"] = json!({ "AdditionalVersionWeights": alias.weights });
    }
    shown
}

/// Refuses a version that isn't there.
fn check_version(arn: &FunctionArn, function: &Function, version: &str) -> Result<(), Error> {
    let found = match Which::of(Some(version)) {
        Which::Alias(_) => None,
        which => which.record(function),
    };
    found.map(drop).ok_or_else(|| Error::not_found(&arn.qualified(version)))
}

/// The weights of a request, checked against the version that the alias points to.
fn weights(
    arn: &FunctionArn,
    function: &Function,
    version: &str,
    given: &Value,
) -> Result<BTreeMap<String, f64>, Error> {
    let given = given["AdditionalVersionWeights"].as_object().into_iter().flatten();
    let weights: BTreeMap<String, f64> =
        given.filter_map(|(version, weight)| Some((version.clone(), weight.as_f64()?))).collect();
    if weights.len() > 1 {
        return Err(Error::invalid(
            "Number of items in AdditionalVersionWeights cannot be greater than 1",
        ));
    }
    for additional in weights.keys() {
        if additional == version {
            return Err(Error::invalid(format!(
                "Invalid function version {version}. Function version {version} is already included in routing configuration."
            )));
        }
        if version == "$LATEST" {
            return Err(Error::invalid(
                "$LATEST is not supported for an alias pointing to more than 1 version",
            ));
        }
        check_version(arn, function, additional)?;
    }
    Ok(weights)
}
