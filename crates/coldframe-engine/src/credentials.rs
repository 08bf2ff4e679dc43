//! Credentials of environments: each has its own, good while it lives.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use coldframe_core::FunctionVersion;
use coldframe_core::identity::{Identity, Principal, Session, role_name};
use uuid::Uuid;

/// Gives credentials out and knows those that are good.
#[derive(Default)]
pub(crate) struct Issuer {
    living: RwLock<HashMap<String, Session>>,
}

impl Issuer {
    /// Credentials of the function's role. The session is named after the function, as on AWS.
    pub(crate) fn issue(self: &Arc<Self>, function: &FunctionVersion) -> Issued {
        let principal = Principal::Role {
            role: role_name(&function.role).to_owned(),
            session: function.arn.name.to_string(),
        };
        // Whatever account the role's ARN names: a function acts in its own.
        let identity = Identity { account: function.account().clone(), principal };
        let random = [(); 4].map(|()| Uuid::new_v4().into_bytes());
        let session = Session::new(identity, random);
        let mut living = self.living.write().unwrap_or_else(PoisonError::into_inner);
        living.insert(session.access_key.clone(), session.clone());
        Issued { session, issuer: self.clone() }
    }

    pub(crate) fn session(&self, access_key: &str) -> Option<Session> {
        self.living.read().unwrap_or_else(PoisonError::into_inner).get(access_key).cloned()
    }
}

/// Credentials in use; dropped, nobody can sign with them any more.
pub(crate) struct Issued {
    session: Session,
    issuer: Arc<Issuer>,
}

impl Issued {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Issued {
    fn drop(&mut self) {
        let mut living = self.issuer.living.write().unwrap_or_else(PoisonError::into_inner);
        living.remove(&self.session.access_key);
    }
}
