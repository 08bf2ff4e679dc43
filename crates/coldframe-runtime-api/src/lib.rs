//! The Runtime API as a runtime inside an environment sees it (execution-environment.md §2).
//!
//! ```text
//! runtime --HTTP--> Server --Report--> engine        next, response, error, init/error
//!                   Server <--deliver-- engine        answers the held `next`
//! ```
//! [`state`] holds the table of what a runtime may ask when; [`Server`] keeps one runtime's state
//! and speaks HTTP/1.1 on the environment's listener.
//!
//! **Invariant:** doesn't know what kind of sandbox it serves, nor the control plane, nor storage.

mod server;
pub mod state;
mod wire;

pub use server::{Completed, Delivery, InitFailure, Outcome, Report, ReportKind, Server};
