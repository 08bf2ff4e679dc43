//! STS: who somebody is, and being somebody else.

use std::ops::RangeInclusive;

use coldframe_core::AccountId;
use coldframe_core::identity::{Identity, Principal, Session, role_name};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Form, Problem};
use crate::Service;
use crate::access::policy::{Decision, Request, Who, decide};
use crate::access::{Authentication, now, temporary};

/// `DurationSeconds`. AWS: "AssumeRole".
const DURATION_S: RangeInclusive<u64> = 900..=43_200;
const DURATION_S_DEFAULT: u64 = 3600;

/// `DurationSeconds`. AWS: "GetSessionToken"; the account itself gets an hour at most.
const SESSION_S: RangeInclusive<u64> = 900..=129_600;
const SESSION_S_DEFAULT: u64 = 43_200;
const ROOT_SESSION_S_MAX: u64 = 3600;

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
            "GetSessionToken" => self.get_session_token(form).map(Some),
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
        let duration = duration(form, &DURATION_S, DURATION_S_DEFAULT)?;
        let role = role_name(arn);
        self.check_trust(form, arn, &account, role)?;
        let principal = Principal::Role { role: role.to_owned(), session: session.to_owned() };
        let (issued, credentials) = self.issue(Identity { account, principal }, duration);
        Ok(json!({
            "Credentials": credentials,
            "AssumedRoleUser": {
                "AssumedRoleId": issued.identity.user_id(),
                "Arn": issued.identity.to_string(),
            },
        }))
    }

    /// Temporary credentials of the caller's own. A device that would be asked for a code is nobody's
    /// here: `SerialNumber` and `TokenCode` are not looked at.
    fn get_session_token(&self, form: &Form) -> Result<Value, Problem> {
        let identity = form.caller.identity.clone();
        let duration = match &identity.principal {
            _ if form.caller.access_key.starts_with("ASIA") => {
                let text = "Cannot call GetSessionToken with session credentials";
                return Err(Problem::new(403, "AccessDenied", text));
            }
            Principal::User(_) => duration(form, &SESSION_S, SESSION_S_DEFAULT)?,
            Principal::Root | Principal::Role { .. } => {
                duration(form, &SESSION_S, ROOT_SESSION_S_MAX)?.min(ROOT_SESSION_S_MAX)
            }
        };
        let (_, credentials) = self.issue(identity, duration);
        Ok(json!({ "Credentials": credentials }))
    }

    /// New credentials, and as answers show them.
    fn issue(&self, identity: Identity, duration_s: u64) -> (Session, Value) {
        let expires = now() + duration_s;
        let random = Uuid::new_v4().into_bytes();
        let issued = temporary::issue(self.store.session_secret(), identity, expires, &random);
        let expiration = jiff::Timestamp::from_second(i64::try_from(expires).unwrap_or_default());
        let expiration = expiration.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let shown = json!({
            "AccessKeyId": issued.access_key,
            "SecretAccessKey": issued.secret_key,
            "SessionToken": issued.session_token,
            "Expiration": expiration,
        });
        (issued, shown)
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
        let trust = self.store.role(account, role);
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

/// `DurationSeconds`
fn duration(form: &Form, range: &RangeInclusive<u64>, default: u64) -> Result<u64, Problem> {
    let Some(text) = form.get("DurationSeconds") else { return Ok(default) };
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    seconds.ok_or_else(|| {
        Problem::invalid(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must have value between {} and {}",
            range.start(),
            range.end()
        ))
    })
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
