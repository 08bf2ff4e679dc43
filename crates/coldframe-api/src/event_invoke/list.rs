//! `ListFunctionEventInvokeConfigs` (service-api.md §4.2).

use std::ops::Bound;

use hyper::StatusCode;

use super::{no_function, shown};
use crate::function::named;
use crate::page::Page;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_event_invokes(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let page = Page::of(call)?;
        let function = self.store.function(&named.arn).ok_or_else(no_function)?;
        let behind = (Bound::Excluded(page.after.as_str()), Bound::Unbounded);
        let configs = function.settings.event_invoke.range::<str, _>(behind);
        let items = configs
            .map(|(qualifier, record)| (qualifier.clone(), shown(&named.arn, qualifier, record)));
        Ok(crate::json(StatusCode::OK, &page.answer("FunctionEventInvokeConfigs", items)))
    }
}
