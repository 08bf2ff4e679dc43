//! What an extension asks for when it subscribes, and whether it may (execution-environment.md
//! §4.1, §4.4).

use std::time::Duration;

use serde_json::Value;

/// By which API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// `2022-07-01/telemetry`
    Telemetry,
    /// `2020-08-15/logs`
    Logs,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Platform,
    Function,
    Extension,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `put`: by PUT instead of POST, which only the Logs API knows.
    Http {
        host: String,
        port: u16,
        path: String,
        put: bool,
    },
    Tcp {
        port: u16,
    },
}

impl Destination {
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } => *port,
        }
    }
}

/// When a batch is full or old enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) items_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) api: Api,
    pub(crate) schema: String,
    pub(crate) types: Vec<Kind>,
    pub(crate) destination: Destination,
    pub(crate) buffering: Buffering,
}

impl Subscription {
    /// Whether a line that is a JSON object is told as one, if the function logs JSON.
    pub(crate) fn takes_objects(&self) -> bool {
        self.api == Api::Telemetry && self.schema.as_str() >= "2022-12-13"
    }

    /// Reads and checks a request's body.
    ///
    /// # Errors
    /// What is wrong with it, all of it, joined with `; `.
    pub(crate) fn parse(api: Api, body: &[u8]) -> Result<Self, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if !body.is_object() {
            return Err("request body should be a JSON object".to_owned());
        }
        let mut wrong = Vec::new();
        let schema = schema(api, &body["schemaVersion"], &mut wrong);
        let types = types(&body["types"], &mut wrong);
        let destination = destination(api, &body["destination"], &mut wrong);
        let buffering = buffering(&body["buffering"], &mut wrong);
        match destination {
            Some(destination) if wrong.is_empty() => {
                Ok(Self { api, schema, types, destination, buffering })
            }
            _ => Err(wrong.join("; ")),
        }
    }
}

fn schema(api: Api, given: &Value, wrong: &mut Vec<String>) -> String {
    let known: &[&str] = match api {
        Api::Telemetry => &["2022-07-01", "2022-12-13", "2025-01-29"],
        Api::Logs => &["2020-08-15", "2021-03-18"],
    };
    match given {
        Value::String(text) if known.contains(&text.as_str()) => text.clone(),
        Value::Null if api == Api::Logs => "2020-08-15".to_owned(),
        Value::Null => {
            wrong.push("schemaVersion is not provided".to_owned());
            String::new()
        }
        _ => {
            wrong.push(format!("schemaVersion should be one of [{}]", known.join(", ")));
            String::new()
        }
    }
}

fn types(given: &Value, wrong: &mut Vec<String>) -> Vec<Kind> {
    let mut types = Vec::new();
    match given {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let kind = [Kind::Platform, Kind::Function, Kind::Extension]
                    .into_iter()
                    .find(|kind| item.as_str() == Some(kind.as_str()));
                match kind {
                    Some(kind) if types.contains(&kind) => {}
                    Some(kind) => types.push(kind),
                    None => {
                        wrong.push(format!("type {item} is not supported"));
                    }
                }
            }
        }
        Value::Array(_) | Value::Null => wrong.push("types should not be empty".to_owned()),
        _ => wrong.push("types should be a list".to_owned()),
    }
    types
}

fn destination(api: Api, given: &Value, wrong: &mut Vec<String>) -> Option<Destination> {
    if !given.is_object() {
        wrong.push("destination is not provided".to_owned());
        return None;
    }
    match given["protocol"].as_str() {
        Some("HTTP") => {
            let Some(uri) = given["URI"].as_str() else {
                wrong.push("URI is not provided".to_owned());
                return None;
            };
            let put = match (api, given["method"].as_str()) {
                (Api::Logs, Some("PUT")) => true,
                (Api::Logs, Some("POST")) | (_, None) => false,
                (Api::Telemetry, Some(_)) => false,
                (Api::Logs, Some(_)) => {
                    wrong.push("method should be POST or PUT".to_owned());
                    false
                }
            };
            if api == Api::Logs && given["encoding"].as_str().is_some_and(|kind| kind != "JSON") {
                wrong.push("encoding should be JSON".to_owned());
            }
            http_destination(uri, put).map_err(|error| wrong.push(error)).ok()
        }
        Some("TCP") => match &given["port"] {
            Value::Null => {
                wrong.push("port is not provided".to_owned());
                None
            }
            port => match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(port) if port > 0 => Some(Destination::Tcp { port }),
                _ => {
                    wrong.push("port should be between 1 and 65535".to_owned());
                    None
                }
            },
        },
        Some(_) => {
            wrong.push("protocol should be HTTP or TCP".to_owned());
            None
        }
        None => {
            wrong.push("protocol is not provided".to_owned());
            None
        }
    }
}

fn http_destination(uri: &str, put: bool) -> Result<Destination, String> {
    let parsed: hyper::Uri = uri.parse().map_err(|_| "URI is not valid".to_owned())?;
    if parsed.scheme_str() != Some("http") {
        return Err("URI scheme should be http".to_owned());
    }
    let host = parsed.host().unwrap_or_default();
    if !["sandbox.localdomain", "sandbox"].contains(&host) {
        return Err("URI host should be sandbox.localdomain".to_owned());
    }
    let port = parsed.port_u16().filter(|port| *port > 0);
    let port = port.ok_or_else(|| "URI port is not provided".to_owned())?;
    let path = parsed.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Ok(Destination::Http { host: host.to_owned(), port, path, put })
}

fn buffering(given: &Value, wrong: &mut Vec<String>) -> Buffering {
    let mut number = |name: &str, min: u64, max: u64, default: u64| match &given[name] {
        Value::Null => default,
        value => match value.as_u64() {
            Some(number) if (min..=max).contains(&number) => number,
            _ => {
                wrong.push(format!("{name} should be between {min} and {max}"));
                default
            }
        },
    };
    let items_max = number("maxItems", 1000, 10_000, 10_000);
    let bytes_max = number("maxBytes", 262_144, 1_048_576, 262_144);
    let timeout = number("timeoutMs", 25, 30_000, 1000);
    Buffering {
        items_max: items_max as usize,
        bytes_max: bytes_max as usize,
        timeout: Duration::from_millis(timeout),
    }
}

#[cfg(test)]
mod tests;
