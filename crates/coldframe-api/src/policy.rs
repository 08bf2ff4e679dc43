//! Resource policies (service-api.md §2.11, §2.12): statements, kept as the JSON text that callers see.

use coldframe_store::PolicyHead;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Error;

/// A policy, characters. AWS: "AddPermission", 20,480.
const POLICY_CHARACTERS_MAX: usize = 20_480;

/// One statement; its members in the order AWS prints them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Statement<'a> {
    pub(crate) sid: &'a str,
    pub(crate) effect: &'static str,
    pub(crate) principal: Value,
    pub(crate) action: &'a str,
    pub(crate) resource: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) condition: Value,
}

/// The policy of one resource, and the revision that its changes go by.
pub(crate) struct Subject<'a> {
    pub(crate) statements: &'a mut Vec<String>,
    pub(crate) head: &'a mut Option<PolicyHead>,
    pub(crate) revision_id: &'a mut String,
}

impl Subject<'_> {
    /// Adds a statement; gives its text.
    pub(crate) fn add(self, statement: &Statement<'_>) -> Result<String, Error> {
        let id = statement.sid;
        if self.statements.iter().any(|there| sid(there) == id) {
            return Err(Error::new(
                "ResourceConflictException",
                format!(
                    "The statement id ({id}) provided already exists. Please provide a new statement id, or remove the existing statement."
                ),
            ));
        }
        let text = serde_json::to_string(statement).map_err(|error| Error::service(&error))?;
        self.statements.push(text.clone());
        self.changed()?;
        Ok(text)
    }

    pub(crate) fn remove(self, id: &str) -> Result<(), Error> {
        if self.statements.is_empty() {
            return Err(not_found("No policy is associated with the given resource."));
        }
        let before = self.statements.len();
        self.statements.retain(|there| sid(there) != id);
        if self.statements.len() == before {
            return Err(not_found(format!("Statement {id} is not found in resource policy.")));
        }
        if self.statements.is_empty() {
            *self.head = None;
        }
        self.changed()
    }

    /// Puts a whole policy in the place of what is there.
    pub(crate) fn replace(self, head: PolicyHead, statements: Vec<String>) -> Result<(), Error> {
        *self.head = Some(head);
        *self.statements = statements;
        self.changed()
    }

    /// No policy from now on.
    pub(crate) fn clear(self) -> Result<(), Error> {
        if self.statements.is_empty() {
            return Err(not_found("No policy is associated with the given resource."));
        }
        *self.head = None;
        self.statements.clear();
        self.changed()
    }

    /// The document that callers see.
    pub(crate) fn document(&self) -> String {
        document(self.statements, self.head.as_ref())
    }

    fn changed(self) -> Result<(), Error> {
        let length = self.document().chars().count();
        if length > POLICY_CHARACTERS_MAX {
            return Err(Error::new(
                "PolicyLengthExceededException",
                format!(
                    "The final policy size ({length}) is bigger than the limit ({POLICY_CHARACTERS_MAX})."
                ),
            ));
        }
        *self.revision_id = Uuid::new_v4().to_string();
        Ok(())
    }
}

/// The document that `GetPolicy` gives.
pub(crate) fn document(statements: &[String], head: Option<&PolicyHead>) -> String {
    let member = |name: &str, value: Option<&str>| {
        value.map_or_else(String::new, |value| format!(r#""{name}":{},"#, json!(value)))
    };
    let (version, id) = match head {
        Some(head) => (head.version.as_deref(), head.id.as_deref()),
        None => (Some("2012-10-17"), Some("default")),
    };
    let (version, id) = (member("Version", version), member("Id", id));
    format!(r#"{{{version}{id}"Statement":[{}]}}"#, statements.join(","))
}

pub(crate) fn not_found(message: impl Into<String>) -> Error {
    Error::new("ResourceNotFoundException", message)
}

pub(crate) fn sid(statement: &str) -> String {
    let statement: Value = serde_json::from_str(statement).unwrap_or_default();
    statement["Sid"].as_str().unwrap_or_default().to_owned()
}

/// The principal as a statement has it; `None` for one that AWS knows not.
pub(crate) fn principal(given: &str, partition: &str) -> Option<Value> {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let service = given.strip_suffix(".cn").unwrap_or(given);
    if given == "*" {
        Some(json!("*"))
    } else if is_account(given) {
        Some(json!({ "AWS": format!("arn:{partition}:iam::{given}:root") }))
    } else if let Some(rest) = given.strip_prefix("arn:") {
        let mut parts = rest.splitn(5, ':');
        let (_partition, service) = (parts.next(), parts.next());
        let (region, account, name) = (parts.next(), parts.next(), parts.next());
        let known = matches!(service, Some("iam" | "sts"))
            && region == Some("")
            && account.is_some_and(is_account)
            && name.is_some_and(|name| !name.is_empty());
        known.then(|| json!({ "AWS": given }))
    } else if [".amazonaws.com", ".amazon.com"].iter().any(|end| service.ends_with(end)) {
        Some(json!({ "Service": given }))
    } else {
        None
    }
}

/// Whether the statements let everybody of another account do this, whatever else is the case.
pub(crate) fn allows_account(statements: &[String], action: &str, account: &str) -> bool {
    statements.iter().any(|text| {
        let statement: Value = serde_json::from_str(text).unwrap_or_default();
        let who = &statement["Principal"];
        let all = who == "*" || who["AWS"].as_str().is_some_and(|arn| of_root(arn, account));
        all && statement["Action"] == action && statement["Condition"].is_null()
    })
}

fn of_root(arn: &str, account: &str) -> bool {
    arn.ends_with(&format!(":iam::{account}:root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_of_known_kinds() {
        let check = |given: &str, expected: Option<Value>| {
            assert_eq!(principal(given, "aws"), expected, "{given}");
        };
        check("*", Some(json!("*")));
        check("s3.amazonaws.com", Some(json!({ "Service": "s3.amazonaws.com" })));
        check("123456789012", Some(json!({ "AWS": "arn:aws:iam::123456789012:root" })));
        let role = "arn:aws:iam::123456789012:role/r";
        check(role, Some(json!({ "AWS": role })));
        for bad in
            ["", "invalid.nonaws.com", "12345678901", "arn:aws:iam::1:role/r", "arn:", "somebody"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn accounts_are_let_in_without_conditions_only() {
        let statement = |principal: Value, condition: Value| {
            serde_json::to_string(&Statement {
                sid: "s",
                effect: "Allow",
                principal,
                action: "lambda:GetLayerVersion",
                resource: String::new(),
                condition,
            })
            .unwrap()
        };
        let check = |principal: Value, condition: Value, expected: bool| {
            let statements = [statement(principal, condition)];
            let allowed = allows_account(&statements, "lambda:GetLayerVersion", "123456789012");
            assert_eq!(allowed, expected, "{statements:?}");
            assert!(!allows_account(&statements, "lambda:InvokeFunction", "123456789012"));
        };
        check(json!("*"), Value::Null, true);
        check(json!({ "AWS": "arn:aws:iam::123456789012:root" }), Value::Null, true);
        check(json!({ "AWS": "arn:aws:iam::210987654321:root" }), Value::Null, false);
        check(json!("*"), json!({ "StringEquals": { "aws:PrincipalOrgID": "o-1" } }), false);
    }
}
