//! `ListProvisionedConcurrencyConfigs` (service-api.md §5).

use std::collections::BTreeMap;
use std::ops::Bound;

use hyper::StatusCode;
use serde_json::json;

use crate::function::{Which, named};
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_provisioned_concurrency_configs(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let page = Page::of(call)?;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let versions = function.versions.iter();
        let of_versions = versions
            .filter_map(|(number, found)| Some((number.to_string(), found.provisioned.as_ref()?)));
        let aliases = function.aliases.iter();
        let of_aliases =
            aliases.filter_map(|(name, found)| Some((name.clone(), found.provisioned.as_ref()?)));
        let all: BTreeMap<String, _> = of_versions.chain(of_aliases).collect();
        let behind = (Bound::Excluded(page.after.as_str()), Bound::Unbounded);
        let items = all.range::<str, _>(behind).map(|(qualifier, config)| {
            let mut shown = self.progress(&function, Which::of(Some(qualifier)), config);
            shown["FunctionArn"] = json!(arn.qualified(qualifier));
            (qualifier.clone(), shown)
        });
        let body = page.answer("ProvisionedConcurrencyConfigs", items);
        Ok(crate::json(StatusCode::OK, &body))
    }
}
