//! `ListFunctions` (service-api.md §2.7).

use hyper::StatusCode;
use serde_json::Value;

use super::configuration;
use crate::page::Page;
use crate::version::versions_after;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_functions(&self, call: &Call) -> Result<Reply, Error> {
        let page = Page::of(call)?;
        let body = if call.query("FunctionVersion") == Some("ALL") {
            self.every_version(call, &page)
        } else {
            let found = self.store.list(&call.caller.arn(&page.after), page.count + 1);
            let items = found.iter().map(|(arn, function)| {
                let shown = configuration(&arn.to_string(), "$LATEST", &function.latest, true);
                (arn.name.to_string(), shown)
            });
            page.answer("Functions", items)
        };
        Ok(crate::json(StatusCode::OK, &body))
    }

    /// `$LATEST` and every version of every function; a key is `NAME:VERSION`.
    fn every_version(&self, call: &Call, page: &Page) -> Value {
        let (name, version) = page.after.split_once(':').unwrap_or_default();
        // Each function has one version at least, so this many fill a page.
        let found = self.store.list_from(&call.caller.arn(name), page.count + 2);
        let items = found.iter().flat_map(|(arn, function)| {
            let after = if *arn.name == *name { version } else { "" };
            versions_after(function, after).map(move |(version, record)| {
                let shown = configuration(&arn.qualified(&version), &version, record, true);
                (format!("{}:{version}", arn.name), shown)
            })
        });
        page.answer("Functions", items)
    }
}
