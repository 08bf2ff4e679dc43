//! `DeleteFunctionConcurrency` (service-api.md §5).

use std::sync::Arc;

use hyper::StatusCode;

use super::unqualified;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn delete_function_concurrency(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let arn = unqualified(&call)?;
        let absent = arn.to_string();
        let deleted = self.change_there(
            &arn,
            |function| {
                Arc::make_mut(&mut function.settings).reserved_concurrency = None;
                Ok(())
            },
            move || Error::not_found(&absent),
        );
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
