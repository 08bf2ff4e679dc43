//! `DeleteProvisionedConcurrencyConfig` (service-api.md §5).

use std::sync::Arc;

use hyper::StatusCode;

use super::{absent, asked, latest};
use crate::function::{Which, named};
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    /// What isn't configured is as good as deleted.
    pub(crate) async fn delete_provisioned_concurrency_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        if named.which() == Which::Latest {
            return Err(latest());
        }
        let deleted = blocking(move || {
            self.change(&named.arn, |function| {
                let function = function.as_mut().ok_or_else(|| absent(&named))?;
                *asked(function, &named)? = None;
                Ok(())
            })
        });
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
