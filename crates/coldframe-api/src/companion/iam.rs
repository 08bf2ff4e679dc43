//! IAM: roles and their policies, kept for the tools that make them before a function. A function
//! may name any role; what a policy says of a role counts for AssumeRole alone.

use coldframe_core::AccountId;
use coldframe_core::identity::{role_name, unique_id};
use coldframe_core::sigv4::uri_encode;
use coldframe_store::{PolicyRecord, RoleRecord};
use serde_json::{Value, json};

use super::{Form, Problem};
use crate::Service;

/// Policies that AWS has in every account.
const AWS_MANAGED: &str = "arn:aws:iam::aws:policy/";

/// A policy's document, characters. AWS: "IAM and AWS STS quotas", 10,240.
const DOCUMENT_CHARACTERS_MAX: usize = 10_240;

impl Service {
    /// `None`: an operation that isn't there.
    pub(super) fn iam(&self, action: &str, form: &Form) -> Result<Option<Value>, Problem> {
        let account = &form.caller.account;
        Ok(Some(match action {
            "CreateRole" => self.create_role(form)?,
            "GetRole" => {
                let (name, role) = self.role(form)?;
                json!({ "Role": shown_role(account, &name, &role) })
            }
            "ListRoles" => {
                let prefix = form.get("PathPrefix").unwrap_or("/");
                let roles = self.store.roles(account);
                let roles = roles.iter().filter(|(_, role)| role.path.starts_with(prefix));
                let roles: Value =
                    roles.map(|(name, role)| shown_role(account, name, role)).collect();
                json!({ "Roles": roles, "IsTruncated": false })
            }
            "UpdateRole" => {
                let max_session_s = max_session(form)?;
                self.change_role(form, |role| {
                    if let Some(description) = form.get("Description") {
                        description.clone_into(&mut role.description);
                    }
                    role.max_session_s = max_session_s.unwrap_or(role.max_session_s);
                    Ok(())
                })?;
                json!({})
            }
            "DeleteRole" => self.delete_role(form)?,
            "UpdateAssumeRolePolicy" => {
                let document = document(form, "PolicyDocument")?;
                self.change_role(form, |role| {
                    role.trust = document;
                    Ok(())
                })?;
                Value::Null
            }
            "TagRole" => {
                let tags = tags(form);
                self.change_role(form, |role| {
                    role.tags.extend(tags);
                    Ok(())
                })?;
                Value::Null
            }
            "UntagRole" => {
                let keys = form.members("TagKeys", "");
                self.change_role(form, |role| {
                    role.tags.retain(|key, _| !keys.contains(&key.as_str()));
                    Ok(())
                })?;
                Value::Null
            }
            "ListRoleTags" => {
                let (_, role) = self.role(form)?;
                json!({ "Tags": shown_tags(&role.tags), "IsTruncated": false })
            }
            "AttachRolePolicy" => self.attach(form)?,
            "DetachRolePolicy" => {
                let arn = form.need("PolicyArn")?;
                self.change_role(form, |role| {
                    let gone = role.attached.remove(arn);
                    gone.map(drop).ok_or_else(|| no_such(format!("Policy {arn} was not found.")))
                })?;
                Value::Null
            }
            "ListAttachedRolePolicies" => {
                let (_, role) = self.role(form)?;
                let attached = role.attached.iter();
                let attached: Value = attached
                    .map(|(arn, name)| json!({ "PolicyArn": arn, "PolicyName": name }))
                    .collect();
                json!({ "AttachedPolicies": attached, "IsTruncated": false })
            }
            "PutRolePolicy" => {
                let (name, document) =
                    (name(form, "PolicyName")?, document(form, "PolicyDocument")?);
                self.change_role(form, |role| {
                    role.inline.insert(name.to_owned(), document);
                    Ok(())
                })?;
                Value::Null
            }
            "GetRolePolicy" => {
                let policy = form.need("PolicyName")?;
                let (name, role) = self.role(form)?;
                let document = role.inline.get(policy).ok_or_else(|| no_inline(policy))?;
                json!({
                    "RoleName": name,
                    "PolicyName": policy,
                    "PolicyDocument": uri_encode(document),
                })
            }
            "DeleteRolePolicy" => {
                let policy = form.need("PolicyName")?;
                self.change_role(form, |role| {
                    role.inline.remove(policy).map(drop).ok_or_else(|| no_inline(policy))
                })?;
                Value::Null
            }
            "ListRolePolicies" => {
                let (_, role) = self.role(form)?;
                let names: Vec<&String> = role.inline.keys().collect();
                json!({ "PolicyNames": names, "IsTruncated": false })
            }
            "ListInstanceProfilesForRole" => {
                self.role(form)?;
                json!({ "InstanceProfiles": [], "IsTruncated": false })
            }
            "CreatePolicy" => self.create_policy(form)?,
            "GetPolicy" => {
                let (name, policy) = self.policy(form)?;
                json!({ "Policy": self.shown_policy(account, &name, &policy) })
            }
            "GetPolicyVersion" => {
                let (_, policy) = self.policy(form)?;
                let mut version = shown_version(&policy);
                if form.need("VersionId")? != "v1" {
                    let arn = form.need("PolicyArn")?;
                    return Err(no_such(format!(
                        "Policy {arn} version {} does not exist or is not attachable.",
                        form.need("VersionId")?
                    )));
                }
                version["Document"] = json!(uri_encode(&policy.document));
                json!({ "PolicyVersion": version })
            }
            "ListPolicyVersions" => {
                let (_, policy) = self.policy(form)?;
                json!({ "Versions": [shown_version(&policy)], "IsTruncated": false })
            }
            "DeletePolicy" => self.delete_policy(form)?,
            _ => return Ok(None),
        }))
    }

