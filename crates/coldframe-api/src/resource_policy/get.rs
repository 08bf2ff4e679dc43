//! `GetResourcePolicy` (service-api.md §2.12).

use super::named;
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_resource_policy(&self, call: &Call) -> Result<Reply, Error> {
        self.policy_shown(&named(call)?)
    }
}
