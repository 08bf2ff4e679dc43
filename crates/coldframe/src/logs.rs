//! `coldframe logs`

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use crate::arguments::Logs;
use crate::client::{Client, message};

pub(crate) async fn logs(options: Logs) -> anyhow::Result<ExitCode> {
    let mut client = Client::connect(&options.endpoint.endpoint_url).await?.signing();
    // A name that no function has is an error, not an empty log.
    let function = format!("/2015-03-31/functions/{}/configuration", options.function);
    client.json(Method::GET, &function, None).await?;
    let query = if options.follow { "?follow=true" } else { "" };
    let path = format!("/_coldframe/logs/{}{query}", options.function);
    let response = client.send(Method::GET, &path, &[], Bytes::new()).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = body.collect().await.context("the answer was cut")?.to_bytes();
        bail!("{}", message(status, &bytes));
    }
    let mut partial = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the service has gone")?.into_data() else { continue };
        partial.extend_from_slice(&data);
        while let Some(at) = partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = partial.drain(..=at).collect();
            if !print(&line) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `false` when nobody reads any more.
fn print(line: &[u8]) -> bool {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return true };
    let mut out = std::io::stdout();
    let written = match line["missed"].as_u64() {
        Some(missed) => writeln!(out, "… {missed} lines were too fast …"),
        None => {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            writeln!(out, "{} {}", text("time"), text("message"))
        }
    };
    written.is_ok()
}
