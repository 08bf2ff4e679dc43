//! `DeleteLayerVersion` (service-api.md §2.11).

use std::sync::Arc;

use hyper::StatusCode;

use super::{number, own};
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    /// Functions that have the version keep it. One that isn't there is as good as deleted.
    pub(crate) async fn delete_layer_version(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let (arn, number) = (own(&call)?, number(&call)?);
        let deleted = blocking(move || {
            let gone = self
                .store
                .change_layer(&arn, |layer| Ok::<_, Error>(layer.versions.remove(&number)))?;
            if let Some(gone) = gone {
                self.suspect_layer(&gone);
            }
            Ok(())
        });
        deleted.await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
