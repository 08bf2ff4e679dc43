//! Code signing (service-api.md §2.14), as far as tools ask of functions that have none: there are no
//! configurations yet.

use hyper::StatusCode;
use serde_json::json;

use crate::function::named;
use crate::{Call, Error, Reply, Service, empty};

/// The refusal of a configuration, all of which are absent.
pub(crate) fn absent(arn: &str) -> Error {
    Error::new(
        "CodeSigningConfigNotFoundException",
        format!(
            "The code signing configuration cannot be found. Check that the provided configuration is not deleted: {arn}."
        ),
    )
}

impl Service {
    fn check_there(&self, call: &Call) -> Result<(), Error> {
        let arn = named(call)?.arn;
        self.store.get(&arn).map(drop).ok_or_else(|| Error::not_found(&arn.to_string()))
    }

    pub(crate) fn get_function_code_signing_config(&self, call: &Call) -> Result<Reply, Error> {
        self.check_there(call)?;
        Ok(crate::json(StatusCode::OK, &json!({})))
    }

    pub(crate) fn put_function_code_signing_config(&self, call: &Call) -> Result<Reply, Error> {
        self.check_there(call)?;
        Err(absent(call.json["CodeSigningConfigArn"].as_str().unwrap_or_default()))
    }

    pub(crate) fn delete_function_code_signing_config(&self, call: &Call) -> Result<Reply, Error> {
        self.check_there(call)?;
        Ok(empty(StatusCode::NO_CONTENT))
    }
}
