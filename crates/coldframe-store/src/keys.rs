//! Accounts, and the access keys their users sign with.

use std::sync::Arc;

use coldframe_core::AccountId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::document::Single;
use crate::{Error, Store};

/// An account that was asked for. The default account is there without a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    pub name: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
}

/// An access key. The secret lies here as it is: signatures can't be checked by less.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub account: String,
    pub user: String,
    pub secret_key: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
}

/// What only this service and its like know, hex.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Single for AccountRecord {
    const NAME: &'static str = "account";
    type Id = AccountId;
}

impl Single for KeyRecord {
    const NAME: &'static str = "access_key";
    type Id = String;
}

impl Single for Secret {
    const NAME: &'static str = "secret";
    type Id = String;
}

impl Secret {
    fn new() -> Self {
        let halves = [Uuid::new_v4(), Uuid::new_v4()];
        Self(halves.map(|half| half.simple().to_string()).concat())
    }

    fn bytes(&self) -> Option<[u8; 32]> {
        let number = |half: &str| u128::from_str_radix(half, 16).ok().map(u128::to_be_bytes);
        let (first, second) = self.0.split_at_checked(32)?;
        [number(first)?, number(second)?].as_flattened().try_into().ok()
    }
}

/// What temporary credentials are signed with; made when it is first wanted.
pub(crate) fn session_secret(store: &Store) -> Result<[u8; 32], Error> {
    let name = "session".to_owned();
    let known_or_made = || {
        store.change_document(
            |memory| &memory.secrets,
            &name,
            |secret| secret.get_or_insert_with(Secret::new).bytes().ok_or(Error::Secret),
        )
    };
    match known_or_made() {
        // Another store of a new back end was faster: then it is known.
        Err(Error::Changed { .. }) => known_or_made(),
        made => made,
    }
}

impl Store {
    /// Adds an account; `false` if there is one of that number. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn create_account(&self, id: &AccountId, record: AccountRecord) -> Result<bool, Error> {
        let is_default = *id == AccountId::default_account();
        self.change_document(
            |memory| &memory.accounts,
            id,
            |account| {
                let is_new = account.is_none() && !is_default;
                if is_new {
                    *account = Some(record);
                }
                Ok(is_new)
            },
        )
    }

    /// Whether there is such an account.
    pub fn has_account(&self, id: &AccountId) -> bool {
        *id == AccountId::default_account() || self.memory.accounts.get(id).is_some()
    }

    /// Every account that was asked for.
    pub fn accounts(&self) -> Vec<(AccountId, Arc<AccountRecord>)> {
        self.memory.accounts.all()
    }

    /// Adds an access key. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails, or there is such a key.
    pub fn create_key(&self, id: &str, record: KeyRecord) -> Result<(), Error> {
        self.change_document(
            |memory| &memory.keys,
            &id.to_owned(),
            |key| match key.replace(record) {
                None => Ok(()),
                Some(_) => Err(Error::Changed { what: format!("access key {id}") }),
            },
        )
    }

    /// An access key that hasn't been revoked.
    pub fn key(&self, id: &str) -> Option<Arc<KeyRecord>> {
        self.memory.keys.get(id)
    }

    /// Every access key.
    pub fn keys(&self) -> Vec<(String, Arc<KeyRecord>)> {
        self.memory.keys.all()
    }

    /// From now on nobody signs with this key; `false` if there is none. Blocks for the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn revoke_key(&self, id: &str) -> Result<bool, Error> {
        let revoke = |key: &mut Option<KeyRecord>| Ok(key.take().is_some());
        self.change_document(|memory| &memory.keys, &id.to_owned(), revoke)
    }

    /// What temporary credentials are signed with, 32 bytes.
    pub fn session_secret(&self) -> &[u8; 32] {
        &self.session_secret
    }
}

#[cfg(test)]
mod tests;
