//! What a function's answer says of its batch (service-api.md §7.2, "Partial response").

use std::collections::HashSet;

use serde_json::Value;

/// What becomes of the messages of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    AllDone,
    AllFailed,
    /// Those of these ids; the others are done.
    Failed(HashSet<String>),
}

/// Reads the answer of a function that tells which messages failed; `ids` are those of its batch.
pub(crate) fn verdict(payload: &[u8], ids: &[&str]) -> Verdict {
    if payload.trim_ascii().is_empty() {
        return Verdict::AllDone;
    }
    let Ok(answer) = serde_json::from_slice::<Value>(payload) else { return Verdict::AllFailed };
    let failures = match &answer {
        Value::Null => return Verdict::AllDone,
        Value::String(text) if text.is_empty() => return Verdict::AllDone,
        Value::Array(elements) if elements.is_empty() => return Verdict::AllDone,
        Value::Object(members) => match members.get("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::AllDone,
            Some(Value::Array(failures)) => failures,
            Some(_) => return Verdict::AllFailed,
        },
        // Not of the form of a response.
        _ => return Verdict::AllFailed,
    };
    let mut failed = HashSet::new();
    for failure in failures {
        match failure["itemIdentifier"].as_str() {
            Some(id) if ids.contains(&id) => failed.insert(id.to_owned()),
            _ => return Verdict::AllFailed,
        };
    }
    if failed.is_empty() { Verdict::AllDone } else { Verdict::Failed(failed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: service-api.md §7.2, "Partial response".
    #[test]
    fn the_whole_table() {
        let check = |payload: &str, verdict: Verdict| {
            assert_eq!(super::verdict(payload.as_bytes(), &["a", "b", "c"]), verdict, "{payload}");
        };
        let done = [
            "{}",
            "null",
            "",
            "\"\"",
            "[]",
            r#"{"batchItemFailures":[]}"#,
            r#"{"batchItemFailures":null}"#,
            r#"{"other":1}"#,
        ];
        for payload in done {
            check(payload, Verdict::AllDone);
        }
        let failed = [
            "no json",
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{}]}"#,
            r#"{"batchItemFailures":[{"identifier":"a"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"unknown"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"unknown"}]}"#,
            r#"{"batchItemFailures":["a"]}"#,
            r#"{"batchItemFailures":"a"}"#,
            "\"text\"",
            "1",
            "[1]",
        ];
        for payload in failed {
            check(payload, Verdict::AllFailed);
        }
        let of = |ids: &[&str]| Verdict::Failed(ids.iter().map(|id| (*id).to_owned()).collect());
        check(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#, of(&["b"]));
        check(
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"a"}]}"#,
            of(&["a", "b"]),
        );
        check(
            r#"{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"b"}]}"#,
            of(&["b"]),
        );
    }
}
