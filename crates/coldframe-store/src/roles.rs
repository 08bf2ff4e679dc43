//! Roles and policies of IAM, as far as deployment tools make them.

use std::collections::BTreeMap;
use std::sync::Arc;

use coldframe_core::AccountId;
use serde::{Deserialize, Serialize};

use crate::document::{Single, Table};
use crate::{Error, Store};

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleRecord {
    /// Begins and ends with a slash.
    pub path: String,
    /// `AssumeRolePolicyDocument`, JSON text as it was given.
    pub trust: String,
    pub description: String,
    pub max_session_s: u64,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
    pub tags: BTreeMap<String, String>,
    /// Managed policies by ARN, with their names.
    pub attached: BTreeMap<String, String>,
    /// Policies of its own by name, JSON text as it was given.
    pub inline: BTreeMap<String, String>,
}

/// A managed policy; it has one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRecord {
    /// Begins and ends with a slash.
    pub path: String,
    /// JSON text as it was given.
    pub document: String,
    pub description: String,
    /// `YYYY-MM-DDThh:mm:ssZ`
    pub created: String,
    pub tags: BTreeMap<String, String>,
}

impl Single for RoleRecord {
    const NAME: &'static str = "role";
    type Id = (AccountId, String);
}

impl Single for PolicyRecord {
    const NAME: &'static str = "policy";
    type Id = (AccountId, String);
}

impl Store {
    /// The role of this name.
    pub fn role(&self, account: &AccountId, name: &str) -> Option<Arc<RoleRecord>> {
        self.memory.roles.get(&(account.clone(), name.to_owned()))
    }

    /// Every role of the account, in order of name.
    pub fn roles(&self, account: &AccountId) -> Vec<(String, Arc<RoleRecord>)> {
        of_account(&self.memory.roles, account)
    }

    /// Lets `decide` make, change or delete a role; what it agrees to is on the disk, then seen.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change_role<T, E: From<Error>>(
        &self,
        account: &AccountId,
        name: &str,
        decide: impl FnOnce(&mut Option<RoleRecord>) -> Result<T, E>,
    ) -> Result<T, E> {
        let key = (account.clone(), name.to_owned());
        self.change_document(|memory| &memory.roles, &key, decide)
    }

    /// The managed policy of this name.
    pub fn policy(&self, account: &AccountId, name: &str) -> Option<Arc<PolicyRecord>> {
        self.memory.policies.get(&(account.clone(), name.to_owned()))
    }

    /// Every managed policy of the account, in order of name.
    pub fn policies(&self, account: &AccountId) -> Vec<(String, Arc<PolicyRecord>)> {
        of_account(&self.memory.policies, account)
    }

    /// Lets `decide` make, change or delete a managed policy; what it agrees to is on the disk, then seen.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change_policy<T, E: From<Error>>(
        &self,
        account: &AccountId,
        name: &str,
        decide: impl FnOnce(&mut Option<PolicyRecord>) -> Result<T, E>,
    ) -> Result<T, E> {
        let key = (account.clone(), name.to_owned());
        self.change_document(|memory| &memory.policies, &key, decide)
    }
}

fn of_account<R: Single<Id = (AccountId, String)>>(
    table: &Table<R>,
    account: &AccountId,
) -> Vec<(String, Arc<R>)> {
    let begin = (account.clone(), String::new());
    let found = table.range(begin.., |(of, _)| of == account, usize::MAX);
    found.into_iter().map(|((_, name), record)| (name, record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::at_both;

    #[test]
    fn changes_are_there_after_opening_again() {
        at_both(|open| {
            let store = open();
            let (one, other) =
                (AccountId::default_account(), AccountId::parse("123456789012").unwrap());
            let set = |account: &AccountId, name: &str, role: Option<RoleRecord>| {
                let changed = store.change_role(account, name, |record| {
                    *record = role;
                    Ok::<_, Error>(())
                });
                changed.unwrap();
            };
            let role = RoleRecord { trust: "{}".into(), ..RoleRecord::default() };
            set(&one, "a", Some(role.clone()));
            set(&one, "b", Some(role.clone()));
            set(&one, "b", None);
            set(&other, "a", Some(role.clone()));
            let refused = store.change_role(&one, "a", |record| {
                *record = None;
                Err::<(), _>(Error::Closed)
            });
            assert!(refused.is_err());
            for store in [&store, &open()] {
                assert_eq!(store.role(&one, "a").as_deref(), Some(&role));
                let names: Vec<String> =
                    store.roles(&one).into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["a"]);
                assert!(store.policies(&one).is_empty());
            }
        });
    }
}
