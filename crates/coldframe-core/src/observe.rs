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

    /// A value of one of AWS's metrics that no environment tells. Never waits.
    fn measured(&self, measured: Measured);
}

/// A value of a metric, in its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub function: FunctionArn,
    /// The alias or number by which the function was called, or `$LATEST`; `None`: the value is of
    /// the function alone.
    pub qualifier: Option<Box<str>>,
    pub metric: Metric,
    pub at: SystemTime,
    pub value: f64,
}

/// Hears one environment, in the order things happen. Dropped when the environment has ended.
///
/// Called on the way of an invocation: never waits, never fails, and loses rather than stalls.
pub trait Listener: Send + Sync {
    /// One record of its log stream, without the newline at its end.
    fn line(&self, at: SystemTime, text: &str);

    /// It holds this invocation now; the next [`Event::Start`] and [`Event::Report`] are of it.
    fn invoked(&self, at: SystemTime, invocation: &Invocation, running: &Concurrency);

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

    fn measured(&self, _: Measured) {}
}

impl Listener for () {
    fn line(&self, _: SystemTime, _: &str) {}
    fn invoked(&self, _: SystemTime, _: &Invocation, _: &Concurrency) {}
    fn happened(&self, _: SystemTime, _: &Event) {}
}

/// What runs at one moment in an account and region, as an invocation begins and with it
/// (service-api.md §10.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concurrency {
    /// Invocations of the function, and of all functions.
    pub function: u32,
    pub account: u32,
    /// Outside of what is reserved or provisioned.
    pub unreserved: u32,
    /// With what is reserved or provisioned, whether it runs or not.
    pub claimed: u32,
    /// Of the version, if it has provisioned concurrency.
    pub provisioned: Option<Provisioned>,
}

/// Use of a version's provisioned concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provisioned {
    pub running: u32,
    pub capacity: u32,
    /// This invocation found no place in it.
    pub spilled: bool,
}

/// How a metric stands at this moment. Of an account if the function's name is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    pub function: FunctionArn,
    pub metric: Metric,
    pub value: f64,
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
