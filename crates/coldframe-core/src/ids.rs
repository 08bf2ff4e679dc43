//! Ids, parsed once at the edge. Inside, no `String` is an id.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use uuid::Uuid;

/// One invocation; the same over all retries of an asynchronous one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

/// One execution environment, from its making to its end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentId(Uuid);

/// The text is no UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")]
pub struct ParseIdError;

macro_rules! uuid_id {
    ($name:ident) => {
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                // Only the hyphenated form: it is the one we hand out.
                if text.len() != 36 {
                    return Err(ParseIdError);
                }
                Uuid::parse_str(text).map(Self).map_err(|_| ParseIdError)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
uuid_id!(RequestId);
uuid_id!(EnvironmentId);

impl EnvironmentId {
    /// 32 hex digits, as AWS ends the names of log streams.
    pub fn simple(&self) -> String {
        self.0.simple().to_string()
    }
}

/// Twelve digits that name an account. Environments are never shared between accounts.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The account of callers whose access key is not itself twelve digits.
    pub fn default_account() -> Self {
        static ID: LazyLock<Arc<str>> = LazyLock::new(|| "000000000000".into());
        Self(ID.clone())
    }

    /// The text as an account id, if it is twelve digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The unqualified address of a function: account, region and name.
///
/// Prints as `arn:aws:lambda:REGION:ACCOUNT:function:NAME` (service-api.md §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionArn {
    pub account: AccountId,
    pub region: Arc<str>,
    pub name: Arc<str>,
}

/// The address of a layer, without a version.
///
/// Prints as `arn:aws:lambda:REGION:ACCOUNT:layer:NAME` (service-api.md §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerArn {
    pub account: AccountId,
    pub region: Arc<str>,
    pub name: Arc<str>,
}

/// The partition that AWS keeps a region in.
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

impl LayerArn {
    /// The ARN with `:VERSION` behind it.
    pub fn version(&self, number: u64) -> String {
        format!("{self}:{number}")
    }
}

impl fmt::Display for LayerArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, region, name } = self;
        write!(f, "arn:{}:lambda:{region}:{account}:layer:{name}", partition(region))
    }
}

impl FunctionArn {
    /// The partition that AWS keeps the region in.
    pub fn partition(&self) -> &'static str {
        partition(&self.region)
    }

    /// The ARN with `:QUALIFIER` behind it.
    pub fn qualified(&self, qualifier: &str) -> String {
        format!("{self}:{qualifier}")
    }
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, region, name } = self;
        write!(f, "arn:{}:lambda:{region}:{account}:function:{name}", self.partition())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_hyphenated_uuids_only() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<RequestId>().is_ok(), good, "{text}");
        };
        check("8476a536-e9f4-11e8-9739-2dfe598c3fcd", true);
        check("8476a536e9f411e897392dfe598c3fcd", false);
        check("{476a536-e9f4-11e8-9739-2dfe598c3fcd", false);
        check("", false);
        check("../../../../../../../../../../../..", false);
    }

    #[test]
    fn accounts_are_twelve_digits() {
        assert!(AccountId::parse("123456789012").is_some());
        assert!(AccountId::parse("12345678901").is_none());
        assert!(AccountId::parse("12345678901a").is_none());
    }

    #[test]
    fn arns_print_with_their_partition() {
        let arn = |region: &str| FunctionArn {
            account: AccountId::default_account(),
            region: region.into(),
            name: "f".into(),
        };
        assert_eq!(
            arn("eu-west-1").to_string(),
            "arn:aws:lambda:eu-west-1:000000000000:function:f"
        );
        assert_eq!(
            arn("cn-north-1").qualified("1"),
            "arn:aws-cn:lambda:cn-north-1:000000000000:function:f:1"
        );
    }
}
