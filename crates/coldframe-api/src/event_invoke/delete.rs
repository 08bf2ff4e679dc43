//! `DeleteFunctionEventInvokeConfig` (service-api.md §4.2).

use std::sync::Arc;

use hyper::StatusCode;

use super::{no_config, qualifier};
use crate::function::named;
use crate::{Call, Error, Reply, Service, empty};

impl Service {
    pub(crate) async fn delete_event_invoke(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let (arn, qualifier) = (named.arn.clone(), qualifier(&named).to_owned());
        let absent = move || no_config(&named);
        let none = absent.clone();
        let delete = move |function: &mut coldframe_store::Function| {
            if !function.settings.event_invoke.contains_key(&qualifier) {
                return Err(none());
            }
            function.forget_event_invoke(&qualifier);
            Ok(())
        };
        self.change_there(&arn, delete, absent).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
