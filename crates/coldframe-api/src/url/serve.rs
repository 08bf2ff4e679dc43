//! One request of a function URL, from the wire to the function and back.

use std::sync::Arc;

use coldframe_core::invoke::Invocation;
use coldframe_core::limits::REQUEST_PAYLOAD_BYTES_MAX;
use coldframe_core::{FunctionArn, RequestId};
use coldframe_store::{Function, UrlRecord};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::event::{Origin, event};
use super::{Place, UrlServed, arn_of, cors, exists, response};
use crate::access::Authentication;
use crate::access::policy::{self, Decision, Who};
use crate::function::Named;
use crate::invoke::{new_trace, refused};
use crate::{Caller, Peer, ReadError, Reply, Service, read, set};

/// AWS's words for everybody who isn't let in (§6.5).
const FORBIDDEN: &str = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html";

/// A URL that is there, and its function.
struct Found {
    arn: FunctionArn,
    function: Arc<Function>,
    key: String,
    url: UrlRecord,
}

impl Service {
    /// Answers one request of a function URL. Never fails: what goes wrong is an answer.
    pub async fn serve_url(self: &Arc<Self>, place: Place, request: Request<Incoming>) -> Reply {
        let request_id = RequestId::from(Uuid::new_v4());
        let (parts, body) = request.into_parts();
        let trace = parts.headers.get("x-amzn-trace-id").and_then(|trace| trace.to_str().ok());
        let trace = trace.map_or_else(new_trace, str::to_owned);
        let mut reply = match self.find_url(&place.id) {
            None => denied(&Value::Null),
            Some(found) => {
                let cors = found.url.cors.clone();
                let alias = (!found.key.is_empty()).then(|| found.key.clone());
                let served = UrlServed { function: found.arn.clone(), alias };
                let mut reply = match cors::preflight(cors.as_ref(), &parts.method, &parts.headers)
                {
                    Some(reply) => reply,
                    None => {
                        let served = self.run_url(found, &place, &parts, body, &trace, request_id);
                        served.await.unwrap_or_else(|refused| refused)
                    }
                };
                cors::apply(cors.as_ref(), &parts.headers, reply.headers_mut());
                reply.extensions_mut().insert(served);
                reply
            }
        };
        set(reply.headers_mut(), "x-amzn-requestid", &request_id.to_string());
        set(reply.headers_mut(), "x-amzn-trace-id", &trace);
        reply
    }

    fn find_url(&self, id: &str) -> Option<Found> {
        let arn = self.urls.function(id)?;
        let function = self.store.function(&arn)?;
        let (key, url) = function.settings.urls.iter().find(|(_, url)| url.id == id)?;
        let (key, url) = (key.clone(), url.clone());
        Some(Found { arn, function, key, url })
    }

