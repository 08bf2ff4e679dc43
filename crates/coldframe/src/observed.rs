//! What no environment could tell: the engine as the service API sees it, with its refusals, and
//! the answers of function URLs.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use coldframe_api::UrlServed;
use coldframe_core::invoke::{
    Answer, ConcurrencyPlan, Invocation, Invoker, ProvisionedState, Refusal, StreamedAnswer,
};
use coldframe_core::observe::{Measured, Metric, Observer};
use coldframe_core::{BoxFuture, FunctionArn, FunctionVersion, Runtime};
use coldframe_engine::Engine;
use coldframe_observe::Observe;
use hyper::Response;

pub(crate) struct Observed {
    pub(crate) engine: Arc<Engine>,
    pub(crate) observe: Observe,
}

/// Measures an answer, if it is a function URL's: its request came then (service-api.md §10.1).
pub(crate) fn url<B>(observe: &Observe, reply: &Response<B>, (at, began): (SystemTime, Instant)) {
    let Some(UrlServed { function, alias }) = reply.extensions().get() else { return };
    let qualifier = alias.as_deref().unwrap_or("$LATEST");
    let one = |is: bool| f64::from(u8::from(is));
    for (metric, value) in [
        (Metric::UrlRequestCount, 1.0),
        (Metric::Url4xxCount, one(reply.status().is_client_error())),
        (Metric::Url5xxCount, one(reply.status().is_server_error())),
        (Metric::UrlRequestLatency, began.elapsed().as_secs_f64() * 1000.0),
    ] {
        let (function, qualifier) = (function.clone(), Some(qualifier.into()));
        observe.measured(Measured { function, qualifier, metric, at, value });
    }
}

/// Whom an invocation was for, and when.
struct Asked {
    function: Arc<FunctionVersion>,
    qualifier: Option<String>,
    at: SystemTime,
}

impl Asked {
    fn of(invocation: &Invocation) -> Self {
        // `arn:aws:lambda:REGION:ACCOUNT:function:NAME:QUALIFIER`
        let qualifier = invocation.invoked_arn.splitn(8, ':').nth(7).map(str::to_owned);
        Self { function: invocation.function.clone(), qualifier, at: SystemTime::now() }
    }
}

impl Observed {
    /// Counts the invocation if it is refused for too many others.
    async fn count<T>(
        &self,
        asked: Asked,
        answer: BoxFuture<'_, Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let answer = answer.await;
        if let Err(Refusal::Throttled { .. }) = answer {
            let Asked { function, qualifier, at } = asked;
            let function = function.arn.clone();
            let qualifier = Some(qualifier.as_deref().unwrap_or("$LATEST").into());
            let (metric, value) = (Metric::Throttles, 1.0);
            self.observe.measured(Measured { function, qualifier, metric, at, value });
        }
        answer
    }
}

impl Invoker for Observed {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Answer, Refusal>> {
        let asked = Asked::of(&invocation);
        Box::pin(self.count(asked, self.engine.invoke(invocation)))
    }

    fn invoke_with_response_stream(
        &self,
        invocation: Invocation,
    ) -> BoxFuture<'_, Result<StreamedAnswer, Refusal>> {
        let asked = Asked::of(&invocation);
        Box::pin(self.count(asked, self.engine.invoke_with_response_stream(invocation)))
    }

    fn retire(&self, arn: &FunctionArn, keep: &[&str]) {
        self.engine.retire(arn, keep);
    }

    fn plan(&self, arn: &FunctionArn, plan: &ConcurrencyPlan) {
        self.engine.plan(arn, plan);
    }

    fn provisioned(&self, revision: &str) -> ProvisionedState {
        self.engine.provisioned(revision)
    }

    fn concurrency_limit(&self) -> u32 {
        self.engine.concurrency_limit()
    }

    fn runtime_missing(&self, runtime: &Runtime) -> Option<String> {
        self.engine.runtime_missing(runtime)
    }
}
