//! `PutProvisionedConcurrencyConfig` (service-api.md §5).

use std::sync::Arc;

use coldframe_store::{Function, Provisioned};
use hyper::StatusCode;
use serde_json::json;

use super::{absent, asked};
use crate::concurrency::{UNRESERVED_MIN, provisioned};
use crate::function::{Named, Which, last_modified, named};
use crate::{Call, Error, Reply, Service, blocking};

impl Service {
    pub(crate) async fn put_provisioned_concurrency_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        if named.which() == Which::Latest {
            return Err(Error::invalid(
                "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
            ));
        }
        let given = &call.json["ProvisionedConcurrentExecutions"];
        let wanted = given.as_u64().and_then(|number| u32::try_from(number).ok());
        let wanted = wanted.unwrap_or(u32::MAX);
        let put = blocking(move || {
            self.change(&named.arn, |function| {
                let function = function.as_mut().ok_or_else(|| absent(&named))?;
                let before = asked(function, &named)?.clone();
                check_other(function, &named)?;
                let others = provisioned(function) - before.map_or(0, |before| before.requested);
                let unreserved = self.unreserved(&call.caller, Some(&named.arn));
                let reserved = function.settings.reserved_concurrency;
                check_room(wanted.saturating_add(others), reserved, unreserved, others)?;
                let last_modified = last_modified();
                let config = Provisioned { requested: wanted, last_modified };
                *asked(function, &named)? = Some(config.clone());
                Ok(config)
            })
        });
        let config = put.await?;
        // Nothing of it is there at the time of the answer.
        let body = json!({
            "RequestedProvisionedConcurrentExecutions": config.requested,
            "AvailableProvisionedConcurrentExecutions": 0,
            "AllocatedProvisionedConcurrentExecutions": 0,
            "Status": "IN_PROGRESS",
            "LastModified": config.last_modified,
        });
        Ok(crate::json(StatusCode::ACCEPTED, &body))
    }
}

/// A version is provisioned by itself or by an alias, not by both.
fn check_other(function: &Function, named: &Named) -> Result<(), Error> {
    let conflict = |text: &str| Err(Error::new("ResourceConflictException", text));
    match named.which() {
        Which::Alias(alias) => {
            let version = function.aliases.get(alias).map(|alias| alias.version.as_str());
            let version = Which::of(version).record(function);
            if version.is_some_and(|version| version.provisioned.is_some()) {
                return conflict(
                    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
                );
            }
        }
        Which::Version(number) => {
            let number = number.to_string();
            let mut aliases = function.aliases.values();
            if aliases.any(|alias| alias.version == number && alias.provisioned.is_some()) {
                return conflict("Version is pointed by a Provisioned Concurrency alias");
            }
        }
        Which::Latest => {}
    }
    Ok(())
}

/// Whether the function's reservation, or else the account's common pool, has so much.
fn check_room(
    total: u32,
    reserved: Option<u32>,
    unreserved: u32,
    others: u32,
) -> Result<(), Error> {
    let text = match reserved {
        Some(reserved) if total > reserved => {
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function".to_owned()
        }
        Some(_) => return Ok(()),
        None if total > unreserved => format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{}].",
            unreserved.saturating_sub(others)
        ),
        None if unreserved - total < UNRESERVED_MIN => format!(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
        ),
        None => return Ok(()),
    };
    Err(Error::invalid(text))
}
