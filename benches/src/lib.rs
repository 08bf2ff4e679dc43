//! What the benchmarks share.
//!
//! ```text
//! bench-warm, -cold, -async ──HTTP──► coldframe, bench-relay or the emulator ◄──Runtime API── noop
//! ```
//! **Invariant:** everything is measured from outside, over the wire and in `/proc`; nothing here
//! links coldframe. The client and the function are the same for all who are compared.

pub mod contender;
pub mod machine;
pub mod statistics;
pub mod wire;