    fn role(&self, form: &Form) -> Result<(String, std::sync::Arc<RoleRecord>), Problem> {
        let name = form.need("RoleName")?;
        let role = self.store.role(&form.caller.account, name);
        Ok((name.to_owned(), role.ok_or_else(|| no_role(name))?))
    }

    fn change_role(
        &self,
        form: &Form,
        change: impl FnOnce(&mut RoleRecord) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let name = form.need("RoleName")?;
        self.store.change_role(&form.caller.account, name, |role| {
            change(role.as_mut().ok_or_else(|| no_role(name))?)
        })
    }

    fn create_role(&self, form: &Form) -> Result<Value, Problem> {
        let (account, name) = (&form.caller.account, name(form, "RoleName")?);
        let new = RoleRecord {
            path: path(form)?,
            trust: document(form, "AssumeRolePolicyDocument")?,
            description: form.get("Description").unwrap_or_default().to_owned(),
            max_session_s: max_session(form)?.unwrap_or(3600),
            created: now(),
            tags: tags(form).collect(),
            ..RoleRecord::default()
        };
        let shown = shown_role(account, name, &new);
        self.store.change_role(account, name, |role| {
            if role.is_some() {
                return Err(exists(format!("Role with name {name} already exists.")));
            }
            *role = Some(new);
            Ok(json!({ "Role": shown }))
        })
    }

    fn delete_role(&self, form: &Form) -> Result<Value, Problem> {
        let name = form.need("RoleName")?;
        self.store.change_role(&form.caller.account, name, |role| {
            let there = role.as_ref().ok_or_else(|| no_role(name))?;
            let conflict = |what: &str| {
                Problem::new(
                    409,
                    "DeleteConflict",
                    format!("Cannot delete entity, must {what} first."),
                )
            };
            if !there.attached.is_empty() {
                return Err(conflict("detach all policies"));
            }
            if !there.inline.is_empty() {
                return Err(conflict("delete policies"));
            }
            *role = None;
            Ok(Value::Null)
        })
    }

    fn attach(&self, form: &Form) -> Result<Value, Problem> {
        let arn = form.need("PolicyArn")?;
        if !arn.starts_with(AWS_MANAGED) {
            self.policy(form)?;
        }
        self.change_role(form, |role| {
            role.attached.insert(arn.to_owned(), role_name(arn).to_owned());
            Ok(())
        })?;
        Ok(Value::Null)
    }

    /// A policy of the account, by its ARN.
    fn policy(&self, form: &Form) -> Result<(String, std::sync::Arc<PolicyRecord>), Problem> {
        let (account, arn) = (&form.caller.account, form.need("PolicyArn")?);
        let name = role_name(arn);
        let policy = self.store.policy(account, name);
        let policy = policy.filter(|policy| policy_arn(account, name, policy) == arn);
        Ok((name.to_owned(), policy.ok_or_else(|| no_policy(arn))?))
    }

    fn create_policy(&self, form: &Form) -> Result<Value, Problem> {
        let (account, name) = (&form.caller.account, name(form, "PolicyName")?);
        let new = PolicyRecord {
            path: path(form)?,
            document: document(form, "PolicyDocument")?,
            description: form.get("Description").unwrap_or_default().to_owned(),
            created: now(),
            tags: tags(form).collect(),
        };
        let shown = self.shown_policy(account, name, &new);
        self.store.change_policy(account, name, |policy| {
            if policy.is_some() {
                return Err(exists(format!(
                    "A policy called {name} already exists. Duplicate names are not allowed."
                )));
            }
            *policy = Some(new);
            Ok(json!({ "Policy": shown }))
        })
    }

