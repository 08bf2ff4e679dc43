//! Function URLs (service-api.md §6): their configuration, and functions as web servers.
//!
//! ```text
//! request ─► place (host or path) ─► URL ─► CORS ─► who may ─► event ─► Invoker ─► answer as HTTP
//! ```

mod cors;
mod create;
mod delete;
mod event;
mod get;
mod list;
mod response;
mod serve;
mod update;

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use coldframe_core::FunctionArn;
use coldframe_store::{Function, UrlRecord};
use hyper::Request;
use serde_json::{Value, json};

use crate::function::{Named, Which};
use crate::{Error, Service};

/// Begins the paths that stand for hosts, for who can't choose a host's name.
const PATH: &str = "/_url/";

/// Which function an id belongs to.
#[derive(Default)]
pub(crate) struct Urls(RwLock<Index>);

#[derive(Default)]
struct Index {
    functions: HashMap<String, FunctionArn>,
    ids: HashMap<FunctionArn, Vec<String>>,
}

impl Urls {
    /// The function has these URLs now.
    pub(crate) fn set(&self, arn: &FunctionArn, function: Option<&Function>) {
        let ids: Vec<String> = function
            .into_iter()
            .flat_map(|function| function.settings.urls.values())
            .map(|url| url.id.clone())
            .collect();
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for id in index.ids.remove(arn).unwrap_or_default() {
            index.functions.remove(&id);
        }
        if !ids.is_empty() {
            index.functions.extend(ids.iter().map(|id| (id.clone(), arn.clone())));
            index.ids.insert(arn.clone(), ids);
        }
    }

    fn function(&self, id: &str) -> Option<FunctionArn> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).functions.get(id).cloned()
    }
}

/// Stands in the extensions of an answer: it is a function URL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlServed {
    pub function: FunctionArn,
    /// The alias that the URL is for.
    pub alias: Option<String>,
}

/// Where a request for a function URL goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    id: String,
    /// As sent, without what names the URL.
    path: String,
}

impl Place {
    /// `ID.lambda-url.REGION.…` as host, or `/_url/ID/…`; `None` for any other request.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let host = request.headers().get("host").and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let path = request.uri().path();
        if let Some(id) = host.or(authority).and_then(id_of_host) {
            return Some(Self { id, path: path.to_owned() });
        }
        let rest = path.strip_prefix(PATH)?;
        let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { id: id.to_owned(), path: format!("/{path}") })
    }
}

fn id_of_host(host: &str) -> Option<String> {
    let mut labels = host.split('.');
    let id = labels.next()?;
    (labels.next()? == "lambda-url").then(|| id.to_ascii_lowercase())
}

/// The key of a URL, and which of the function's it is: that of `$LATEST` or of an alias.
fn key(named: &Named) -> Option<String> {
    match named.which() {
        Which::Latest => Some(String::new()),
        Which::Alias(alias) => Some(alias.to_owned()),
        // The model's pattern has refused it, unless it hid in an ARN.
        Which::Version(_) => None,
    }
}

fn exists(function: &Function, key: &str) -> bool {
    key.is_empty() || function.aliases.contains_key(key)
}

fn no_function() -> Error {
    Error::new("ResourceNotFoundException", "Function does not exist")
}

fn no_url() -> Error {
    Error::new("ResourceNotFoundException", "The resource you requested does not exist.")
}

/// The function's ARN, with the alias if the URL is one's.
fn arn_of(arn: &FunctionArn, key: &str) -> String {
    if key.is_empty() { arn.to_string() } else { arn.qualified(key) }
}

/// Which members an answer shows (§6.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Created,
    Updated,
    Got,
}

impl Service {
    /// The host's name of a URL, with the port.
    fn url_host(&self, arn: &FunctionArn, id: &str) -> String {
        format!("{id}.lambda-url.{}.{}", arn.region, self.url_domain)
    }

    /// `FunctionUrlConfig`.
    fn shown_url(&self, arn: &FunctionArn, key: &str, url: &UrlRecord, shown: Shown) -> Value {
        let mut out = json!({
            "FunctionUrl": format!("http://{}/", self.url_host(arn, &url.id)),
            "FunctionArn": arn_of(arn, key),
            "AuthType": url.auth_type,
            "CreationTime": url.created,
        });
        if let Some(cors) = &url.cors {
            out["Cors"] = cors.clone();
        }
        match (&url.invoke_mode, shown) {
            (Some(mode), _) => out["InvokeMode"] = json!(mode),
            (None, Shown::Got) => out["InvokeMode"] = json!("BUFFERED"),
            (None, _) => {}
        }
        if shown != Shown::Created {
            out["LastModifiedTime"] = json!(url.modified);
        }
        out
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests;
