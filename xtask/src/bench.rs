//! `cargo xtask bench NAME`

use std::process::Command;

use anyhow::bail;

use crate::{cargo, run};

pub(crate) fn bench(name: &str, rest: &[&str]) -> anyhow::Result<()> {
    if !["warm", "cold", "async"].contains(&name) {
        bail!("no such benchmark: {name}; there are warm, cold and async");
    }
    run(cargo(&["build", "--release", "--locked", "--workspace", "--bins"]))?;
    run(Command::new(format!("target/release/bench-{name}")).args(rest))
}
