//! Names, units, limits and decisions: what every room of coldframe speaks of.
//!
//! **Invariant:** nothing here reads a clock, does input or output, starts a task, or knows HTTP or
//! JSON. The life cycle ([`lifecycle`]) decides; `coldframe-engine` acts.

pub mod asynchronous;
pub mod config;
pub mod destination;
pub mod error;
pub mod event;
pub mod identity;
pub mod ids;
pub mod invoke;
pub mod lifecycle;
pub mod limits;
pub mod lineage;
pub mod log;
pub mod objects;
pub mod observe;
pub mod packages;
pub mod shutdown;
pub mod sigv4;
pub mod source;

pub use config::{FunctionVersion, LogFormat, LogLevel, MemorySize, Runtime, Tracing};
pub use destination::Destination;
pub use error::{Fault, FunctionError};
pub use ids::{AccountId, EnvironmentId, FunctionArn, LayerArn, RequestId};

/// A boxed future, as the traits of this room return them.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
