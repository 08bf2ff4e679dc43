//! `GetFunctionEventInvokeConfig` (service-api.md §4.2).

use hyper::StatusCode;

use super::{no_config, qualifier, shown};
use crate::function::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_event_invoke(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let function = self.store.function(&named.arn).ok_or_else(|| no_config(&named))?;
        let record = function.settings.event_invoke.get(qualifier(&named));
        let record = record.ok_or_else(|| no_config(&named))?;
        Ok(crate::json(StatusCode::OK, &shown(&named.arn, qualifier(&named), record)))
    }
}
