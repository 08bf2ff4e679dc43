//! `bench-async`: how many asynchronous events a second are durably accepted over HTTP, beside one
//! sync for each event on the same disk, in alternating rounds.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use coldframe_benches::contender::{Coldframe, Function, sibling};
use coldframe_benches::machine;
use coldframe_benches::statistics::{Round, Spread, micros};
use coldframe_benches::wire::Connection;
use coldframe_store::queue::{Event, Queue, Work};
use coldframe_store::{FunctionKey, Store};
use rustix::event::{PollFd, PollFlags};

const HELP: &str = "\
bench-async [--rounds N] [--clients N] [--bytes N] [--coldframe FILE] [--directory DIR]
  prints a Markdown section; timings never make it fail";

/// How long each side of a round lasts.
const ROUND: Duration = Duration::from_millis(1500);

/// Events accepted in one sync's time.
const GOAL: f64 = 10.0;

struct Options {
    rounds: usize,
    clients: usize,
    bytes: usize,
    coldframe: PathBuf,
    /// Below it both write: the same disk.
    directory: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Some(options) = options()? else {
        println!("{HELP}");
        return Ok(());
    };
    let directory = options.directory.join(format!("bench-async-{}", std::process::id()));
    std::fs::create_dir_all(&directory).context("cannot make a directory")?;
    let result = measure(&options, &directory);
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn measure(options: &Options, directory: &Path) -> anyhow::Result<()> {
    // A function that doesn't return holds the one place there is: what follows is only kept.
    let sleeper = Function {
        name: "sleeper",
        runtime: "provided.al2023",
        handler: "none",
        file: "bootstrap",
        content: b"#!/bin/sh\nexec sleep 1000\n".to_vec(),
    };
    let (idle, busy) = (directory.join("idle"), directory.join("busy"));
    let mut kept = Coldframe::keeping(&options.coldframe, &idle, &["--concurrency", "1"])?;
    kept.create(&sleeper)?;
    let mut run = Coldframe::keeping(&options.coldframe, &busy, &[])?;
    run.create(&Function::noop("noop")?)?;
    let payload = payload(options.bytes);
    let log = directory.join("log");
    let mut log = OpenOptions::new().create_new(true).append(true).open(log)?;
    let invocation = |coldframe: &Coldframe, function: &str, kind: &str| {
        let mut request = format!(
            "POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\nHost: {}\r\nX-Amz-Invocation-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            coldframe.address,
            payload.len()
        )
        .into_bytes();
        request.extend_from_slice(&payload);
        (coldframe.address, request)
    };
    let all = [
        invocation(&kept, "sleeper", "Event"),
        invocation(&run, "noop", "Event"),
        invocation(&kept, "sleeper", "DryRun"),
    ];
    let store = Store::open(Some(&directory.join("store.sqlite")))?;
    let queue = store.queue(|_| {})?;
    let mut measured = Measured::default();
    let Measured { only_kept, also_run, not_kept, queued, queued_alone, one_by_one } =
        &mut measured;
    for _ in 0..options.rounds {
        one_by_one.push(syncs(&mut log, &payload)?);
        queued.push(adds(&*queue, &payload, options.clients)?);
        queued_alone.push(adds(&*queue, &payload, 1)?);
        for ((address, request), sides) in all.iter().zip([&mut *only_kept, also_run, not_kept]) {
            sides.push(calls(*address, request, options.clients)?);
        }
    }
    print(options, &measured);
    Ok(())
}

/// One side of one round.
struct Side {
    each_second: f64,
    /// Microseconds.
    latency: Round,
}

impl Side {
    fn of(latencies: Vec<f64>, took: Duration) -> Self {
        let each_second = latencies.len() as f64 / took.as_secs_f64();
        Self { each_second, latency: Round::of(latencies) }
    }
}

/// The rounds of each side.
#[derive(Default)]
struct Measured {
    only_kept: Vec<Side>,
    also_run: Vec<Side>,
    /// The same request without an event: the most that HTTP lets through.
    not_kept: Vec<Side>,
    /// The queue without HTTP, by all clients and by one.
    queued: Vec<Side>,
    queued_alone: Vec<Side>,
    one_by_one: Vec<Side>,
}

/// What a queue does that syncs for each event: the event's bytes, appended and synced.
fn syncs(log: &mut File, payload: &[u8]) -> anyhow::Result<Side> {
    let (begin, mut latencies) = (Instant::now(), Vec::new());
    while begin.elapsed() < ROUND {
        let one = Instant::now();
        log.write_all(payload)?;
        log.sync_data()?;
        latencies.push(micros(one.elapsed()));
    }
    Ok(Side::of(latencies, begin.elapsed()))
}

/// Callers of the queue itself, so many at a time: each adds an event when its last one is kept.
fn adds(queue: &dyn Queue, payload: &[u8], callers: usize) -> anyhow::Result<Side> {
    let payload = Bytes::copy_from_slice(payload);
    let (tell, told) = mpsc::channel();
    let add = || {
        let event = Event {
            request_id: "00000000-0000-4000-8000-000000000000".parse()?,
            trace_header: None,
            work: Work::Invoke {
                function: FunctionKey {
                    account: "000000000000".to_owned(),
                    region: "us-east-1".to_owned(),
                    name: "f".to_owned(),
                },
                qualifier: None,
                tenant_id: None,
            },
            payload: payload.clone(),
        };
        let (begin, tell) = (Instant::now(), tell.clone());
        let done = move |kept| {
            let _ = tell.send((kept, begin.elapsed()));
        };
        queue.add(event, 0, Box::new(done));
        anyhow::Ok(())
    };
    let (begin, mut latencies, mut waiting) = (Instant::now(), Vec::new(), callers);
    for _ in 0..callers {
        add()?;
    }
    while waiting > 0 {
        let (kept, took) = told.recv()?;
        kept?;
        latencies.push(micros(took));
        if begin.elapsed() < ROUND {
            add()?;
        } else {
            waiting -= 1;
        }
    }
    Ok(Side::of(latencies, begin.elapsed()))
}

/// Clients that send one request after another, each over a connection of its own. One thread plays
/// them all: what it takes of the processors is not the service's.
fn calls(address: SocketAddr, request: &[u8], clients: usize) -> anyhow::Result<Side> {
    let mut connections: Vec<Connection> =
        (0..clients).map(|_| Connection::open(address)).collect::<Result<_, _>>()?;
    let begin = Instant::now();
    let mut sent = vec![begin; clients];
    for connection in &mut connections {
        connection.send(request)?;
    }
    let (mut latencies, mut waiting) = (Vec::new(), clients);
    while waiting > 0 {
        let mut polled: Vec<PollFd<'_>> =
            connections.iter().map(|one| PollFd::new(one, PollFlags::IN)).collect();
        rustix::event::poll(&mut polled, None)?;
        let ready: Vec<usize> =
            (0..clients).filter(|index| !polled[*index].revents().is_empty()).collect();
        for index in ready {
            let status = connections[index].answer()?;
            ensure!(matches!(status, 202 | 204), "a request was answered with {status}");
            let now = Instant::now();
            latencies.push(micros(now - sent[index]));
            if begin.elapsed() < ROUND {
                sent[index] = now;
                connections[index].send(request)?;
            } else {
                waiting -= 1;
            }
        }
    }
    Ok(Side::of(latencies, begin.elapsed()))
}

fn payload(bytes: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; bytes.max(2)];
    let last = payload.len() - 1;
    (payload[0], payload[last]) = (b'"', b'"');
    payload
}

