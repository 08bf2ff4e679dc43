//! Concurrency (service-api.md §5): what a function reserves of its account's.

mod delete;
mod get;
mod put;

use coldframe_core::FunctionArn;
use coldframe_store::Function;

use crate::function::{Named, named};
use crate::{Call, Caller, Error, Service};

/// What must stay for functions without a reservation. AWS: "Invocation scaling", 100.
pub(crate) const UNRESERVED_MIN: u32 = 100;

/// The function, which must be named without a version.
fn unqualified(call: &Call) -> Result<FunctionArn, Error> {
    let Named { arn, qualifier } = named(call)?;
    match qualifier {
        None => Ok(arn),
        Some(_) => Err(Error::invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.",
        )),
    }
}

/// What is provisioned of all versions and aliases together.
pub(crate) fn provisioned(function: &Function) -> u32 {
    let versions = function.versions.values().map(|version| &version.provisioned);
    let aliases = function.aliases.values().map(|alias| &alias.provisioned);
    versions.chain(aliases).flatten().map(|provisioned| provisioned.requested).sum()
}

/// What a function takes out of the account's common pool.
fn set_aside(function: &Function) -> u32 {
    function.settings.reserved_concurrency.unwrap_or_else(|| provisioned(function))
}

impl Service {
    /// What functions without a reservation have together, without `but` taking its part.
    pub(crate) fn unreserved(&self, caller: &Caller, but: Option<&FunctionArn>) -> u32 {
        let functions = self.store.list(&caller.arn(""), usize::MAX);
        let others = functions.iter().filter(|(arn, _)| Some(arn) != but);
        let taken: u32 = others.map(|(_, function)| set_aside(function)).sum();
        self.invoker.concurrency_limit().saturating_sub(taken)
    }
}
