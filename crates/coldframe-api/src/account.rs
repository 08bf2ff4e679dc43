//! `GetAccountSettings` (service-api.md §2.14).

use coldframe_core::limits::{UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX};
use hyper::StatusCode;
use serde_json::json;

use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_account_settings(&self, call: &Call) -> Result<Reply, Error> {
        let functions = self.store.list(&call.caller.arn(""), usize::MAX);
        let body = json!({
            "AccountLimit": {
                "TotalCodeSize": self.code_storage,
                "CodeSizeUnzipped": UNZIPPED_BYTES_MAX,
                "CodeSizeZipped": ZIPPED_BYTES_MAX,
                "ConcurrentExecutions": self.invoker.concurrency_limit(),
                "UnreservedConcurrentExecutions": self.unreserved(&call.caller, None),
            },
            "AccountUsage": {
                "TotalCodeSize": self.code_bytes(&call.caller),
                "FunctionCount": functions.len(),
            },
        });
        Ok(crate::json(StatusCode::OK, &body))
    }
}
