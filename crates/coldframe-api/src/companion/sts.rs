//! STS: who somebody is, and being somebody else.

use coldframe_core::AccountId;
use coldframe_core::identity::role_name;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Form, Problem};
use crate::Service;
use crate::access::policy::{Decision, Request, Who, decide};
use crate::access::{Authentication, now, temporary};

/// `DurationSeconds`. AWS: "AssumeRole".
const DURATION_S: std::ops::RangeInclusive<u64> = 900..=43_200;
const DURATION_S_DEFAULT: u64 = 3600;

impl Service {
    /// `None`: an operation that isn't there.
    pub(super) fn sts(&self, action: &str, form: &Form) -> Result<Option<Value>, Problem> {
        match action {
            "GetCallerIdentity" => Ok(Some(json!({
                "UserId": form.caller.identity.user_id(),
                "Account": form.caller.account.as_str(),
                "Arn": form.caller.identity.to_string(),
            }))),
            "AssumeRole" => self.assume_role(form).map(Some),
            _ => Ok(None),
        }
    }

    fn assume_role(&self, form: &Form) -> Result<Value, Problem> {
        let (arn, session) = (form.need("RoleArn")?, form.need("RoleSessionName")?);
        let account =
            account_of_role(arn).ok_or_else(|| Problem::invalid(format!("{arn} is invalid")))?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,.@-".contains(&byte);
        if !(2..=64).contains(&session.len()) || !session.bytes().all(is_name) {
            return Err(Problem::invalid(format!(
                "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"
            )));
        }
        let duration = match form.get("DurationSeconds") {
            None => DURATION_S_DEFAULT,
            Some(text) => {
                let seconds = text.parse().ok().filter(|seconds| DURATION_S.contains(seconds));
                seconds.ok_or_else(|| {
                    Problem::invalid(format!(
                        "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200"
                    ))
                })?
            }
        };
        let role = role_name(arn);
        self.check_trust(form, arn, &account, role)?;
        let expires = now() + duration;
        let random = Uuid::new_v4().into_bytes();
        let secret = self.store.session_secret();
        let issued = temporary::issue(secret, &account, role, session, expires, &random);
        let expiration = jiff::Timestamp::from_second(i64::try_from(expires).unwrap_or_default());
        let expiration = expiration.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Ok(json!({
            "Credentials": {
                "AccessKeyId": issued.access_key,
                "SecretAccessKey": issued.secret_key,
                "SessionToken": issued.session_token,
                "Expiration": expiration,
            },
            "AssumedRoleUser": {
                "AssumedRoleId": issued.identity.user_id(),
                "Arn": issued.identity.to_string(),
            },
        }))
    }

    /// Whether the role trusts the caller. Where nobody's signature is checked, every role does.
    fn check_trust(
        &self,
        form: &Form,
        arn: &str,
        account: &AccountId,
        role: &str,
    ) -> Result<(), Problem> {
        if self.access.authentication == Authentication::Open {
            return Ok(());
        }
        let trust = self.store.roles().get(account, role);
        let trust = trust.and_then(|role| serde_json::from_str::<Value>(&role.trust).ok());
        let context = form.get("ExternalId").map(|id| ("sts:ExternalId", id));
        let request = Request {
            who: Who::Identity(&form.caller.identity),
            action: "sts:AssumeRole",
            resource: arn,
            context: context.as_slice(),
        };
        if trust.is_some_and(|trust| decide(&trust, &request) == Decision::Allow) {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                form.caller.identity
            ),
        ))
    }
}

/// The account of `arn:PARTITION:iam::ACCOUNT:role/NAME`.
fn account_of_role(arn: &str) -> Option<AccountId> {
    let mut parts = arn.splitn(6, ':');
    let [Some("arn"), Some(_), Some("iam"), Some(""), Some(account), Some(role)] =
        [parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()]
    else {
        return None;
    };
    let named = role.strip_prefix("role/").is_some_and(|name| !role_name(name).is_empty());
    AccountId::parse(account).filter(|_| named)
}
