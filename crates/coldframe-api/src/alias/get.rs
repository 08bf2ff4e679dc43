//! `GetAlias` (service-api.md §2.10).

use hyper::StatusCode;

use super::configuration;
use crate::function::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_alias(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let name = call.label("Name");
        let function = self.store.function(&arn);
        let alias = function.as_ref().and_then(|function| function.aliases.get(name));
        let alias = alias.ok_or_else(|| Error::no_alias(&arn.qualified(name)))?;
        Ok(crate::json(StatusCode::OK, &configuration(&arn, name, alias)))
    }
}
