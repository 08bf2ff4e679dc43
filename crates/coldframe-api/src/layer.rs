//! Layers (service-api.md §2.11).

mod delete;
mod get;
mod list;
mod permission;
mod publish;

use std::sync::Arc;

use coldframe_core::limits::UNZIPPED_BYTES_MAX;
use coldframe_core::packages::PackageError;
use coldframe_core::{AccountId, LayerArn};
use coldframe_store::{LayerRecord, LayerUse};
use serde_json::{Value, json};

use crate::function::package_error;
use crate::policy::{allows_account, not_found};
use crate::{Call, Caller, Error, Service, code};

/// Layers of one function. AWS: "Lambda quotas", 5.
const LAYERS_MAX: usize = 5;

/// What the model lets pass as a layer's name or ARN, with the version if there is one.
struct Named {
    arn: LayerArn,
    number: Option<u64>,
}

/// Reads a name, a layer's ARN or a layer version's. `None` for what is none of ours.
fn parse(caller: &Caller, text: &str) -> Option<Named> {
    let Some(rest) = text.strip_prefix("arn:") else {
        let arn = layer_arn(caller.account.clone(), &caller.region, text);
        return Some(Named { arn, number: None });
    };
    let mut parts = rest.split(':');
    let mut next = || parts.next();
    let (_partition, _lambda, region, account) = (next(), next(), next()?, next()?);
    let (_layer, name) = (next(), next()?);
    let number = match next() {
        Some(number) => Some(number.parse().ok()?),
        None => None,
    };
    Some(Named { arn: layer_arn(AccountId::parse(account)?, region, name), number })
}

pub(crate) fn layer_arn(account: AccountId, region: &str, name: &str) -> LayerArn {
    LayerArn { account, region: region.into(), name: name.into() }
}

/// The layer that the path names.
fn named(call: &Call) -> Result<LayerArn, Error> {
    let named = parse(&call.caller, call.label("LayerName")).ok_or_else(absent)?;
    Ok(named.arn)
}

/// As [`named`], where only the layer's own account may do what is asked.
fn own(call: &Call) -> Result<LayerArn, Error> {
    let arn = named(call)?;
    let operation = &call.route.operation.name;
    if arn.account != call.caller.account {
        return Err(denied(&call.caller, operation, &arn.to_string()));
    }
    Ok(arn)
}

fn number(call: &Call) -> Result<u64, Error> {
    let number = call.label("VersionNumber").parse().unwrap_or(0_i64);
    u64::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Error::invalid("Layer Version Cannot be less than 1"))
}

fn absent() -> Error {
    not_found("The resource you requested does not exist.")
}

fn version_absent(arn: &str) -> Error {
    not_found(format!("Layer version {arn} does not exist."))
}

fn denied(caller: &Caller, operation: &str, resource: &str) -> Error {
    Error::new(
        "AccessDeniedException",
        format!(
            "User: arn:aws:iam::{}:root is not authorized to perform: lambda:{operation} on resource: {resource} because no resource-based policy allows the lambda:{operation} action",
            caller.account
        ),
    )
}

/// `LayerVersionsListItem`.
fn item(arn: &LayerArn, number: u64, layer: &LayerRecord) -> Value {
    let mut shown = json!({
        "LayerVersionArn": arn.version(number),
        "Version": number,
        "Description": layer.description,
        "CreatedDate": layer.created,
    });
    if let Some(architectures) = &layer.architectures {
        shown["CompatibleArchitectures"] = json!(architectures);
    }
    if let Some(runtimes) = &layer.runtimes {
        shown["CompatibleRuntimes"] = json!(runtimes);
    }
    if let Some(license) = &layer.license {
        shown["LicenseInfo"] = json!(license);
    }
    shown
}

impl Service {
    /// What `PublishLayerVersion` and `GetLayerVersion` answer.
    fn whole(&self, call: &Call, arn: &LayerArn, number: u64, layer: &LayerRecord) -> Value {
        let mut shown = item(arn, number, layer);
        shown["LayerArn"] = json!(arn.to_string());
        shown["Content"] = json!({
            "CodeSha256": code::base64_of_hex(&layer.sha256),
            "CodeSize": layer.code_size,
            "Location": self.code_key.location(call.host(), &layer.sha256),
        });
        shown
    }

    /// The version, if the caller may see it.
    fn visible(
        &self,
        caller: &Caller,
        arn: &LayerArn,
        number: u64,
    ) -> Result<Option<Arc<LayerRecord>>, Error> {
        let layer = self.store.layer(arn);
        let found = layer.and_then(|layer| layer.versions.get(&number).cloned());
        let action = "lambda:GetLayerVersion";
        let allowed = arn.account == caller.account
            || found.as_ref().is_some_and(|layer| {
                allows_account(&layer.policy, action, caller.account.as_str())
            });
        if !allowed {
            return Err(denied(caller, "GetLayerVersion", &arn.version(number)));
        }
        Ok(found)
    }

    /// The layers that a request gives a function; `None` if it gives none (§2.4).
    pub(crate) fn layers_of(
        &self,
        caller: &Caller,
        given: &Value,
    ) -> Result<Option<Vec<LayerUse>>, Error> {
        let Some(given) = given.as_array() else { return Ok(None) };
        if given.len() > LAYERS_MAX {
            return Err(Error::invalid("Cannot reference more than 5 layers."));
        }
        let mut used: Vec<(LayerArn, LayerUse)> = Vec::new();
        for text in given.iter().filter_map(Value::as_str) {
            let does_not_exist = || Error::invalid(format!("Layer version {text} does not exist."));
            let Some(Named { arn, number: Some(number) }) = parse(caller, text) else {
                return Err(does_not_exist());
            };
            if arn.region != caller.region {
                return Err(Error::invalid(format!(
                    "Layers are not in the same region as the function. Layers are expected to be in region {}.",
                    caller.region
                )));
            }
            if let Some((_, other)) = used.iter().find(|(layer, _)| *layer == arn) {
                return Err(Error::invalid(format!(
                    "Two different versions of the same layer are not allowed to be referenced in the same function. {} and {text} are versions of the same layer.",
                    other.arn
                )));
            }
            let layer = self.visible(caller, &arn, number)?.ok_or_else(does_not_exist)?;
            let layer = LayerUse {
                arn: text.to_owned(),
                sha256: layer.sha256.clone(),
                code_size: layer.code_size,
                unzipped_size: layer.unzipped_size,
            };
            used.push((arn, layer));
        }
        Ok(Some(used.into_iter().map(|(_, layer)| layer).collect()))
    }

    /// Makes the tree that environments see at `/opt`, for code of this size. Blocks for the disk.
    pub(crate) fn lay(&self, layers: &[LayerUse], code_bytes: u64) -> Result<(), Error> {
        check_unzipped(layers, code_bytes)?;
        self.packages.merge(&hashes(layers)).map_err(package_error)
    }
}

/// Refuses code and layers that are too large together.
pub(crate) fn check_unzipped(layers: &[LayerUse], code_bytes: u64) -> Result<(), Error> {
    let bytes: u64 = layers.iter().map(|layer| layer.unzipped_size).sum();
    if bytes + code_bytes > UNZIPPED_BYTES_MAX {
        return Err(package_error(PackageError::UnzippedTooLarge));
    }
    Ok(())
}

/// The packages of layers, in order.
pub(crate) fn hashes(layers: &[LayerUse]) -> Vec<[u8; 32]> {
    layers.iter().map(|layer| code::parse_hex(&layer.sha256).unwrap_or_default()).collect()
}
