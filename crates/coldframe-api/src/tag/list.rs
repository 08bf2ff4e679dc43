//! `ListTags` (service-api.md §2.13).

use hyper::StatusCode;
use serde_json::json;

use super::tagged;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_tags(&self, call: &Call) -> Result<Reply, Error> {
        let arn = tagged(call)?;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        Ok(crate::json(StatusCode::OK, &json!({ "Tags": function.settings.tags })))
    }
}
