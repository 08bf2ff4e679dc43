//! The engine as the service API sees it, with what no environment could tell: refusals.

use std::sync::Arc;
use std::time::SystemTime;

use coldframe_core::invoke::{
    Answer, ConcurrencyPlan, Invocation, Invoker, ProvisionedState, Refusal, StreamedAnswer,
};
use coldframe_core::observe::{Metric, Observer};
use coldframe_core::{BoxFuture, FunctionArn, FunctionVersion, Runtime};
use coldframe_engine::Engine;
use coldframe_observe::Observe;

pub(crate) struct Observed {
    pub(crate) engine: Arc<Engine>,
    pub(crate) observe: Observe,
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
            let arn = &asked.function.arn;
            let qualifier = asked.qualifier.as_deref().unwrap_or("$LATEST");
            let resource = format!("{}:{qualifier}", arn.name);
            self.observe.measured(arn, Some(&resource), Metric::Throttles, asked.at, 1.0);
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
