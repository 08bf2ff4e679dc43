//! What a process inside an environment sees: the Runtime API (execution-environment.md §2), the
//! Extensions API (§3), the Telemetry and Logs APIs (§4), the metadata endpoint (§6.10).
//!
//! ```text
//! runtime, extensions --HTTP--> Server --Report--> engine     next, response, error, register, …
//!                               Server <--deliver-- engine     answers the held `next` calls
//!                 subscribers <-- telemetry::Hub <--emit-- engine
//! ```
//! [`state`] holds the table of what a runtime may ask when, [`extension`] that of extensions;
//! [`Server`] keeps their states and speaks HTTP/1.1 on the environment's listener.
//!
//! **Invariant:** doesn't know what kind of sandbox it serves, nor the control plane, nor storage.

pub mod extension;
mod invocation;
mod lean;
mod server;
pub mod state;
pub mod stream;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod wire;

pub use extension::ExtensionView;
pub use invocation::{Completed, Delivery, InitFailure, Outcome};
pub use server::{Options, Report, ReportKind, Server};
