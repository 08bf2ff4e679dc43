//! `PutFunctionConcurrency` (service-api.md §5).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;

use super::{UNRESERVED_MIN, provisioned, unqualified};
use crate::{Call, Error, Reply, Service, blocking};

impl Service {
    pub(crate) async fn put_function_concurrency(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let arn = unqualified(&call)?;
        let given = &call.json["ReservedConcurrentExecutions"];
        let wanted = given.as_u64().and_then(|number| u32::try_from(number).ok());
        let wanted = wanted.unwrap_or(u32::MAX);
        let put = blocking(move || {
            self.change(&arn, |function| {
                let function = function.as_mut();
                // AWS tells an absent function with its version here.
                let absent = || Error::not_found(&arn.qualified("$LATEST"));
                let function = function.ok_or_else(absent)?;
                let provisioned = provisioned(function);
                if wanted < provisioned {
                    return Err(Error::invalid(format!(
                        " ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned concurrency [{provisioned}]."
                    )));
                }
                let unreserved = self.unreserved(&call.caller, Some(&arn));
                let now = function.settings.reserved_concurrency.unwrap_or(0);
                // Asking for no more than before takes nothing from others.
                if wanted > now && unreserved < wanted.saturating_add(UNRESERVED_MIN) {
                    return Err(Error::invalid(format!(
                        "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_MIN}]."
                    )));
                }
                Arc::make_mut(&mut function.settings).reserved_concurrency = Some(wanted);
                Ok(())
            })
        });
        put.await?;
        Ok(crate::json(StatusCode::OK, &json!({ "ReservedConcurrentExecutions": wanted })))
    }
}
