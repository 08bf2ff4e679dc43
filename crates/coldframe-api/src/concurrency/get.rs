//! `GetFunctionConcurrency` (service-api.md §5).

use hyper::StatusCode;
use serde_json::json;

use super::unqualified;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_function_concurrency(&self, call: &Call) -> Result<Reply, Error> {
        let arn = unqualified(call)?;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let body = match function.settings.reserved_concurrency {
            Some(reserved) => json!({ "ReservedConcurrentExecutions": reserved }),
            None => json!({}),
        };
        Ok(crate::json(StatusCode::OK, &body))
    }
}
