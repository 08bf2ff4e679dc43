//! Pages of lists (service-api.md §1): `Marker` and `MaxItems` in, `NextMarker` out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::{Call, Error};

/// Items of one page at most (service-api.md §1).
const ITEMS_MAX: usize = 50;

/// The page that a request asks for.
pub(crate) struct Page {
    pub(crate) count: usize,
    /// The key of the last item of the page before; empty on the first.
    pub(crate) after: String,
}

impl Page {
    pub(crate) fn of(call: &Call) -> Result<Self, Error> {
        let count = call.query("MaxItems").and_then(|text| text.parse().ok()).unwrap_or(ITEMS_MAX);
        let marker = call.query("Marker").unwrap_or_default();
        let after = URL_SAFE_NO_PAD
            .decode(marker)
            .ok()
            .and_then(|key| String::from_utf8(key).ok())
            .ok_or_else(|| Error::invalid("Invalid marker"))?;
        Ok(Self { count: count.clamp(1, ITEMS_MAX), after })
    }

    /// The answer: as many of the items, which come with their keys and begin behind `after`.
    pub(crate) fn answer(
        &self,
        member: &str,
        items: impl Iterator<Item = (String, Value)>,
    ) -> Value {
        let mut items: Vec<_> = items.take(self.count + 1).collect();
        let more = items.len() > self.count;
        items.truncate(self.count);
        let mut body = json!({});
        if let (true, Some((last, _))) = (more, items.last()) {
            body["NextMarker"] = json!(URL_SAFE_NO_PAD.encode(last));
        }
        body[member] = items.into_iter().map(|(_, item)| item).collect();
        body
    }
}
