//! What the benchmarks share.
//!
//! ```text
//! bench-warm, bench-cold, … ──HTTP──► coldframe, bench-relay or the emulator ◄──Runtime API── noop
//! ```
//! **Invariant:** everything is measured from outside, over the wire and in `/proc`; nothing here
//! links coldframe. The client and the function are the same for all who are compared.

pub mod contender;
pub mod machine;
pub mod statistics;
pub mod wire;

/// What `bench-stream` streams, bytes.
pub const STREAMED_BYTES: usize = 100_000_000;

/// What is written at once, bytes.
pub const STREAMED_BLOCK_BYTES: usize = 250_000;

/// The command that a section of the results was made by.
pub fn command(benchmark: &str) -> String {
    let words = ["cargo", "xtask", "bench", benchmark].map(str::to_owned);
    words.into_iter().chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ")
}
