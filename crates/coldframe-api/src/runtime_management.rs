//! `GetRuntimeManagementConfig` and `PutRuntimeManagementConfig` (service-api.md §2.14): kept and
//! told. The host's interpreters are updated by whoever keeps the host.

use std::sync::Arc;

use coldframe_store::{FunctionRecord, RuntimeUpdate};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::function::{Found, Which, named};
use crate::{Call, Error, Reply, Service};

/// What the operations answer.
fn shown(arn: &str, record: &FunctionRecord) -> Value {
    let mut shown = json!({ "UpdateRuntimeOn": "Auto", "FunctionArn": arn });
    if let Some(RuntimeUpdate { on, version_arn }) = &record.runtime_update {
        shown["UpdateRuntimeOn"] = json!(on);
        if let Some(version_arn) = version_arn {
            shown["RuntimeVersionArn"] = json!(version_arn);
        }
    }
    shown
}

impl Service {
    pub(crate) fn get_runtime_management_config(&self, call: &Call) -> Result<Reply, Error> {
        let named = named(call)?;
        let Found { record, .. } = self.find(&named)?;
        Ok(crate::json(StatusCode::OK, &shown(&named.shown(), &record)))
    }

    pub(crate) async fn put_runtime_management_config(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        let named = named(&call)?;
        let arn = named.arn.clone();
        let text = |key: &str| call.json[key].as_str().map(str::to_owned);
        let on = text("UpdateRuntimeOn").unwrap_or_default();
        let version_arn = text("RuntimeVersionArn");
        if (on == "Manual") != version_arn.is_some() {
            return Err(Error::invalid(
                "RuntimeVersionArn is given with UpdateRuntimeOn Manual, and only with it.",
            ));
        }
        let absent = named.shown();
        let put = self.change_there(
            &arn,
            move |function| {
                let absent = || Error::not_found(&named.shown());
                let record = match named.which() {
                    Which::Latest => &mut function.latest,
                    Which::Version(number) => {
                        function.versions.get_mut(&number).ok_or_else(absent)?
                    }
                    Which::Alias(_) => return Err(absent()),
                };
                let record = Arc::make_mut(record);
                record.runtime_update = Some(RuntimeUpdate { on, version_arn });
                Ok(shown(&named.shown(), record))
            },
            move || Error::not_found(&absent),
        );
        Ok(crate::json(StatusCode::OK, &put.await?))
    }
}