fn print(options: &Options, measured: &Measured) {
    let Measured { only_kept, also_run, not_kept, queued, queued_alone, one_by_one } = measured;
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let command = format!("cargo xtask bench async {command}");
    println!("## Asynchronous events, {}\n", machine::now());
    println!(
        "`{}`; {} rounds, alternating; events of {} bytes; {} clients over HTTP.\n",
        command.trim_end(),
        options.rounds,
        options.bytes,
        options.clients
    );
    println!("| | events/s | latency p50, µs | p99, µs | × one sync each |");
    println!("|---|--:|--:|--:|--:|");
    let ratio = |side: &[Side]| {
        let pairs = side.iter().zip(one_by_one);
        Spread::of(pairs.map(|(side, base)| side.each_second / base.each_second))
    };
    for (name, side) in [
        ("the queue, without HTTP", queued),
        ("HTTP, kept, 202; nothing runs", only_kept),
        ("HTTP, kept, 202; events run meanwhile", also_run),
        ("HTTP, not kept: the same request as a dry run", not_kept),
        ("the queue, one caller: a sync for each event", queued_alone),
        ("a file, appended to and synced for each event", one_by_one),
    ] {
        println!(
            "| {name} | {} | {} | {} | {:.1} |",
            Spread::of(side.iter().map(|side| side.each_second)),
            Spread::of(side.iter().map(|side| side.latency.p50)),
            Spread::of(side.iter().map(|side| side.latency.p99)),
            ratio(side)
        );
    }
    println!("\nGoals:\n");
    for (name, side) in [("the queue", queued), ("over HTTP", only_kept)] {
        let reached = ratio(side).median;
        let verdict = if reached >= GOAL { "reached" } else { "missed" };
        println!("- {name}, {reached:.1} × one sync for each event (at least {GOAL}): {verdict}");
    }
    println!();
    println!("{}.", machine::facts());
}

fn options() -> anyhow::Result<Option<Options>> {
    let mut options = Options {
        rounds: 5,
        clients: 64,
        bytes: 1000,
        coldframe: sibling("coldframe")?,
        directory: PathBuf::from("target"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} what?"));
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
            "--clients" => options.clients = value()?.parse::<usize>()?.max(1),
            "--bytes" => options.bytes = value()?.parse()?,
            "--coldframe" => options.coldframe = value()?.into(),
            "--directory" => options.directory = value()?.into(),
            _ => return Ok(None),
        }
    }
    Ok(Some(options))
}
