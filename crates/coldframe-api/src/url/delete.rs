//! `DeleteFunctionUrlConfig` (service-api.md §6.1).

use std::sync::Arc;

use hyper::StatusCode;

use super::{key, no_url};
use crate::function::named;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn delete_function_url_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let key = key(&named).ok_or_else(no_url)?;
        let deleted = self.change_there(
            &named.arn,
            move |function| {
                let settings = Arc::make_mut(&mut function.settings);
                settings.urls.remove(&key).map(drop).ok_or_else(no_url)
            },
            no_url,
        );
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
