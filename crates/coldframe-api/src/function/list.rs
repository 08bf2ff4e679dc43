//! `ListFunctions` (service-api.md §2.7).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::configuration;
use crate::{Call, Error, Reply, Service};

/// Functions of one page at most (service-api.md §1).
const PAGE_MAX: usize = 50;

impl Service {
    pub(crate) fn list_functions(&self, call: &Call) -> Result<Reply, Error> {
        let count = call.query("MaxItems").and_then(|text| text.parse().ok()).unwrap_or(PAGE_MAX);
        let count = count.min(PAGE_MAX);
        let after = match call.query("Marker").filter(|marker| !marker.is_empty()) {
            Some(marker) => URL_SAFE_NO_PAD
                .decode(marker)
                .ok()
                .and_then(|name| String::from_utf8(name).ok())
                .ok_or_else(|| Error::invalid("Invalid marker"))?,
            None => String::new(),
        };
        let all = call.query("FunctionVersion") == Some("ALL");
        let mut found = self.store.list(&call.caller.arn(&after), count + 1);
        let more = found.len() > count;
        found.truncate(count);
        let functions: Vec<Value> = found
            .iter()
            .map(|(arn, record)| {
                let arn = if all { arn.qualified("$LATEST") } else { arn.to_string() };
                configuration(&arn, record, true)
            })
            .collect();
        let mut body = json!({ "Functions": functions });
        if let (true, Some((last, _))) = (more, found.last()) {
            body["NextMarker"] = json!(URL_SAFE_NO_PAD.encode(last.name.as_bytes()));
        }
        Ok(crate::json(StatusCode::OK, &body))
    }
}
