//! `GetProvisionedConcurrencyConfig` (service-api.md §5).

use hyper::StatusCode;

use super::{absent, asked, latest};
use crate::function::{Which, named};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_provisioned_concurrency_config(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        if named.which() == Which::Latest {
            return Err(latest());
        }
        let function = self.store.function(&named.arn).ok_or_else(|| absent(&named))?;
        let config = asked(&mut (*function).clone(), &named)?.clone();
        let config = config.ok_or_else(|| {
            Error::new(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function",
            )
        })?;
        Ok(crate::json(StatusCode::OK, &self.progress(&function, named.which(), &config)))
    }
}
