//! `GetFunctionRecursionConfig` and `PutFunctionRecursionConfig` (service-api.md §2.14).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;

use crate::function::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_function_recursion_config(&self, call: &Call) -> Result<Reply, Error> {
        let arn = named(call)?.arn;
        let function =
            self.store.function(&arn).ok_or_else(|| Error::not_found(&arn.to_string()))?;
        let set = function.settings.recursive_loop.as_deref().unwrap_or("Terminate");
        Ok(crate::json(StatusCode::OK, &json!({ "RecursiveLoop": set })))
    }

    pub(crate) async fn put_function_recursion_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let wanted = call.json["RecursiveLoop"].as_str().unwrap_or_default().to_owned();
        let (absent, body) = (arn.to_string(), json!({ "RecursiveLoop": wanted }));
        let put = self.change_there(
            &arn,
            move |function| {
                Arc::make_mut(&mut function.settings).recursive_loop = Some(wanted);
                Ok(())
            },
            move || Error::not_found(&absent),
        );
        put.await?;
        Ok(crate::json(StatusCode::OK, &body))
    }
}
