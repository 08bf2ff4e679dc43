//! Credentials of AssumeRole and GetSessionToken. Nothing is kept of them: the token tells whose they are and how long,
//! signed by the store's secret, and the secret key is made of the access key by the same secret.
//! So they outlive a restart, and no number of them fills anything.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coldframe_core::AccountId;
use coldframe_core::identity::{Identity, Principal, Session, access_key, secret_key};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Denied;

/// What a token tells.
#[derive(Serialize, Deserialize)]
struct Claims {
    access_key: String,
    account: String,
    /// Empty if it is a user's token.
    role: String,
    session: String,
    /// Whose session it is if it is no role's; the account's own is the empty name's.
    #[serde(default)]
    user: Option<String>,
    /// Seconds since 1970.
    expires: u64,
}

/// Length of the signature in front of a token's claims, bytes.
const MAC_BYTES: usize = 32;

/// Credentials of somebody until then, seconds since 1970.
pub(crate) fn issue(
    secret: &[u8; 32],
    identity: Identity,
    expires: u64,
    random: &[u8; 16],
) -> Session {
    let access_key = access_key("ASIA", random);
    let (role, session, user) = match &identity.principal {
        Principal::Root => ("", "", Some(String::new())),
        Principal::User(user) => ("", "", Some(user.clone())),
        Principal::Role { role, session } => (role.as_str(), session.as_str(), None),
    };
    let claims = Claims {
        access_key: access_key.clone(),
        account: identity.account.to_string(),
        role: role.to_owned(),
        session: session.to_owned(),
        user,
        expires,
    };
    let claims = serde_json::to_vec(&claims).expect("claims are text and a number");
    let mut token = mac(secret, "token", &claims).finalize().into_bytes().to_vec();
    token.extend_from_slice(&claims);
    Session {
        secret_key: derived(secret, &access_key),
        access_key,
        session_token: STANDARD.encode(token),
        identity,
    }
}

/// Secret key and owner of credentials that [`issue`] gave.
pub(crate) fn read(
    secret: &[u8; 32],
    access_key: &str,
    token: &str,
    now: u64,
) -> Result<(String, Identity), Denied> {
    let token = STANDARD.decode(token).map_err(|_| Denied::UnknownKey)?;
    let (signature, claims) = token.split_at_checked(MAC_BYTES).ok_or(Denied::UnknownKey)?;
    mac(secret, "token", claims).verify_slice(signature).map_err(|_| Denied::UnknownKey)?;
    let claims: Claims = serde_json::from_slice(claims).map_err(|_| Denied::UnknownKey)?;
    if claims.access_key != access_key {
        return Err(Denied::UnknownKey);
    }
    if claims.expires < now {
        return Err(Denied::Expired);
    }
    let account = AccountId::parse(&claims.account).ok_or(Denied::UnknownKey)?;
    let principal = match claims.user {
        None => Principal::Role { role: claims.role, session: claims.session },
        Some(user) if user.is_empty() => Principal::Root,
        Some(user) => Principal::User(user),
    };
    Ok((derived(secret, access_key), Identity { account, principal }))
}

fn derived(secret: &[u8; 32], access_key: &str) -> String {
    let bytes: [u8; 32] = mac(secret, "key", access_key.as_bytes()).finalize().into_bytes().into();
    let (halves, _) = bytes.as_chunks::<16>();
    secret_key(&[halves[0], halves[1]])
}

fn mac(secret: &[u8; 32], purpose: &str, bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(bytes);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_accounts_have_sessions_too() {
        let account = AccountId::parse("123456789012").unwrap();
        for principal in [Principal::Root, Principal::User("ann".to_owned())] {
            let identity = Identity { account: account.clone(), principal };
            let issued = issue(&[1; 32], identity.clone(), 1000, &[7; 16]);
            let known = read(&[1; 32], &issued.access_key, &issued.session_token, 1000);
            assert_eq!(known, Ok((issued.secret_key, identity)));
        }
    }

    #[test]
    fn what_was_issued_is_known_until_it_expires() {
        let account = AccountId::parse("123456789012").unwrap();
        let principal = Principal::Role { role: "r".to_owned(), session: "s".to_owned() };
        let role = Identity { account: account.clone(), principal };
        let session = issue(&[1; 32], role, 1000, &[7; 16]);
        let read = |secret: u8, key: &str, token: &str, now| {
            read(&[secret; 32], key, token, now).map(|(secret, identity)| {
                assert_eq!(secret, session.secret_key);
                identity.to_string()
            })
        };
        let (key, token) = (session.access_key.as_str(), session.session_token.as_str());
        let arn = "arn:aws:sts::123456789012:assumed-role/r/s".to_owned();
        assert_eq!(session.secret_key.len(), 40);
        assert_eq!(read(1, key, token, 1000), Ok(arn));
        assert_eq!(read(1, key, token, 1001), Err(Denied::Expired));
        assert_eq!(read(2, key, token, 1000), Err(Denied::UnknownKey));
        assert_eq!(read(1, "ASIAOTHER", token, 1000), Err(Denied::UnknownKey));
        let mut forged = STANDARD.decode(token).unwrap();
        let at = forged.len() - 5;
        forged[at] ^= 1;
        assert_eq!(read(1, key, &STANDARD.encode(forged), 1000), Err(Denied::UnknownKey));
        for token in ["", "x", "AAAA"] {
            assert_eq!(read(1, key, token, 1000), Err(Denied::UnknownKey));
        }
    }
}
