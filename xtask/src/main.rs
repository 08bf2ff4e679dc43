//! `cargo xtask`: what is done to this tree, beside building it.

mod arrows;
mod bench;
mod model;
mod test;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

const HELP: &str = "\
cargo xtask check          format, lints, arrows between rooms, licences, unit tests
cargo xtask test [SUITE]   everything, including what it needs to install
cargo xtask bench NAME     warm, cold, async, extensions or stream
cargo xtask tidy           format, and accept changed snapshots
cargo xtask model [FILE]   make crates/coldframe-api/src/model/facts.json anew";

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::env::set_current_dir(root()).context("cannot enter the workspace")?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["check"] => check(),
        ["test", suites @ ..] => test::test(suites),
        ["bench", name, rest @ ..] => bench::bench(name, rest),
        ["tidy"] => {
            run(cargo(&["fmt", "--all"]))?;
            run(cargo(&["test", "--workspace", "--lib", "--bins"]).env("INSTA_UPDATE", "always"))
        }
        ["model", ..] => model::run(&arguments[1..]),
        _ => bail!("what is to be done?\n\n{HELP}"),
    }
}

fn check() -> anyhow::Result<()> {
    run(cargo(&["fmt", "--all", "--check"]))?;
    arrows::check()?;
    run(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    run(cargo(&["test", "--workspace", "--lib", "--bins", "--locked"]))
}

fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), PathBuf::from)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments);
    command
}

/// Runs to its end; anything but success is an error that shows the command.
fn run(mut command: impl std::borrow::BorrowMut<Command>) -> anyhow::Result<()> {
    let command = command.borrow_mut();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("» {shown}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
