//! `ListVersionsByFunction` (service-api.md §2.9).

use hyper::StatusCode;

use super::versions_after;
use crate::function::{configuration, named};
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_versions_by_function(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let page = Page::of(call)?;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let items = versions_after(&function, &page.after).map(|(version, record)| {
            let shown = configuration(&arn.qualified(&version), &version, record, true);
            (version, shown)
        });
        Ok(crate::json(StatusCode::OK, &page.answer("Versions", items)))
    }
}
