//! `ListFunctionUrlConfigs` (service-api.md §6.1): that of `$LATEST` first.

use std::ops::Bound;

use hyper::StatusCode;

use super::{Shown, no_function};
use crate::function::named;
use crate::page::Page;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) fn list_function_url_configs(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let page = Page::of(call)?;
        let function = self.store.function(&arn).ok_or_else(no_function)?;
        // The empty key is no first page's marker: its own has a name in front.
        let begin = match page.after.strip_prefix('/') {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let urls = function.settings.urls.range::<str, _>((begin, Bound::Unbounded));
        let items =
            urls.map(|(key, url)| (format!("/{key}"), self.shown_url(&arn, key, url, Shown::Got)));
        Ok(json(StatusCode::OK, &page.answer("FunctionUrlConfigs", items)))
    }
}
