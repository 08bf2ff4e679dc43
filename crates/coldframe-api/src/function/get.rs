//! `GetFunction` and `GetFunctionConfiguration` (service-api.md §2.5).

use hyper::StatusCode;
use serde_json::json;

use super::{configuration, named};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_function(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let record = self.find(&named)?;
        let host = call.header("host").unwrap_or("localhost");
        let mut body = json!({
            "Configuration": configuration(&named.shown(), &record, false),
            "Code": {
                "RepositoryType": "S3",
                "Location": self.code_key.location(host, &record.code_sha256),
            },
        });
        if !record.tags.is_empty() {
            body["Tags"] = json!(record.tags);
        }
        Ok(crate::json(StatusCode::OK, &body))
    }

    pub(crate) fn get_function_configuration(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let record = self.find(&named)?;
        Ok(crate::json(StatusCode::OK, &configuration(&named.shown(), &record, false)))
    }
}
