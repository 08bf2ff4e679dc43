//! The arrow from the engine to the room that keeps logs and metrics, pointed down: the engine
//! tells an [`Observer`], `coldframe-observe` is one, the binary introduces them.

use std::sync::Arc;
use std::time::SystemTime;

use crate::event::Event;
use crate::invoke::Invocation;
use crate::{EnvironmentId, FunctionArn, FunctionVersion};

/// Wants to know what environments say and do.
pub trait Observer: Send + Sync {
    /// An environment begins. What its log stream is called is said once, here.
    fn environment(
        &self,
        function: &Arc<FunctionVersion>,
        environment: EnvironmentId,
        log_stream: &str,
    ) -> Box<dyn Listener>;

    /// A value of one of AWS's metrics that no environment tells: of the function, and of
    /// `resource` (`NAME:QUALIFIER`) if it is given. In the unit of the metric.
    fn measured(
        &self,
        function: &FunctionArn,
        resource: Option<&str>,
        metric: Metric,
        at: SystemTime,
        value: f64,
    );
}

/// Hears one environment, in the order things happen. Dropped when the environment has ended.
///
/// Called on the way of an invocation: never waits, never fails, and loses rather than stalls.
pub trait Listener: Send + Sync {
    /// One record of its log stream, without the newline at its end.
    fn line(&self, at: SystemTime, text: &str);

    /// It holds this invocation now; the next [`Event::Start`] and [`Event::Report`] are of it.
    fn invoked(&self, at: SystemTime, invocation: &Invocation);

    fn happened(&self, at: SystemTime, event: &Event);
}

/// For tests: nobody listens.
impl Observer for () {
    fn environment(
        &self,
        _: &Arc<FunctionVersion>,
        _: EnvironmentId,
        _: &str,
    ) -> Box<dyn Listener> {
        Box::new(())
    }

    fn measured(&self, _: &FunctionArn, _: Option<&str>, _: Metric, _: SystemTime, _: f64) {}
}

impl Listener for () {
    fn line(&self, _: SystemTime, _: &str) {}
    fn invoked(&self, _: SystemTime, _: &Invocation) {}
    fn happened(&self, _: SystemTime, _: &Event) {}
}

/// What a metric counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Milliseconds,
    None,
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Milliseconds => "Milliseconds",
            Self::None => "None",
        }
    }
}

macro_rules! metrics {
    ($($name:ident: $unit:ident,)*) => {
        /// The metrics of namespace `AWS/Lambda` (service-api.md §10.1), and two of our own that
        /// AWS lacks: `ColdStarts` and `InitDuration`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric { $($name,)* }

        impl Metric {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As CloudWatch names it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            pub fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            /// The metric of that name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|metric| metric.name() == name)
            }
        }
    };
}

metrics! {
    Invocations: Count,
    Errors: Count,
    Throttles: Count,
    Duration: Milliseconds,
    PostRuntimeExtensionsDuration: Milliseconds,
    ConcurrentExecutions: Count,
    UnreservedConcurrentExecutions: Count,
    ProvisionedConcurrentExecutions: Count,
    ProvisionedConcurrencyUtilization: None,
    ProvisionedConcurrencyInvocations: Count,
    ProvisionedConcurrencySpilloverInvocations: Count,
    ClaimedAccountConcurrency: Count,
    AsyncEventsReceived: Count,
    AsyncEventsDropped: Count,
    AsyncEventAge: Milliseconds,
    DeadLetterErrors: Count,
    DestinationDeliveryFailures: Count,
    IteratorAge: Milliseconds,
    OffsetLag: Count,
    RecursiveInvocationsDropped: Count,
    UrlRequestCount: Count,
    Url4xxCount: Count,
    Url5xxCount: Count,
    UrlRequestLatency: Milliseconds,
    ColdStarts: Count,
    InitDuration: Milliseconds,
}
