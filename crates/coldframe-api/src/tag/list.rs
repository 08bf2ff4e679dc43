//! `ListTags` (service-api.md §2.13).

use hyper::StatusCode;
use serde_json::json;

use super::{Tagged, no_mapping, tagged};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn list_tags(&self, call: &Call) -> Result<Reply, Error> {
        let tags = match tagged(self, call)? {
            Tagged::Function(arn) => {
                let function = self.store.function(&arn);
                let function = function.ok_or_else(|| Error::not_found(&arn.to_string()))?;
                json!(function.settings.tags)
            }
            Tagged::Mapping(id) => {
                let mapping = self.store.mapping(id);
                json!(mapping.ok_or_else(|| no_mapping(call.label("Resource")))?.tags)
            }
        };
        Ok(crate::json(StatusCode::OK, &json!({ "Tags": tags })))
    }
}
