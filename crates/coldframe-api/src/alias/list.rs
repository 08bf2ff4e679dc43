//! `ListAliases` (service-api.md §2.10).

use std::ops::Bound;

use hyper::StatusCode;

use super::configuration;
use crate::function::named;
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_aliases(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let page = Page::of(call)?;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let version = call.query("FunctionVersion");
        let behind = (Bound::Excluded(page.after.as_str()), Bound::Unbounded);
        let items = function
            .aliases
            .range::<str, _>(behind)
            .filter(|(_, alias)| {
                version.is_none_or(|version| {
                    alias.version == version || alias.weights.contains_key(version)
                })
            })
            .map(|(name, alias)| (name.clone(), configuration(&arn, name, alias)));
        Ok(crate::json(StatusCode::OK, &page.answer("Aliases", items)))
    }
}
