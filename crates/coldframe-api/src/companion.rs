//! What deployment tools call besides Lambda, at the same endpoint (service-api.md §11): STS, and the
//! little of IAM that makes roles. Both speak AWS's query protocol: a form in, XML out.

pub(crate) mod absent;
mod iam;
mod sts;
mod xml;

use std::sync::Arc;

use coldframe_core::RequestId;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use crate::{Caller, Error, ReadError, Reply, Service, model, read, set, whole};

/// A form, bytes: policies of a role are 10,240 characters at most, and their encoding thrice that.
const FORM_BYTES_MAX: usize = 256 * 1024;

/// Whether the request is of the query protocol. Lambda has no operation at the root.
pub(crate) fn is_query<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    if uri.path() != "/" {
        return false;
    }
    let kind = request.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let is_form = kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let asks =
        || uri.query().unwrap_or_default().split('&').any(|pair| pair.starts_with("Action="));
    is_form && request.method() == Method::POST || asks()
}

/// Which service a form is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Companion {
    Sts,
    Iam,
}

impl Companion {
    /// By the version of its API, which every form names.
    fn of(version: &str) -> Option<Self> {
        match version {
            "2011-06-15" => Some(Self::Sts),
            "2010-05-08" => Some(Self::Iam),
            _ => None,
        }
    }

    fn signing_name(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Iam => "iam",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        }
    }
}

/// One request of an operation.
struct Form {
    caller: Caller,
    parameters: Vec<(String, String)>,
}

impl Form {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let mut member = name.to_owned();
            member[..1].make_ascii_lowercase();
            Problem::invalid(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// `NAME.member.1.Key` and so on, in order.
    fn members(&self, name: &str, of: &str) -> Vec<&str> {
        let of = if of.is_empty() { String::new() } else { format!(".{of}") };
        (1..).map_while(|index| self.get(&format!("{name}.member.{index}{of}"))).collect()
    }
}

/// An answer that isn't what the caller hoped for.
struct Problem {
    status: u16,
    code: &'static str,
    message: String,
}

impl Problem {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }
}

impl From<crate::Denied> for Problem {
    fn from(denied: crate::Denied) -> Self {
        Self::new(403, denied.codes().1, denied.to_string())
    }
}

impl From<coldframe_store::Error> for Problem {
    fn from(error: coldframe_store::Error) -> Self {
        // Its cause is told to the operator.
        Error::service(&error);
        Self::new(500, "InternalFailure", "An internal error occurred.")
    }
}

impl Service {
    pub(crate) async fn companion(
        self: &Arc<Self>,
        request: Request<Incoming>,
        request_id: RequestId,
    ) -> Reply {
        let (parts, body) = request.into_parts();
        let mut namespace = Companion::Sts.namespace();
        let (status, text) = match self.query(&parts, body, &mut namespace).await {
            Ok((action, result)) => {
                (StatusCode::OK, xml::answer(namespace, &action, &result, request_id))
            }
            Err(problem) => {
                let Problem { status, code, message } = problem;
                let status = StatusCode::from_u16(status);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, xml::problem(namespace, status, code, &message, request_id))
            }
        };
        let mut reply = Reply::new(whole(text));
        *reply.status_mut() = status;
        set(reply.headers_mut(), "content-type", "text/xml");
        set(reply.headers_mut(), "x-amzn-requestid", &request_id.to_string());
        reply
    }

    /// The operation's name and its result.
    async fn query(
        self: &Arc<Self>,
        parts: &Parts,
        body: Incoming,
        namespace: &mut &'static str,
    ) -> Result<(String, Value), Problem> {
        let admitted = self.access.admit(&self.store, parts)?;
        let body = read(body, FORM_BYTES_MAX).await.map_err(|error| match error {
            ReadError::TooLarge => {
                Problem::new(413, "RequestEntityTooLarge", "The form is too large")
            }
            ReadError::Cut | ReadError::NoGzip => Problem::invalid("the form ended early"),
        })?;
        let form = match (parts.method == Method::POST, std::str::from_utf8(&body)) {
            (true, Ok(form)) => form,
            (true, Err(_)) => return Err(Problem::invalid("the form is not UTF-8")),
            (false, _) => parts.uri.query().unwrap_or_default(),
        };
        let parameters = model::query_pairs(form)
            .map_err(|_| Problem::invalid("the form is not percent-encoded UTF-8"))?;
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let (action, version) = (get("Action").to_owned(), get("Version").to_owned());
        let unsupported = |what: String| {
            Problem::new(501, "NotImplemented", format!("{what} is not supported by this server"))
        };
        let companion = Companion::of(&version)
            .ok_or_else(|| unsupported(format!("{action} of version {version}")))?;
        *namespace = companion.namespace();
        admitted.check_service(companion.signing_name())?;
        let caller = admitted.verify(parts, &body).await?;
        let form = Form { caller, parameters };
        let (service, name) = (self.clone(), action.clone());
        // They wait for the disk, and a change goes to its end if the caller hangs up.
        let answered = tokio::task::spawn_blocking(move || match companion {
            Companion::Sts => service.sts(&name, &form),
            Companion::Iam => service.iam(&name, &form),
        });
        let answered = answered.await.unwrap_or_else(|error| {
            Error::service(&error);
            Err(Problem::new(500, "InternalFailure", "An internal error occurred."))
        });
        match answered? {
            Some(result) => Ok((action, result)),
            None => Err(unsupported(action)),
        }
    }
}

#[cfg(test)]
mod tests;
