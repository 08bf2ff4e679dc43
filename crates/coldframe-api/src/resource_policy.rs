//! Resource policies as whole documents (service-api.md §2.12): the same policies that
//! [`crate::permission`] changes statement by statement.

mod delete;
mod get;
mod put;

use coldframe_store::PolicyHead;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::function::{Named, Which, resolve};
use crate::policy::{not_found, principal, sid};
use crate::{Call, Error};

/// The function whose ARN the path has.
fn named(call: &Call) -> Result<Named, Error> {
    let arn = call.label("ResourceArn");
    if arn.split(':').nth(5).is_some_and(|kind| kind.starts_with("runtime/")) {
        // Runtimes of one's own can't be made here, so none is there.
        return Err(not_found("The resource you requested does not exist."));
    }
    let named = resolve(call, arn)?;
    if named.which() == Which::Latest && named.qualifier.is_some() {
        return Err(Error::invalid("We currently do not support adding policies for $LATEST."));
    }
    Ok(named)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document<'a> {
    version: Option<String>,
    id: Option<String>,
    #[serde(borrow)]
    statement: &'a RawValue,
}

/// Reads a document: what it says beside its statements, and the text of each. AWS's texts for what
/// is wrong in one have not been seen.
fn parse(text: &str) -> Result<(PolicyHead, Vec<String>), Error> {
    let malformed = |what: String| Error::invalid(format!("The policy is not valid: {what}."));
    let document: Document<'_> =
        serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let known = ["2012-10-17", "2008-10-17"];
    if document.version.as_deref().is_some_and(|version| !known.contains(&version)) {
        return Err(malformed("Version must be 2012-10-17 or 2008-10-17".to_owned()));
    }
    let statement = document.statement.get();
    let statements: Vec<String> = if statement.starts_with('[') {
        let each: Vec<&RawValue> =
            serde_json::from_str(statement).map_err(|error| malformed(error.to_string()))?;
        each.into_iter().map(|one| compact(one.get())).collect()
    } else {
        vec![compact(statement)]
    };
    if statements.is_empty() {
        return Err(malformed("it has no statement".to_owned()));
    }
    for (index, text) in statements.iter().enumerate() {
        let statement: Value =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        check(&statement).map_err(|why| match why {
            Wrong::Principal => Error::invalid(
                "The provided principal was invalid. Please check the principal and try again.",
            ),
            Wrong::Part(part) => malformed(format!("{part} of statement {} is wrong", index + 1)),
        })?;
        let id = sid(text);
        if !id.is_empty() && statements[..index].iter().any(|other| sid(other) == id) {
            return Err(malformed(format!("statement id {id} is there twice")));
        }
    }
    Ok((PolicyHead { version: document.version, id: document.id }, statements))
}

enum Wrong {
    Principal,
    Part(&'static str),
}

/// Every part there, and of the right kind. What conditions say is for the one who decides by them.
fn check(statement: &Value) -> Result<(), Wrong> {
    let parts = statement.as_object().ok_or(Wrong::Part("the form"))?;
    let known = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    if parts.keys().any(|key| !known.contains(&key.as_str())) {
        return Err(Wrong::Part("an element"));
    }
    let is_id = |id: &str| {
        (1..=100).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if parts.get("Sid").is_some_and(|id| !id.as_str().is_some_and(is_id)) {
        return Err(Wrong::Part("Sid"));
    }
    if !matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) {
        return Err(Wrong::Part("Effect"));
    }
    if parts.get("Condition").is_some_and(|condition| !condition.is_object()) {
        return Err(Wrong::Part("Condition"));
    }
    for (name, negated) in [("Action", "NotAction"), ("Resource", "NotResource")] {
        one_of(statement, name, negated)
            .filter(|value| are_texts(value))
            .ok_or(Wrong::Part(name))?;
    }
    let who = one_of(statement, "Principal", "NotPrincipal").ok_or(Wrong::Part("Principal"))?;
    if is_principal(who) { Ok(()) } else { Err(Wrong::Principal) }
}

/// The one of the two that is there; `None` if none is, or both.
fn one_of<'a>(statement: &'a Value, name: &str, negated: &str) -> Option<&'a Value> {
    match (statement.get(name), statement.get(negated)) {
        (Some(one), None) | (None, Some(one)) => Some(one),
        _ => None,
    }
}

fn are_texts(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(each) => !each.is_empty() && each.iter().all(|one| one.is_string()),
        _ => false,
    }
}

/// `"*"`, or an object of kinds and whom they name.
fn is_principal(who: &Value) -> bool {
    let Some(kinds) = who.as_object() else { return who == "*" };
    let is_of = |kind: &str, given: &str| match kind {
        "AWS" => principal(given, "aws").is_some_and(|who| who.get("Service").is_none()),
        "Service" => principal(given, "aws").is_some_and(|who| who.get("Service").is_some()),
        "Federated" | "CanonicalUser" => true,
        _ => false,
    };
    !kinds.is_empty()
        && kinds.iter().all(|(kind, given)| {
            let given = given.as_array().map_or(std::slice::from_ref(given), Vec::as_slice);
            !given.is_empty()
                && given.iter().all(|one| one.as_str().is_some_and(|one| is_of(kind, one)))
        })
}

/// JSON without the blanks between its tokens.
fn compact(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |character: &char| {
        let blank = !inside && character.is_ascii_whitespace();
        if escaped {
            escaped = false;
        } else {
            match character {
                '"' => inside = !inside,
                '\\' => escaped = inside,
                _ => {}
            }
        }
        !blank
    };
    text.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests;
