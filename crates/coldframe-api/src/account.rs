//! `GetAccountSettings` (service-api.md §2.14).

use coldframe_core::limits::{CODE_STORAGE_BYTES, UNZIPPED_BYTES_MAX, ZIPPED_BYTES_MAX};
use hyper::StatusCode;
use serde_json::json;

use crate::layer::layer_arn;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_account_settings(&self, call: &Call) -> Result<Reply, Error> {
        let functions = self.store.list(&call.caller.arn(""), usize::MAX);
        // Every version counts with its whole zip, whether it is another's or not.
        let versions = functions.iter().flat_map(|(_, function)| {
            std::iter::once(&function.latest).chain(function.versions.values())
        });
        let of_functions: u64 = versions.map(|version| version.code_size).sum();
        let first = layer_arn(call.caller.account.clone(), &call.caller.region, "");
        let layers = self.store.list_layers(&first);
        let of_layers: u64 = layers
            .iter()
            .flat_map(|(_, layer)| layer.versions.values())
            .map(|version| version.code_size)
            .sum();
        let body = json!({
            "AccountLimit": {
                "TotalCodeSize": CODE_STORAGE_BYTES,
                "CodeSizeUnzipped": UNZIPPED_BYTES_MAX,
                "CodeSizeZipped": ZIPPED_BYTES_MAX,
                "ConcurrentExecutions": self.invoker.concurrency_limit(),
                "UnreservedConcurrentExecutions": self.unreserved(&call.caller, None),
            },
            "AccountUsage": {
                "TotalCodeSize": of_functions + of_layers,
                "FunctionCount": functions.len(),
            },
        });
        Ok(crate::json(StatusCode::OK, &body))
    }
}
