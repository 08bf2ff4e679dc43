//! `GetEventSourceMapping` (service-api.md §7.1).

use hyper::StatusCode;

use super::{absent, id_of, shown};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_event_source_mapping(&self, call: &Call) -> Result<Reply, Error> {
        let id = id_of(call)?;
        let record = self.mapping(&call.caller, id).ok_or_else(absent)?;
        Ok(crate::json(StatusCode::OK, &shown(id, &record)))
    }
}
