//! `UpdateFunctionEventInvokeConfig` (service-api.md §4.2).

use std::sync::Arc;

use coldframe_store::EventInvokeRecord;

use super::{given, no_config};
use crate::function::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) async fn update_event_invoke(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let given = given(&call)?;
        let again = named.clone();
        let add = move |current: Option<&EventInvokeRecord>| {
            current.cloned().ok_or_else(|| no_config(&again))
        };
        self.change_event_invoke(named, given, add).await
    }
}
