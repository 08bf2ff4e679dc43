//! Permissions (service-api.md §2.12): the policy of a function, of a version, of an alias.

mod add;
mod get;
mod remove;

use std::sync::Arc;

use coldframe_store::Function;

use crate::Error;
use crate::function::{Named, Which};
use crate::policy::Subject;

/// The policy of what is named.
pub(crate) fn subject<'a>(function: &'a mut Function, named: &Named) -> Result<Subject<'a>, Error> {
    let absent = || Error::not_found(&named.shown());
    let record = match named.which() {
        Which::Latest => &mut function.latest,
        Which::Version(number) => function.versions.get_mut(&number).ok_or_else(absent)?,
        Which::Alias(alias) => {
            let found = function.aliases.get_mut(alias);
            let alias = Arc::make_mut(found.ok_or_else(|| Error::no_alias(&named.shown()))?);
            return Ok(Subject {
                statements: &mut alias.policy,
                head: &mut alias.policy_head,
                revision_id: &mut alias.revision_id,
            });
        }
    };
    let record = Arc::make_mut(record);
    Ok(Subject {
        statements: &mut record.policy,
        head: &mut record.policy_head,
        revision_id: &mut record.revision_id,
    })
}
