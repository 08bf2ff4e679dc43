//! `coldframe env ls` and `coldframe env show`

use std::process::ExitCode;

use hyper::Method;
use serde_json::Value;

use crate::arguments::Environments;
use crate::client::Client;
use crate::out::{print, say};

pub(crate) async fn environments(command: Environments) -> anyhow::Result<ExitCode> {
    match command {
        Environments::Ls { json, endpoint } => {
            let mut client = Client::connect(&endpoint.endpoint_url).await?.signing();
            let answer = client.json(Method::GET, "/_coldframe/environments", None).await?;
            if json {
                say!("{:#}", answer["environments"])?;
            } else {
                print(format_args!(
                    "{}",
                    table(answer["environments"].as_array().map_or(&[], Vec::as_slice))
                ))?;
            }
        }
        Environments::Show { id, json, endpoint } => {
            let mut client = Client::connect(&endpoint.endpoint_url).await?.signing();
            let path = format!("/_coldframe/environments/{id}");
            let answer = client.json(Method::GET, &path, None).await?;
            if json {
                say!("{answer:#}")?;
            } else {
                print(format_args!("{}", life(&answer)))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn table(environments: &[Value]) -> String {
    let header = ["ID", "FUNCTION", "VERSION", "STATE", "INVOCATIONS", "MEMORY", "LAST USED"];
    let mut rows = vec![header.map(str::to_owned)];
    for environment in environments {
        rows.push([
            text(&environment["id"]).chars().take(8).collect(),
            text(&environment["functionName"]),
            text(&environment["version"]),
            text(&environment["state"]),
            text(&environment["invocations"]),
            format!("{}/{} MB", environment["maxMemoryUsedMB"], environment["memorySizeMB"]),
            text(&environment["lastUsed"]),
        ]);
    }
    let widths: Vec<usize> = (0..header.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

fn life(environment: &Value) -> String {
    let mut out = format!(
        "{}\n  {} {} ({}), {}\n  generation {}, {} invocations, {} of {} MB used\n  log stream {}\n\n",
        text(&environment["id"]),
        text(&environment["functionArn"]),
        text(&environment["version"]),
        text(&environment["runtime"]),
        text(&environment["state"]),
        environment["generation"],
        environment["invocations"],
        environment["maxMemoryUsedMB"],
        environment["memorySizeMB"],
        text(&environment["logStream"]),
    );
    for extension in environment["extensions"].as_array().into_iter().flatten() {
        let events = extension["events"].as_array().into_iter().flatten().map(text);
        let events = events.collect::<Vec<_>>().join(", ");
        let kind = if extension["external"] == true { "extension" } else { "internal extension" };
        out.push_str(&format!("  {kind} {} [{events}]\n", text(&extension["name"])));
    }
    for moment in environment["timeline"].as_array().into_iter().flatten() {
        let after = moment["afterUs"].as_f64().unwrap_or_default() / 1000.0;
        out.push_str(&format!("{after:>12.3} ms  {}\n", happened(moment)));
    }
    out
}

/// One moment in words.
pub(crate) fn happened(moment: &Value) -> String {
    let took = |key: &str| duration(moment[key].as_u64().unwrap_or_default());
    let status = match moment["status"].as_str() {
        None | Some("success") => String::new(),
        Some(status) => match moment["errorType"].as_str() {
            Some(kind) => format!(" · {status} ({kind})"),
            None => format!(" · {status}"),
        },
    };
    match moment["event"].as_str().unwrap_or_default() {
        "initStart" if moment["phase"] == "invoke" => {
            "init begins, inside the invocation".to_owned()
        }
        "initStart" => "init begins".to_owned(),
        "initRuntimeDone" => format!("runtime is ready{status}"),
        "initReport" => format!("init {}{status}", took("durationUs")),
        "start" => format!("invocation {} begins", text(&moment["requestId"])),
        "runtimeDone" => format!("runtime is done{status}"),
        "extension" => {
            let kind = moment["errorType"].as_str().map(|kind| format!(" ({kind})"));
            format!(
                "extension {} is {}{}",
                text(&moment["name"]),
                text(&moment["state"]),
                kind.unwrap_or_default()
            )
        }
        "telemetrySubscription" => format!("{} subscribes to telemetry", text(&moment["name"])),
        "logsDropped" => format!("{} telemetry records dropped", moment["droppedRecords"]),
        "report" => format!("invoke {}{status}", took("durationUs")),
        "frozen" => format!("frozen in {}", took("tookUs")),
        "thawed" => format!("thawed in {}", took("tookUs")),
        "reset" => format!("reset in {}", took("tookUs")),
        "shutdown" => format!("shuts down ({})", text(&moment["reason"])),
        other => other.to_owned(),
    }
}

/// `12 µs`, `0.6 ms`, `41 ms`, `3.2 s`.
pub(crate) fn duration(micros: u64) -> String {
    match micros {
        0..=99 => format!("{micros} µs"),
        100..=9_999 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..=999_999 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (micros, shown) in
            [(12, "12 µs"), (640, "0.6 ms"), (41_300, "41 ms"), (3_200_000, "3.2 s")]
        {
            assert_eq!(duration(micros), shown);
        }
    }
}
