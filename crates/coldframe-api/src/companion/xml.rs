//! Answers of the query protocol. Order means nothing to who reads them, so values are JSON's: an
//! object is its elements, a list is `member`s.

use coldframe_core::RequestId;
use hyper::StatusCode;
use serde_json::Value;

/// An operation's answer; `null` as result where it has none.
pub(super) fn answer(
    namespace: &str,
    action: &str,
    result: &Value,
    request_id: RequestId,
) -> String {
    let mut text = format!("<{action}Response xmlns=\"{namespace}\">");
    if !result.is_null() {
        element(&mut text, &format!("{action}Result"), result);
    }
    text + &format!(
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>\n"
    )
}

pub(super) fn problem(
    namespace: &str,
    status: StatusCode,
    code: &str,
    message: &str,
    request_id: RequestId,
) -> String {
    let whose = if status.is_server_error() { "Receiver" } else { "Sender" };
    let mut text = format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{whose}</Type><Code>{code}</Code><Message>"
    );
    escape(&mut text, message);
    text + &format!("</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>\n")
}

/// As S3 tells of problems.
pub(super) fn object_problem(code: &str, message: &str, request_id: RequestId) -> String {
    let mut text = format!("<Error><Code>{code}</Code><Message>");
    escape(&mut text, message);
    text + &format!("</Message><RequestId>{request_id}</RequestId></Error>\n")
}

fn element(text: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    text.push_str(&format!("<{name}>"));
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| element(text, name, value));
        }
        Value::Array(items) => items.iter().for_each(|item| element(text, "member", item)),
        Value::String(string) => escape(text, string),
        other => text.push_str(&other.to_string()),
    }
    text.push_str(&format!("</{name}>"));
}

fn escape(text: &mut String, raw: &str) {
    for character in raw.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // What XML has no way to write.
            '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                text.push('\u{fffd}');
            }
            character => text.push(character),
        }
    }
}
