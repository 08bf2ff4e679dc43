//! `GetLayerVersion` and `GetLayerVersionByArn` (service-api.md §2.11).

use hyper::StatusCode;

use super::{Named, absent, named, number, parse};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) fn get_layer_version(&self, call: &Call) -> Result<Reply, Error> {
        self.layer_version(call, Named { arn: named(call)?, number: Some(number(call)?) })
    }

    pub(crate) fn get_layer_version_by_arn(&self, call: &Call) -> Result<Reply, Error> {
        let given = call.query("Arn").unwrap_or_default();
        self.layer_version(call, parse(&call.caller, given).ok_or_else(absent)?)
    }

    fn layer_version(&self, call: &Call, named: Named) -> Result<Reply, Error> {
        let number = named.number.ok_or_else(absent)?;
        let layer = self.visible(&call.caller, &named.arn, number)?.ok_or_else(absent)?;
        Ok(crate::json(StatusCode::OK, &self.whole(call, &named.arn, number, &layer)))
    }
}
