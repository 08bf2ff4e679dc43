//! How destinations are told: one file a service.

mod eventbridge;
mod s3;
mod sns;
mod sqs;

use coldframe_core::Destination;
use coldframe_core::asynchronous::NoSuchDestination;
use coldframe_store::FunctionKey;
use coldframe_store::queue::{DeadLetter, Event, Millis, Work};

use crate::Options;
use crate::client::Error;

/// A record, or a dead letter, on its way.
pub(crate) struct Delivery<'a> {
    pub(crate) event: &'a Event,
    /// When the invocation ended.
    pub(crate) at: Millis,
}

/// What services need of it.
struct Letter<'a> {
    arn: &'a str,
    function: &'a FunctionKey,
    function_arn: &'a str,
    success: bool,
    dead_letter: Option<&'a DeadLetter>,
    body: &'a str,
    trace_header: Option<&'a str>,
    request_id: String,
    at: Millis,
}

impl Letter<'_> {
    /// The attributes of a dead letter: name, type, value (service-api.md §4.4).
    fn attributes(&self) -> Vec<(&'static str, &'static str, String)> {
        let Some(letter) = self.dead_letter else { return Vec::new() };
        vec![
            ("RequestID", "String", self.request_id.clone()),
            ("ErrorCode", "Number", letter.error_code.to_string()),
            // An attribute can't be empty.
            ("ErrorMessage", "String", letter.error_message.clone()),
        ]
        .into_iter()
        .filter(|(_, _, value)| !value.is_empty())
        .collect()
    }
}

/// Hands it over.
pub(crate) async fn deliver(options: &Options, delivery: &Delivery<'_>) -> Result<(), Error> {
    let event = delivery.event;
    let Work::Deliver { destination, function, function_arn, success, dead_letter } = &event.work
    else {
        return Ok(());
    };
    let letter = Letter {
        arn: destination,
        function,
        function_arn,
        success: *success,
        dead_letter: dead_letter.as_ref(),
        body: std::str::from_utf8(&event.payload).map_err(|_| Error::Answer)?,
        trace_header: event.trace_header.as_deref(),
        request_id: event.request_id.to_string(),
        at: delivery.at,
    };
    match Destination::parse(destination) {
        Some(Destination::Queue { region, account, name }) => {
            sqs::send(options, &letter, &region, &account, &name).await
        }
        Some(Destination::Topic { region }) => sns::publish(options, &letter, &region).await,
        Some(Destination::Bus { region, name }) => {
            eventbridge::put(options, &letter, &region, &name).await
        }
        Some(Destination::Bucket { name }) => s3::put(options, &letter, &name).await,
        Some(Destination::Function { .. }) | None => Err(Error::NoDestination(destination.clone())),
    }
}

/// Whether it is there, as far as that can be found out.
pub(crate) async fn check(
    options: &Options,
    destination: &Destination,
) -> Result<(), NoSuchDestination> {
    match destination {
        Destination::Queue { region, account, name } => {
            sqs::check(options, region, account, name).await
        }
        // Their deliveries tell.
        _ => Ok(()),
    }
}
