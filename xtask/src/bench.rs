//! `cargo xtask bench NAME`

use std::process::Command;

use anyhow::bail;

use crate::{cargo, run};

pub(crate) fn bench(name: &str, rest: &[&str]) -> anyhow::Result<()> {
    const NAMES: [&str; 5] = ["warm", "cold", "async", "extensions", "stream"];
    if !NAMES.contains(&name) {
        bail!("no such benchmark: {name}; there are {}", NAMES.join(", "));
    }
    run(cargo(&["build", "--release", "--locked", "--workspace", "--bins"]))?;
    run(Command::new(format!("target/release/bench-{name}")).args(rest))
}