    /// `Err` is an answer, too: one that the function has no part in.
    async fn run_url(
        self: &Arc<Self>,
        found: Found,
        place: &Place,
        parts: &Parts,
        body: Incoming,
        trace: &str,
        request_id: RequestId,
    ) -> Result<Reply, Reply> {
        let forbidden = || denied(&json!(FORBIDDEN));
        let Found { arn, function, key, url } = found;
        if !exists(&function, &key) {
            return Err(forbidden());
        }
        let is_iam = url.auth_type == "AWS_IAM";
        let admitted = if is_iam {
            let admitted = self.access.admit(&self.store, parts).map_err(|_| forbidden())?;
            // An unsigned request is nobody's, whether signatures are checked or not.
            let is_for = admitted.is_signed() && admitted.check_service("lambda").is_ok();
            Some(admitted).filter(|_| is_for).ok_or_else(forbidden).map(Some)?
        } else {
            None
        };
        let body = read(body, REQUEST_PAYLOAD_BYTES_MAX).await.map_err(|error| match error {
            ReadError::TooLarge => too_large(),
            ReadError::Cut | ReadError::NoGzip => response::bad_gateway(),
        })?;
        let caller = match admitted {
            Some(admitted) => Some(admitted.verify(parts, &body).await.map_err(|_| forbidden())?),
            None => None,
        };
        let statements = if key.is_empty() {
            &function.latest.policy
        } else {
            function.aliases.get(&key).map_or(&function.latest.policy, |alias| &alias.policy)
        };
        let invoked_arn = arn_of(&arn, &key);
        if !self.may_use(&invoked_arn, &arn, &url.auth_type, statements, caller.as_ref()) {
            return Err(forbidden());
        }
        let host = self.url_host(&arn, &url.id);
        let (domain, port) = host.rsplit_once(':').unwrap_or((&host, "80"));
        let event = event(
            parts,
            &body,
            &Origin {
                id: &url.id,
                path: &place.path,
                domain,
                port,
                peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
                trace,
                request_id,
                caller: caller.as_ref(),
                at: jiff::Timestamp::now(),
            },
        );
        let payload = event.to_string();
        if payload.len() > REQUEST_PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let qualifier = (!key.is_empty()).then_some(key);
        let named = Named { arn, qualifier };
        let function = self.to_run(&named).map_err(|_| response::bad_gateway())?;
        if function.tenant_isolation {
            return Err(response::bad_gateway());
        }
        let invocation = Invocation {
            request_id,
            function,
            invoked_arn,
            payload: payload.into(),
            client_context: None,
            cognito_identity: None,
            trace_header: Some(trace.to_owned()),
            wants_log_tail: false,
            // URLs tell no tenant.
            tenant_id: None,
        };
        // A caller that goes away drops this future, and the function goes on.
        let refused = |refusal| refused(refusal).reply();
        if url.invoke_mode.as_deref() == Some("RESPONSE_STREAM") {
            let answer = self.invoker.invoke_with_response_stream(invocation).await;
            return Ok(response::streamed(answer.map_err(refused)?).await);
        }
        let answer = self.invoker.invoke(invocation).await.map_err(refused)?;
        Ok(response::response(&answer))
    }

    /// Whether policies let the caller in (§6.6). Two actions are needed, as on AWS.
    fn may_use(
        &self,
        invoked_arn: &str,
        arn: &FunctionArn,
        auth_type: &str,
        statements: &[String],
        caller: Option<&Caller>,
    ) -> bool {
        let statements: Vec<Value> =
            statements.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        let policy = json!({ "Statement": statements });
        let who = caller.map_or(Who::Anonymous, |caller| Who::Identity(&caller.identity));
        let decisions = [
            ("lambda:InvokeFunctionUrl", ("lambda:FunctionUrlAuthType", auth_type)),
            ("lambda:InvokeFunction", ("lambda:InvokedViaFunctionUrl", "true")),
        ]
        .map(|(action, context)| {
            let context = [context];
            let request = policy::Request { who, action, resource: invoked_arn, context: &context };
            policy::decide(&policy, &request)
        });
        if decisions.contains(&Decision::Deny) {
            return false;
        }
        let is_trusted = match caller {
            // A key may do everything in its own account.
            Some(caller) => caller.account == arn.account,
            // Where nobody signs, a URL that asks for nothing needs no policy that says so.
            None => self.access.authentication == Authentication::Open,
        };
        is_trusted || decisions == [Decision::Allow; 2]
    }
}

fn denied(message: &Value) -> Reply {
    let mut reply = crate::json(StatusCode::FORBIDDEN, &json!({ "Message": message }));
    set(reply.headers_mut(), "x-amzn-errortype", "AccessDeniedException");
    reply
}

fn too_large() -> Reply {
    let mut reply = crate::json(
        StatusCode::PAYLOAD_TOO_LARGE,
        &json!({ "Message": "Request Entity Too Large" }),
    );
    set(reply.headers_mut(), "x-amzn-errortype", "RequestEntityTooLargeException");
    reply
}
