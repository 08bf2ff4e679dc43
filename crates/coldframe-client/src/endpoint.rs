//! Where another service is.

use std::fmt;
use std::str::FromStr;

use hyper::http::uri::Authority;

/// `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    secure: bool,
    authority: Authority,
}

/// Not the form of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("an endpoint is http://HOST:PORT or https://HOST:PORT")]
    Form,
    #[error("an address of IPv6 with a zone (%) is not supported")]
    Zone,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match Self::split(text)? {
            (endpoint, "" | "/") => Ok(endpoint),
            _ => Err(EndpointError::Form),
        }
    }
}

impl Endpoint {
    /// The endpoint that a URL begins with, and the path behind it as it is written.
    ///
    /// # Errors
    /// If the URL's scheme or host is none for a client, or it has a user, query or fragment.
    pub fn split(url: &str) -> Result<(Self, &str), EndpointError> {
        let (secure, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://").ok_or(EndpointError::Form)?),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.starts_with('[') && authority.contains('%') {
            return Err(EndpointError::Zone);
        }
        let authority: Authority = authority.parse().map_err(|_| EndpointError::Form)?;
        let port = authority.as_str().strip_prefix(authority.host()).ok_or(EndpointError::Form)?;
        // `host:80@host:80` has a user who is called as the host is.
        let bad = authority.host().is_empty()
            || authority.as_str().contains(['@', '%'])
            || !(port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
            || path.contains(['?', '#']);
        if bad { Err(EndpointError::Form) } else { Ok((Self { secure, authority }, path)) }
    }

    /// By TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// What is connected to.
    pub(crate) fn address(&self) -> (&str, u16) {
        let default = if self.secure { 443 } else { 80 };
        let host = self.authority.host().trim_matches(['[', ']']);
        (host, self.authority.port_u16().unwrap_or(default))
    }

    /// Host and port as they were given: what `Host` says.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }
}

/// As a URL, without a slash behind it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}
