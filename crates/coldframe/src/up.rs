//! `coldframe up`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Auth, Up};
use crate::instance::Instance;
use crate::service::Service;

pub(crate) async fn up(options: Up, instance: Instance) -> anyhow::Result<ExitCode> {
    let auth = options.service.auth;
    if !options.listen.ip().is_loopback() && auth != Auth::Sigv4 {
        bail!(
            "{} is no loopback address: without --auth sigv4 requests are not authenticated, so \
             whoever reaches the service could run code on this host",
            options.listen
        );
    }
    if instance.ephemeral && auth == Auth::Sigv4 {
        bail!(
            "--auth sigv4 checks signatures by the keys of the data directory, and --ephemeral \
             has none: give --data instead"
        );
    }
    let data = if instance.ephemeral {
        "ephemeral".to_owned()
    } else {
        format!("data in {}", instance.data.display())
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot hear signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot hear signals")?;
    let service = Service::start(instance, &options.service, options.listen).await?;
    // Who waits for this line may have gone.
    let _ = writeln!(std::io::stdout(), "ready on http://{} ({data})", service.address);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let drained = service.drain();
    tokio::select! {
        () = drained => Ok(ExitCode::SUCCESS),
        // The second time it is meant.
        _ = terminate.recv() => Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => Ok(ExitCode::FAILURE),
    }
}
