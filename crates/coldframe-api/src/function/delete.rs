//! `DeleteFunction` (service-api.md §2.7).

use std::sync::Arc;

use hyper::StatusCode;

use super::named;
use crate::{Call, Error, Reply, Service, blocking, empty};

impl Service {
    pub(crate) async fn delete_function(self: Arc<Self>, call: Call) -> Result<Reply, Error> {
        let named = named(&call)?;
        let absent = || Error::not_found(&named.arn.to_string());
        if self.store.get(&named.arn).is_none() {
            return Err(absent());
        }
        match named.qualifier.as_deref() {
            None => {}
            Some("$LATEST") => {
                return Err(Error::invalid(
                    "$LATEST version cannot be deleted without deleting the function.",
                ));
            }
            // A version that isn't there is as good as deleted.
            Some(version) if version.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Ok(empty(StatusCode::NO_CONTENT));
            }
            Some(_) => {
                return Err(Error::invalid("Deletion of aliases is not currently supported."));
            }
        }
        let (service, arn) = (self.clone(), named.arn.clone());
        let deleted = blocking(move || {
            let _together =
                service.settling.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let deleted = service.store.delete(&arn);
            if deleted.is_ok() {
                service.set_serving(&arn, None);
                service.invoker.retire(&arn, None);
            }
            Ok(deleted)
        });
        match deleted.await? {
            Err(coldframe_store::Error::Absent) => return Err(absent()),
            result => result?,
        }
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
