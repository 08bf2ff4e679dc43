//! `coldframe`: AWS Lambda's execution environment, on your own Linux machine.

mod admin;
mod arguments;
mod bootstraps;
mod client;
mod companions;
mod doctor;
mod environments;
mod instance;
mod keys;
mod lean;
mod logs;
mod objects;
mod observed;
mod operator;
mod out;
mod run;
mod service;
mod up;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use self::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = arguments.log_level;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).init();
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) if error.is::<out::Unread>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coldframe: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Up(options) => {
            // The nursery is forked before any thread exists.
            let instance = instance::Instance::start(&options.service)?;
            runtime()?.block_on(up::up(*options, instance))
        }
        Command::Run(options) => {
            let instance = instance::Instance::start(&options.service())?;
            runtime()?.block_on(run::run(options, instance))
        }
        Command::Env(command) => client_runtime()?.block_on(environments::environments(command)),
        Command::Account(command) => client_runtime()?.block_on(keys::account(command)),
        Command::Key(command) => client_runtime()?.block_on(keys::key(command)),
        Command::Logs(options) => client_runtime()?.block_on(logs::logs(options)),
        Command::Doctor => {
            let instance = instance::Instance::start(&arguments::Service::ephemeral())?;
            runtime()?.block_on(doctor::doctor(instance))
        }
    }
}

/// Half of the processors serve, half are left to the functions: an invocation that stays on one
/// thread costs half of one that wanders.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((processors / 2).max(1))
        .enable_all()
        .thread_name("coldframe")
        .build()
        .context("cannot start the event loop")
}

fn client_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}
