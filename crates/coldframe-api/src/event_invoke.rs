//! How asynchronous invocations are handled: what the operations on it share (service-api.md §4.2).

mod delete;
mod get;
mod list;
mod put;
mod target;
mod update;

use std::sync::Arc;

use coldframe_core::{Destination, FunctionArn};
use coldframe_store::{EventInvokeRecord, Function};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::function::Named;
use crate::{Call, Error, Reply, Service};

/// What stands for no qualifier.
const LATEST: &str = "$LATEST";

fn qualifier(named: &Named) -> &str {
    named.qualifier.as_deref().unwrap_or(LATEST)
}

/// Whoever has none.
fn no_config(named: &Named) -> Error {
    let arn = named.arn.qualified(qualifier(named));
    Error::new(
        "ResourceNotFoundException",
        format!("The function {arn} doesn't have an EventInvokeConfig"),
    )
}

fn no_function() -> Error {
    Error::new("ResourceNotFoundException", "The function doesn't exist.")
}

/// `FunctionEventInvokeConfig`
fn shown(arn: &FunctionArn, qualifier: &str, record: &EventInvokeRecord) -> Value {
    let side = |arn: &Option<String>| match arn {
        Some(arn) => json!({ "Destination": arn }),
        None => json!({}),
    };
    // Exact to the millisecond.
    let modified = record.last_modified_ms as f64 / 1000.0;
    let mut shown = json!({
        "DestinationConfig": {
            "OnSuccess": side(&record.on_success),
            "OnFailure": side(&record.on_failure),
        },
        "FunctionArn": arn.qualified(qualifier),
        "LastModified": modified,
    });
    if let Some(retries) = record.retries_max {
        shown["MaximumRetryAttempts"] = json!(retries);
    }
    if let Some(age) = record.age_max_s {
        shown["MaximumEventAgeInSeconds"] = json!(age);
    }
    shown
}

/// What a request gives.
struct Given {
    retries_max: Option<u32>,
    age_max_s: Option<u32>,
    /// On success, on failure.
    destinations: Option<(Option<String>, Option<String>)>,
}

/// Of a request that must give something.
fn given(call: &Call) -> Result<Given, Error> {
    let number = |key: &str| call.json[key].as_u64().and_then(|number| number.try_into().ok());
    let config = &call.json["DestinationConfig"];
    let side = |key: &str| {
        let arn = config[key]["Destination"].as_str();
        arn.filter(|arn| !arn.is_empty()).map(str::to_owned)
    };
    let given = Given {
        retries_max: number("MaximumRetryAttempts"),
        age_max_s: number("MaximumEventAgeInSeconds"),
        destinations: config.is_object().then(|| (side("OnSuccess"), side("OnFailure"))),
    };
    if let Given { retries_max: None, age_max_s: None, destinations: None } = given {
        return Err(Error::invalid(
            "You must specify at least one of error handling or destination setting.",
        ));
    }
    Ok(given)
}

impl Service {
    /// Adds what is given to what `begin` makes of the present record, stores and shows it.
    async fn change_event_invoke(
        self: &Arc<Self>,
        named: Named,
        given: Given,
        begin: impl FnOnce(Option<&EventInvokeRecord>) -> Result<EventInvokeRecord, Error>
        + Send
        + 'static,
    ) -> Result<Reply, Error> {
        self.find(&named).map_err(|_| no_function())?;
        if let Some((on_success, on_failure)) = &given.destinations {
            self.check_destinations(&named, on_success.as_deref(), on_failure.as_deref()).await?;
        }
        let arn = named.arn.clone();
        let change = move |function: &mut Function| {
            named.which().record(function).ok_or_else(no_function)?;
            let configs = &mut Arc::make_mut(&mut function.settings).event_invoke;
            let mut record = begin(configs.get(qualifier(&named)))?;
            record.retries_max = given.retries_max.or(record.retries_max);
            record.age_max_s = given.age_max_s.or(record.age_max_s);
            if let Some(destinations) = given.destinations {
                (record.on_success, record.on_failure) = destinations;
            }
            record.last_modified_ms = jiff::Timestamp::now().as_millisecond();
            let shown = shown(&named.arn, qualifier(&named), &record);
            configs.insert(qualifier(&named).to_owned(), record);
            Ok(shown)
        };
        let shown = self.change_there(&arn, change, no_function).await?;
        Ok(crate::json(StatusCode::OK, &shown))
    }

    async fn check_destinations(
        &self,
        named: &Named,
        on_success: Option<&str>,
        on_failure: Option<&str>,
    ) -> Result<(), Error> {
        let unsupported = || {
            let side = |kind: &str, arn: Option<&str>| match arn {
                Some(arn) => format!("{kind}(destination={arn})"),
                None => "null".to_owned(),
            };
            Error::invalid(format!(
                "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid.",
                side("OnSuccess", on_success),
                side("OnFailure", on_failure)
            ))
        };
        for (arn, is_success) in [(on_success, true), (on_failure, false)] {
            let Some(arn) = arn else { continue };
            let absent = || Error::invalid(format!("The destination ARN {arn} is invalid."));
            match Destination::parse(arn).ok_or_else(unsupported)? {
                Destination::Function { function, .. } if function == named.arn => {
                    return Err(Error::invalid(
                        "You can't specify the function as a destination for itself.",
                    ));
                }
                Destination::Function { function, qualifier } => {
                    self.find(&Named { arn: function, qualifier }).map_err(|_| absent())?;
                }
                Destination::Bucket { .. } if is_success => return Err(unsupported()),
                _ => self.events.check_destination(arn).await.map_err(|_| absent())?,
            }
        }
        Ok(())
    }
}
