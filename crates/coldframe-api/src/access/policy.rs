//! Policies: what a document says about one request (service-api.md §2.12, §6.6). Pure.
//!
//! A statement applies if all of it does. One `Deny` that applies is the end; else one `Allow` is
//! needed. What isn't understood never allows, and always denies.

use coldframe_core::identity::{Identity, Principal};
use serde_json::Value;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who<'a> {
    /// Nobody known: an unsigned request.
    Anonymous,
    Identity(&'a Identity),
    /// A service, as `s3.amazonaws.com`.
    #[allow(dead_code, reason = "event sources ask so")]
    Service(&'a str),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) who: Who<'a>,
    /// As `lambda:InvokeFunction`.
    pub(crate) action: &'a str,
    /// The ARN.
    pub(crate) resource: &'a str,
    /// Keys of conditions, as `lambda:FunctionUrlAuthType`, and their values.
    pub(crate) context: &'a [(&'a str, &'a str)],
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    Deny,
    /// No statement applies.
    Silent,
}

/// What the document says about the request.
pub(crate) fn decide(policy: &Value, request: &Request<'_>) -> Decision {
    let mut decision = Decision::Silent;
    for statement in one_or_many(&policy["Statement"]) {
        match statement["Effect"].as_str() {
            Some("Allow") if applies(statement, request, false) => decision = Decision::Allow,
            Some("Deny") if applies(statement, request, true) => return Decision::Deny,
            _ => {}
        }
    }
    decision
}

/// `unsure`: what is said where a part isn't understood.
fn applies(statement: &Value, request: &Request<'_>, unsure: bool) -> bool {
    let part = |name: &str, matches: &dyn Fn(&Value) -> bool| {
        let negated = &statement[format!("Not{name}")];
        match (&statement[name], negated) {
            (Value::Null, Value::Null) => None,
            (Value::Null, negated) => Some(!matches(negated)),
            (value, _) => Some(matches(value)),
        }
    };
    let action = |value: &Value| {
        let asked = request.action.to_ascii_lowercase();
        texts(value).any(|pattern| like(&pattern.to_ascii_lowercase(), &asked))
    };
    let resource = |value: &Value| texts(value).any(|pattern| like(pattern, request.resource));
    part("Principal", &|value| is_principal(value, request.who)).unwrap_or(unsure)
        && part("Action", &action).unwrap_or(unsure)
        // The trust policy of a role has none: it is the role.
        && part("Resource", &resource).unwrap_or(true)
        && conditions(&statement["Condition"], request.context, unsure)
}

fn is_principal(principal: &Value, who: Who<'_>) -> bool {
    if principal == "*" {
        return true;
    }
    match who {
        Who::Anonymous => texts(&principal["AWS"]).any(|text| text == "*"),
        Who::Identity(identity) => texts(&principal["AWS"]).any(|text| is_identity(text, identity)),
        Who::Service(name) => texts(&principal["Service"]).any(|text| text == name),
    }
}

fn is_identity(text: &str, identity: &Identity) -> bool {
    let account = identity.account.as_str();
    if text == "*" || text == account {
        return true;
    }
    let mut parts = text.splitn(6, ':');
    let [Some("arn"), Some(_), Some(service), Some(""), Some(of), Some(name)] =
        [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()]
    else {
        return false;
    };
    if of != account {
        return false;
    }
    // Users and roles may have a path before their name.
    let named = |kind: &str, wanted: &str| {
        name.strip_prefix(kind).is_some_and(|path| path.rsplit('/').next() == Some(wanted))
    };
    match (service, &identity.principal) {
        ("iam", _) if name == "root" => true,
        ("iam", Principal::User(user)) => named("user/", user),
        ("iam", Principal::Role { role, .. }) => named("role/", role),
        ("sts", Principal::Role { role, session }) => {
            name.strip_prefix("assumed-role/").and_then(|rest| rest.split_once('/'))
                == Some((role, session))
        }
        _ => false,
    }
}

fn conditions(condition: &Value, context: &[(&str, &str)], unsure: bool) -> bool {
    let Some(operators) = condition.as_object() else { return condition.is_null() || unsure };
    operators.iter().all(|(operator, keys)| {
        let Some(keys) = keys.as_object() else { return unsure };
        keys.iter().all(|(key, values)| {
            let given = context.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            holds(operator, given.map(|(_, value)| *value), values).unwrap_or(unsure)
        })
    })
}

/// `None`: an operator that isn't known.
fn holds(operator: &str, given: Option<&str>, values: &Value) -> Option<bool> {
    if operator == "Null" {
        let wanted: Vec<&str> = texts(values).collect();
        let absent = if given.is_none() { "true" } else { "false" };
        return Some(wanted.contains(&absent) || values.as_bool() == Some(given.is_none()));
    }
    // Keys here have one value, and of one value any and all are the same.
    let operator = operator.strip_prefix("ForAnyValue:").unwrap_or(operator);
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(operator) => (operator, true),
        None => (operator, false),
    };
    let (negated, matches): (bool, fn(&str, &str) -> bool) = match operator {
        "StringEquals" => (false, str::eq),
        "StringNotEquals" => (true, str::eq),
        "StringEqualsIgnoreCase" | "Bool" => (false, str::eq_ignore_ascii_case),
        "StringNotEqualsIgnoreCase" => (true, str::eq_ignore_ascii_case),
        "StringLike" => (false, like),
        "StringNotLike" => (true, like),
        "ArnEquals" | "ArnLike" => (false, arn_like),
        "ArnNotEquals" | "ArnNotLike" => (true, arn_like),
        _ => return None,
    };
    let Some(given) = given else { return Some(if_exists || negated) };
    let one = one_or_many(values).any(|value| match value {
        Value::String(pattern) => matches(pattern, given),
        Value::Bool(flag) => matches(&flag.to_string(), given),
        _ => false,
    });
    Some(one != negated)
}

/// Each of the six parts for itself.
fn arn_like(pattern: &str, arn: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.splitn(6, ':'), arn.splitn(6, ':'));
    loop {
        match (patterns.next(), parts.next()) {
            (Some(pattern), Some(part)) if like(pattern, part) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// `*` is any text, `?` one character.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last star stands, and how much of the text it has taken.
    let mut star = None;
    while of < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(one) if *one == '?' || *one == text[of] => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((starred, taken)) => {
                    star = Some((starred, taken + 1));
                    (at, of) = (starred + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    one_or_many(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
