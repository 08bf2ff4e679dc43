//! Who signs requests, and with what. The arrow from the service API to the engine, pointed down:
//! `api` asks [`Sessions`] for the credentials of environments, `engine` implements it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::AccountId;

/// Somebody in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: AccountId,
    pub principal: Principal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The account itself: who signs with anything, where signatures aren't checked.
    Root,
    User(String),
    /// A role of this name, taken on under the name of a session.
    Role {
        role: String,
        session: String,
    },
}

impl Identity {
    /// The account itself.
    pub fn root(account: AccountId) -> Self {
        Self { account, principal: Principal::Root }
    }

    /// `UserId` of GetCallerIdentity.
    pub fn user_id(&self) -> String {
        match &self.principal {
            Principal::Root => self.account.to_string(),
            Principal::User(name) => unique_id("AIDA", &self.account, name),
            Principal::Role { role, session } => {
                format!("{}:{session}", unique_id("AROA", &self.account, role))
            }
        }
    }
}

/// The ARN, as GetCallerIdentity and refusals show it.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = &self.account;
        match &self.principal {
            Principal::Root => write!(f, "arn:aws:iam::{account}:root"),
            Principal::User(name) => write!(f, "arn:aws:iam::{account}:user/{name}"),
            Principal::Role { role, session } => {
                write!(f, "arn:aws:sts::{account}:assumed-role/{role}/{session}")
            }
        }
    }
}

/// The unique id of a user (`AIDA…`) or role (`AROA…`): 21 characters, always the same for a name.
pub fn unique_id(prefix: &str, account: &AccountId, name: &str) -> String {
    let digest = Sha256::digest(format!("{prefix}/{account}/{name}"));
    format!("{prefix}{}", &base32(&digest)[..17])
}

/// The last part of a role's ARN: its name without its path.
pub fn role_name(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or(arn)
}

/// Temporary credentials, and whose they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub access_key: String,
    pub secret_key: String,
    pub session_token: String,
    pub identity: Identity,
}

impl Session {
    /// Made of randomness that the caller brings.
    pub fn new(identity: Identity, random: [[u8; 16]; 4]) -> Self {
        let [first, second, third, fourth] = random;
        Self {
            access_key: access_key("ASIA", &first),
            secret_key: secret_key(&[second, third]),
            session_token: base64(&Sha256::digest([third, fourth].as_flattened())),
            identity,
        }
    }
}

/// Knows the temporary credentials that are good now.
pub trait Sessions: Send + Sync {
    /// The session that an access key belongs to.
    fn session(&self, access_key: &str) -> Option<Session>;
}

/// An access key's id: `AKIA…` lasts, `ASIA…` is temporary.
pub fn access_key(prefix: &str, random: &[u8; 16]) -> String {
    format!("{prefix}{}", &base32(random)[..16])
}

/// A secret key: 40 characters.
pub fn secret_key(random: &[[u8; 16]; 2]) -> String {
    let mut key = base64(random.as_flattened());
    key.truncate(40);
    key
}

fn base32(bytes: &[u8]) -> String {
    encode(bytes, 5, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

fn base64(bytes: &[u8]) -> String {
    encode(bytes, 6, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}

/// `width` bits a character; bits at the end that don't fill one are left out.
fn encode(bytes: &[u8], width: u32, alphabet: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= width {
            bits -= width;
            let index = held >> bits & ((1 << width) - 1);
            text.push(char::from(alphabet[index as usize]));
        }
        held &= (1 << bits) - 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(principal: Principal) -> Identity {
        Identity { account: AccountId::parse("123456789012").unwrap(), principal }
    }

    #[test]
    fn identities_print_as_their_arns() {
        let check = |principal: Principal, arn: &str, user_id: &str| {
            let identity = identity(principal);
            assert_eq!(identity.to_string(), arn);
            assert!(identity.user_id().starts_with(user_id), "{}", identity.user_id());
        };
        check(Principal::Root, "arn:aws:iam::123456789012:root", "123456789012");
        check(Principal::User("ann".into()), "arn:aws:iam::123456789012:user/ann", "AIDA");
        let role = Principal::Role { role: "r".into(), session: "f".into() };
        check(role, "arn:aws:sts::123456789012:assumed-role/r/f", "AROA");
    }

    #[test]
    fn unique_ids_are_as_long_as_awss_and_stay() {
        let account = AccountId::default_account();
        let id = unique_id("AROA", &account, "r");
        assert_eq!(id.len(), 21);
        assert_eq!(id, unique_id("AROA", &account, "r"));
        assert_ne!(id, unique_id("AROA", &account, "s"));
    }

    #[test]
    fn roles_are_named_without_their_path() {
        assert_eq!(role_name("arn:aws:iam::123456789012:role/service-role/name"), "name");
        assert_eq!(role_name("arn:aws:iam::123456789012:role/name"), "name");
        assert_eq!(role_name(""), "");
    }

    #[test]
    fn keys_look_like_awss() {
        let session = Session::new(identity(Principal::Root), [[7; 16], [1; 16], [2; 16], [3; 16]]);
        assert_eq!((session.access_key.len(), session.secret_key.len()), (20, 40));
        assert!(session.access_key.starts_with("ASIA"));
        // RFC 4648, §10.
        assert_eq!(base32(b"foobar"), "MZXW6YTBO");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
