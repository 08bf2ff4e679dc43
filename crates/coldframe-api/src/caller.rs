//! Who asks, and of which region (service-api.md §9.2, §9.4): read from the signature's scope.
//! Signatures themselves are not checked.

use std::sync::Arc;

use coldframe_core::{AccountId, FunctionArn};
use hyper::HeaderMap;

/// The namespace a request acts in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub account: AccountId,
    pub region: Arc<str>,
}

impl Caller {
    /// From `Authorization` or the presigned query; unsigned requests act in the default account.
    pub fn of(headers: &HeaderMap, query: &str, default_region: &Arc<str>) -> Self {
        let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
        let credential = authorization
            .and_then(|text| text.split_once("Credential="))
            .map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default().to_owned())
            .or_else(|| presigned(query));
        let credential = credential.unwrap_or_default();
        let mut scope = credential.split('/');
        let account = scope.next().and_then(AccountId::parse);
        let region = scope.nth(1).filter(|region| is_region(region));
        Self {
            account: account.unwrap_or_else(AccountId::default_account),
            region: region.map_or_else(|| default_region.clone(), Arc::from),
        }
    }

    pub(crate) fn arn(&self, name: &str) -> FunctionArn {
        let Self { account, region } = self.clone();
        FunctionArn { account, region, name: name.into() }
    }
}

fn presigned(query: &str) -> Option<String> {
    let pairs = crate::model::query_pairs(query).ok()?;
    pairs.into_iter().find(|(key, _)| key == "X-Amz-Credential").map(|(_, value)| value)
}

fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: &str, query: &str, account: &str, region: &str) {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            headers.insert("authorization", authorization.parse().unwrap());
        }
        let caller = Caller::of(&headers, query, &"us-east-1".into());
        assert_eq!(
            (caller.account.as_str(), &*caller.region),
            (account, region),
            "{authorization}"
        );
    }

    #[test]
    fn account_and_region_come_from_the_scope() {
        let signed = |key: &str, region: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential={key}/20261121/{region}/lambda/aws4_request, SignedHeaders=host, Signature=00"
            )
        };
        check(&signed("AKIAEXAMPLE", "eu-west-1"), "", "000000000000", "eu-west-1");
        check(&signed("123456789012", "eu-west-1"), "", "123456789012", "eu-west-1");
        check(&signed("AKIA", "../../etc"), "", "000000000000", "us-east-1");
        check(
            "",
            "X-Amz-Credential=123456789012%2F20261121%2Feu-north-1%2Flambda%2Faws4_request",
            "123456789012",
            "eu-north-1",
        );
        check("Bearer x", "", "000000000000", "us-east-1");
        check("", "", "000000000000", "us-east-1");
    }
}
