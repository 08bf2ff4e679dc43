//! The short way through `Invoke`, for the requests that nearly all are: a bare name, no qualifier,
//! nothing in the head that only few have. It answers what the long way would and touches less memory:
//! after a pause, with nothing in the caches, that is what a call waits for.

use std::sync::Arc;

use bytes::Bytes;
use coldframe_core::RequestId;
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use hyper::Method;
use hyper::http::request::Parts;

use super::{Asks, Kind};
use crate::function::Named;
use crate::recursion::is_link;
use crate::{Error, ReadError, Reply, Service};

/// Functions have no longer names; who asks for one is told so on the long way.
const NAME_CHARACTERS_MAX: usize = 64;

/// A head as nearly all are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plain<'a> {
    name: &'a str,
    kind: Kind,
    trace: Option<&'a str>,
    wants_log_tail: bool,
    is_signed: bool,
}

impl<'a> Plain<'a> {
    /// `None` for all that must go the long way, broken requests among them.
    pub(crate) fn of(parts: &'a Parts) -> Option<Self> {
        let name = parts.uri.path().strip_prefix("/2015-03-31/functions/")?;
        let name = name.strip_suffix("/invocations")?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=NAME_CHARACTERS_MAX).contains(&name.len()) && name.bytes().all(is_word);
        if !fits || parts.method != Method::POST || parts.uri.query().is_some() {
            return None;
        }
        let (mut kind, mut log_type, mut trace, mut is_signed) = (None, None, None, false);
        for (key, value) in &parts.headers {
            match key.as_str() {
                "x-amz-invocation-type" if kind.is_none() => {
                    kind = Some(match value.as_bytes() {
                        b"RequestResponse" => Kind::RequestResponse,
                        b"Event" => Kind::Event,
                        b"DryRun" => Kind::DryRun,
                        _ => return None,
                    });
                }
                "x-amz-log-type" if log_type.is_none() => {
                    log_type = Some(match value.as_bytes() {
                        b"None" => false,
                        b"Tail" => true,
                        _ => return None,
                    });
                }
                "x-amzn-trace-id" if trace.is_none() => trace = Some(value.to_str().ok()?),
                "authorization" => is_signed = true,
                "x-amz-date"
                | "x-amz-content-sha256"
                | "x-amz-security-token"
                | "x-amz-user-agent" => {}
                "content-encoding" => return None,
                other if other.starts_with("x-amz") => return None,
                _ => {}
            }
        }
        let kind = kind.unwrap_or(Kind::RequestResponse);
        Some(Self { name, kind, trace, wants_log_tail: log_type.unwrap_or(false), is_signed })
    }
}

impl Service {
    /// What [`Service::answer`] does of a plain invocation: the same steps in the same order.
    pub(crate) async fn invoke_plain(
        self: &Arc<Self>,
        plain: Plain<'_>,
        parts: &Parts,
        body: impl Future<Output = Result<Bytes, ReadError>>,
        request_id: RequestId,
    ) -> Result<Reply, Error> {
        let admitted = match self.access.anybody() {
            Some(anybody) if !plain.is_signed => anybody,
            _ => self.access.admit(&self.store, parts)?,
        };
        admitted.check_service("lambda")?;
        let body = body.await.map_err(|error| error.of("Invoke", REQUEST_PAYLOAD_BYTES_MAX))?;
        let caller = admitted.verify(parts, &body).await?;
        let named = Named { arn: caller.arn(plain.name), qualifier: None };
        self.decide(&caller, "Invoke", &named, true)?;
        let asks = Asks {
            request_id,
            payload: body,
            trace: plain.trace,
            is_link: is_link(&caller),
            client_context: None,
            cognito_identity: None,
            tenant_id: None,
            wants_log_tail: plain.wants_log_tail,
        };
        self.carry_out(self.ask(named, asks)?, plain.kind).await
    }
}

#[cfg(test)]
mod tests;
