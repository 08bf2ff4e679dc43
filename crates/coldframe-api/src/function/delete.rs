//! `DeleteFunction` (service-api.md §2.7).

use std::sync::Arc;

use coldframe_store::Function;
use hyper::StatusCode;

use super::{Which, named};
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    pub(crate) async fn delete_function(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let service = self.clone();
        let deleted = blocking(move || {
            service.change(&named.arn, |function| {
                let there = function.as_mut();
                let there = there.ok_or_else(|| Error::not_found(&named.arn.to_string()))?;
                match named.which() {
                    Which::Latest if named.qualifier.is_none() => *function = None,
                    Which::Latest => {
                        return Err(Error::invalid(
                            "$LATEST version cannot be deleted without deleting the function.",
                        ));
                    }
                    Which::Version(number) => delete_version(there, number)?,
                    Which::Alias(_) => {
                        return Err(Error::invalid(
                            "Deletion of aliases is not currently supported.",
                        ));
                    }
                }
                Ok(())
            })
        });
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}

/// A version that isn't there is as good as deleted.
fn delete_version(function: &mut Function, number: u64) -> Result<(), Error> {
    let version = number.to_string();
    let aliases: Vec<&str> = function
        .aliases
        .iter()
        .filter(|(_, alias)| alias.version == version || alias.weights.contains_key(&version))
        .map(|(name, _)| name.as_str())
        .collect();
    if !aliases.is_empty() {
        return Err(Error::new(
            "ResourceConflictException",
            format!(
                "Unable to delete version because the following aliases reference it: [{}]",
                aliases.join(", ")
            ),
        ));
    }
    function.versions.remove(&number);
    function.forget_event_invoke(&version);
    Ok(())
}
