//! `PutFunctionEventInvokeConfig` (service-api.md §4.2).

use std::sync::Arc;

use coldframe_store::EventInvokeRecord;

use super::given;
use crate::function::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) async fn put_event_invoke(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let given = given(&call)?;
        let replace = |_: Option<&EventInvokeRecord>| Ok(EventInvokeRecord::default());
        self.change_event_invoke(named, given, replace).await
    }
}
