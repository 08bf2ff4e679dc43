//! Who asks, and of which region (service-api.md §9.2, §9.4).

use std::sync::Arc;

use coldframe_core::identity::Identity;
use coldframe_core::{AccountId, FunctionArn};

/// The namespace a request acts in, and who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub region: Arc<str>,
    pub identity: Identity,
    /// Empty if unsigned.
    pub access_key: String,
    /// The service that the signature is for; empty if unsigned.
    pub service: String,
}

impl Caller {
    pub(crate) fn arn(&self, name: &str) -> FunctionArn {
        let Self { account, region, .. } = self.clone();
        FunctionArn { account, region, name: name.into() }
    }
}

/// The text if it could be a region, else the default.
pub(crate) fn region_or(text: &str, default: &Arc<str>) -> Arc<str> {
    let is_region = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_region { text.into() } else { default.clone() }
}
