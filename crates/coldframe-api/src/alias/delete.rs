//! `DeleteAlias` (service-api.md §2.10).

use std::sync::Arc;

use hyper::StatusCode;

use crate::function::named;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    /// An alias that isn't there is as good as deleted.
    pub(crate) async fn delete_alias(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let arn = named(&call)?.arn;
        let name = call.label("Name").to_owned();
        let absent = arn.to_string();
        let deleted = self.change_there(
            &arn,
            move |function| {
                function.aliases.remove(&name);
                function.forget_event_invoke(&name);
                Ok(())
            },
            move || Error::not_found(&absent),
        );
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
