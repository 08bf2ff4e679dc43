//! Versions (service-api.md §2.9): `$LATEST` as it stood, under a number.

mod list;
mod publish;

use std::sync::Arc;

use coldframe_store::{Function, FunctionRecord};

pub(crate) use self::publish::publish;

/// `$LATEST` and the versions behind `after`, in order; all of them behind an empty `after`.
pub(crate) fn versions_after<'a>(
    function: &'a Function,
    after: &str,
) -> impl Iterator<Item = (String, &'a Arc<FunctionRecord>)> {
    let latest = after.is_empty().then(|| ("$LATEST".to_owned(), &function.latest));
    let first = after.parse().map_or(0, |after: u64| after.saturating_add(1));
    let versions = function.versions.range(first..);
    latest.into_iter().chain(versions.map(|(number, record)| (number.to_string(), record)))
}