    fn delete_policy(&self, form: &Form) -> Result<Value, Problem> {
        let (account, arn) = (&form.caller.account, form.need("PolicyArn")?);
        let (name, _) = self.policy(form)?;
        if self.attachments(account, arn) > 0 {
            return Err(Problem::new(
                409,
                "DeleteConflict",
                "Cannot delete a policy attached to entities.",
            ));
        }
        self.store.change_policy(account, &name, |policy| {
            *policy = None;
            Ok(Value::Null)
        })
    }

    fn attachments(&self, account: &AccountId, arn: &str) -> usize {
        let roles = self.store.roles(account);
        roles.iter().filter(|(_, role)| role.attached.contains_key(arn)).count()
    }

    fn shown_policy(&self, account: &AccountId, name: &str, policy: &PolicyRecord) -> Value {
        let arn = policy_arn(account, name, policy);
        json!({
            "PolicyName": name,
            "PolicyId": unique_id("ANPA", account, name),
            "AttachmentCount": self.attachments(account, &arn),
            "Arn": arn,
            "Path": policy.path,
            "Description": policy.description,
            "DefaultVersionId": "v1",
            "PermissionsBoundaryUsageCount": 0,
            "IsAttachable": true,
            "CreateDate": policy.created,
            "UpdateDate": policy.created,
            "Tags": shown_tags(&policy.tags),
        })
    }
}

fn shown_role(account: &AccountId, name: &str, role: &RoleRecord) -> Value {
    json!({
        "RoleName": name,
        "RoleId": unique_id("AROA", account, name),
        "Arn": format!("arn:aws:iam::{account}:role{}{name}", role.path),
        "Path": role.path,
        "AssumeRolePolicyDocument": uri_encode(&role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session_s,
        "CreateDate": role.created,
        "RoleLastUsed": {},
        "Tags": shown_tags(&role.tags),
    })
}

fn shown_version(policy: &PolicyRecord) -> Value {
    json!({ "VersionId": "v1", "IsDefaultVersion": true, "CreateDate": policy.created })
}

fn shown_tags(tags: &std::collections::BTreeMap<String, String>) -> Value {
    tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}

fn tags(form: &Form) -> impl Iterator<Item = (String, String)> {
    let values = form.members("Tags", "Value");
    let pairs = form.members("Tags", "Key").into_iter().zip(values);
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))
}

fn policy_arn(account: &AccountId, name: &str, policy: &PolicyRecord) -> String {
    format!("arn:aws:iam::{account}:policy{}{name}", policy.path)
}

/// A name of AWS's form.
fn name<'a>(form: &'a Form, parameter: &str) -> Result<&'a str, Problem> {
    let name = form.need(parameter)?;
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    if name.len() <= 128 && name.bytes().all(is_good) {
        return Ok(name);
    }
    Err(Problem::invalid(format!(
        "The specified value for {} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
        parameter.to_ascii_lowercase()
    )))
}

fn path(form: &Form) -> Result<String, Problem> {
    let path = form.get("Path").unwrap_or("/");
    let is_path = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if is_path {
        return Ok(path.to_owned());
    }
    Err(Problem::invalid(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

fn max_session(form: &Form) -> Result<Option<u64>, Problem> {
    let Some(text) = form.get("MaxSessionDuration") else { return Ok(None) };
    let seconds = text.parse().ok().filter(|seconds| (3600..=43_200).contains(seconds));
    seconds.map(Some).ok_or_else(|| {
        Problem::invalid(format!(
            "1 validation error detected: Value '{text}' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between 3600 and 43200"
        ))
    })
}

/// A policy's text, which must be a JSON object.
fn document(form: &Form, parameter: &str) -> Result<String, Problem> {
    let text = form.need(parameter)?;
    let malformed = |message: String| Problem::new(400, "MalformedPolicyDocument", message);
    if text.chars().count() > DOCUMENT_CHARACTERS_MAX {
        return Err(Problem::new(
            409,
            "LimitExceeded",
            format!("Maximum policy size of {DOCUMENT_CHARACTERS_MAX} bytes exceeded"),
        ));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(policy)) if policy.contains_key("Statement") => Ok(text.to_owned()),
        Ok(_) => Err(malformed("Syntax errors in policy.".to_owned())),
        Err(_) => Err(malformed("This policy contains invalid Json".to_owned())),
    }
}

fn exists(message: String) -> Problem {
    Problem::new(409, "EntityAlreadyExists", message)
}

fn no_such(message: String) -> Problem {
    Problem::new(404, "NoSuchEntity", message)
}

fn no_role(name: &str) -> Problem {
    no_such(format!("The role with name {name} cannot be found."))
}

fn no_inline(name: &str) -> Problem {
    no_such(format!("The role policy with name {name} cannot be found."))
}

fn no_policy(arn: &str) -> Problem {
    no_such(format!("Policy {arn} does not exist or is not attachable."))
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
