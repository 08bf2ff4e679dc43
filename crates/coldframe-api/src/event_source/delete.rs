//! `DeleteEventSourceMapping` (service-api.md §7.1).

use std::sync::Arc;

use coldframe_store::Transition;
use hyper::StatusCode;

use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) async fn delete_event_source_mapping(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let deleted = self.change_mapping(&call, "delete", |record| {
            record.transition = Some(Transition::Deleting);
            Ok(())
        });
        Ok(crate::json(StatusCode::ACCEPTED, &deleted.await?))
    }
}
