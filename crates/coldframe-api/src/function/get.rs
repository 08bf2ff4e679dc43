//! `GetFunction` and `GetFunctionConfiguration` (service-api.md §2.5).

use hyper::StatusCode;
use serde_json::json;

use super::{Found, configuration, named};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_function(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let Found { function, record, version } = self.find(&named)?;
        let record = self.as_it_serves(&named.arn, &version, record);
        let mut body = json!({
            "Configuration": configuration(&named.shown(), &version, &record, false),
            "Code": {
                "RepositoryType": "S3",
                "Location": self.code_key.location(call.host(), &record.code_sha256),
            },
        });
        if !function.settings.tags.is_empty() {
            body["Tags"] = json!(function.settings.tags);
        }
        if let Some(reserved) = function.settings.reserved_concurrency {
            body["Concurrency"] = json!({ "ReservedConcurrentExecutions": reserved });
        }
        Ok(crate::json(StatusCode::OK, &body))
    }

    pub(crate) fn get_function_configuration(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let Found { record, version, .. } = self.find(&named)?;
        let record = self.as_it_serves(&named.arn, &version, record);
        Ok(crate::json(StatusCode::OK, &configuration(&named.shown(), &version, &record, false)))
    }
}
