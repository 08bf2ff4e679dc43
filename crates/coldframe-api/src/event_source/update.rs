//! `UpdateEventSourceMapping` (service-api.md §7.1).

use std::sync::Arc;

use coldframe_store::{FunctionKey, Transition};
use hyper::StatusCode;

use super::settings::SourceArn;
use super::{absent, id_of, settings};
use crate::{Call, Error, Reply, Service};

impl Service {
    pub(crate) async fn update_event_source_mapping(
        self: Arc<Self>,
        call: Call,
    ) -> Result<Reply, Error> {
        self.mapping(&call.caller, id_of(&call)?).ok_or_else(absent)?;
        let named = match call.json["FunctionName"].as_str() {
            Some(_) => Some(self.function_of(&call)?),
            None => None,
        };
        let (sources, given) = (self.sources.clone(), call.json.clone());
        let updated = self.change_mapping(&call, "update", move |record| {
            let source = SourceArn::parse(&record.source).ok_or_else(absent)?;
            settings::merge(&mut record.settings, &given, &source, &*sources)?;
            if let Some(named) = named {
                record.function = FunctionKey::from(&named.arn);
                record.qualifier = named.qualifier;
            }
            let enabled = given["Enabled"].as_bool().unwrap_or(record.enabled);
            record.transition = Some(match (record.enabled, enabled) {
                (false, true) => Transition::Enabling,
                (true, false) => Transition::Disabling,
                _ => Transition::Updating,
            });
            record.enabled = enabled;
            Ok(())
        });
        Ok(crate::json(StatusCode::ACCEPTED, &updated.await?))
    }
}
