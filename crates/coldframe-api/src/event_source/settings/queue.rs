//! What a mapping of an SQS queue may be told (service-api.md §7.1, §7.2).

use coldframe_core::source::QueueArn;
use serde_json::{Value, json};

use super::{Settings, number};
use crate::Error;

/// Messages of one invocation, unless told.
pub(in crate::event_source) const BATCH_SIZE: usize = 10;

/// Messages of one invocation that need no window.
const BATCH_SIZE_AT_ONCE: u64 = 10;

/// Members that only queues have. Provisioned pollers are without effect.
pub(super) const MEMBERS: [&str; 2] = ["ScalingConfig", "ProvisionedPollerConfig"];

pub(super) fn defaults() -> Vec<(&'static str, Value)> {
    vec![("BatchSize", json!(BATCH_SIZE))]
}

pub(super) fn check(settings: &Settings, queue: &QueueArn) -> Result<(), Error> {
    let batch_size = number(settings, "BatchSize");
    let window = number(settings, "MaximumBatchingWindowInSeconds");
    if queue.is_fifo() {
        // Both texts are remembered, not recorded.
        if window > 0 {
            return Err(Error::invalid("Batching window is not supported for FIFO queues."));
        }
        if batch_size > BATCH_SIZE_AT_ONCE {
            return Err(Error::invalid(
                "Batch size for FIFO queues must be less than or equal to 10.",
            ));
        }
    }
    if batch_size > BATCH_SIZE_AT_ONCE && window == 0 {
        return Err(Error::invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ));
    }
    if settings.contains_key("ScalingConfig") && settings.contains_key("ProvisionedPollerConfig") {
        return Err(Error::invalid(
            "ScalingConfig and ProvisionedPollerConfig can not be used together.",
        ));
    }
    Ok(())
}
