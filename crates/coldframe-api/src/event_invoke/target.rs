//! What an event runs when its turn comes.

use std::time::Duration;

use coldframe_core::FunctionArn;
use coldframe_core::asynchronous::{AsyncTarget, Functions, NoTarget};
use coldframe_core::limits::{ASYNC_AGE, ASYNC_RETRIES};

use super::qualifier;
use crate::function::Named;
use crate::{Service, recursion};

impl Functions for Service {
    fn async_target(
        &self,
        function: &FunctionArn,
        asked: Option<&str>,
    ) -> Result<AsyncTarget, NoTarget> {
        let named = Named { arn: function.clone(), qualifier: asked.map(str::to_owned) };
        let found = self.find(&named).map_err(|_| NoTarget::Gone)?;
        let version = self.to_run(&named).map_err(|_| NoTarget::NotYet)?;
        let settings = &found.function.settings;
        let config = settings.event_invoke.get(qualifier(&named)).cloned().unwrap_or_default();
        let dead_letter = found.record.echoed.get("DeadLetterConfig");
        let dead_letter = dead_letter.and_then(|config| config["TargetArn"].as_str());
        Ok(AsyncTarget {
            version,
            retries_max: config.retries_max.unwrap_or(ASYNC_RETRIES),
            age_max: config
                .age_max_s
                .map_or(ASYNC_AGE, |seconds| Duration::from_secs(seconds.into())),
            on_success: config.on_success,
            on_failure: config.on_failure,
            dead_letter: dead_letter.map(str::to_owned),
            switched_off: settings.reserved_concurrency == Some(0),
            may_loop: recursion::may_loop(settings),
        })
    }
}
