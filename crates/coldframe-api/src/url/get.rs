//! `GetFunctionUrlConfig` (service-api.md §6.1).

use hyper::StatusCode;

use super::{Shown, key, no_url};
use crate::function::named;
use crate::{Call, Error, Reply, Service, json};

impl Service {
    pub(crate) fn get_function_url_config(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let key = key(&named).ok_or_else(no_url)?;
        let function = self.store.function(&named.arn).ok_or_else(no_url)?;
        let url = function.settings.urls.get(&key).ok_or_else(no_url)?;
        Ok(json(StatusCode::OK, &self.shown_url(&named.arn, &key, url, Shown::Got)))
    }
}
