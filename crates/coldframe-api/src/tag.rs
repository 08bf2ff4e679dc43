//! Tags (service-api.md §2.13): of functions, by their unqualified ARN, and of event source mappings.

mod change;
mod list;

use std::collections::BTreeMap;

use coldframe_core::FunctionArn;
use serde_json::Value;
use uuid::Uuid;

use crate::function::resolve;
use crate::policy::not_found;
use crate::{Call, Error, Service};

/// Tags of one resource. AWS: "TagResource", 50.
const TAGS_MAX: usize = 50;

/// What has tags.
enum Tagged {
    Function(FunctionArn),
    Mapping(Uuid),
}

/// What the ARN in the path is of.
fn tagged(service: &Service, call: &Call) -> Result<Tagged, Error> {
    let arn = call.label("Resource");
    let kind = arn.split(':').nth(5).unwrap_or_default();
    match kind {
        "function" => {}
        "event-source-mapping" => {
            let (id, _) =
                service.tagged_mapping(&call.caller, arn).ok_or_else(|| no_mapping(arn))?;
            return Ok(Tagged::Mapping(id));
        }
        "capacity-provider" => {
            return Err(not_found(format!("Capacity provider not found: {arn}")));
        }
        "code-signing-config" => {
            return Err(not_found(format!(
                "The Lambda code signing configuration {arn} can not be found."
            )));
        }
        _ => return Err(not_found("The resource you requested does not exist.")),
    }
    let named = resolve(call, arn)?;
    if named.qualifier.is_some() {
        return Err(Error::invalid(
            "Tags on function aliases and versions are not supported. Please specify a function ARN.",
        ));
    }
    Ok(Tagged::Function(named.arn))
}

fn no_mapping(arn: &str) -> Error {
    not_found(format!("Event source mapping not found: {arn}"))
}

/// The tags of a request added to those that are there.
pub(crate) fn add(tags: &mut BTreeMap<String, String>, given: &Value) -> Result<(), Error> {
    for (key, value) in given.as_object().into_iter().flatten() {
        tags.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid("Number of tags exceeds resource tag limit."));
    }
    Ok(())
}
