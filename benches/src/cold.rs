//! `bench-cold`: what the first invocation of an environment takes, beside a bare start of the same
//! process; and what the service itself takes to start and to be there.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use coldframe_benches::contender::{Coldframe, Function, Process, sibling, until};
use coldframe_benches::machine;
use coldframe_benches::statistics::{Round, Spread, median, micros};
use coldframe_benches::wire::Connection;

const HELP: &str = "\
bench-cold [--rounds N] [--coldframe FILE]
  prints a Markdown section; timings never make it fail";

/// Starts of each kind in one round.
const STARTS: usize = 12;
/// Of an interpreter: fewer, as they take longer.
const INTERPRETED_STARTS: usize = 4;
const SERVICE_STARTS: usize = 3;
const PARALLEL: usize = 20;
/// Sandboxes that coldframe keeps ready by default.
const READY: usize = 2;
/// After the last process of a ready sandbox is there, the rest of its making.
const SETTLING: Duration = Duration::from_millis(60);
const IDLE: Duration = Duration::from_secs(1);

const PYTHON: &str = "def handler(event, context):\n    return {}\n";
const NODE: &str = "exports.handler = async () => ({});\n";

fn main() -> anyhow::Result<()> {
    let Some((rounds, binary)) = options()? else {
        println!("{HELP}");
        return Ok(());
    };
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    println!("## Cold, {}\n", machine::now());
    println!("`cargo xtask bench cold {command}`; {rounds} rounds; ms; median of the rounds,");
    println!("(lowest–highest round).\n");
    let mut verdicts = Vec::new();
    cold(&binary, rounds, &mut verdicts)?;
    parallel(&binary, rounds)?;
    service(&binary, rounds, &mut verdicts)?;
    println!("\nGoals:\n");
    verdicts.iter().for_each(|verdict| println!("- {verdict}"));
    println!("\n{}.", machine::facts());
    Ok(())
}

fn options() -> anyhow::Result<Option<(usize, PathBuf)>> {
    let (mut rounds, mut coldframe) = (7, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--rounds" => rounds = value()?.parse()?,
            "--coldframe" => coldframe = Some(PathBuf::from(value()?)),
            _ => return Ok(None),
        }
    }
    Ok(Some((rounds, coldframe.map_or_else(|| sibling("coldframe"), Ok)?)))
}

fn reached(is: bool) -> &'static str {
    if is { "reached" } else { "missed" }
}

fn ms(duration: Duration) -> f64 {
    micros(duration) / 1000.0
}

/// Fork and exec of the function's program, until its `main` has written a byte.
fn bare_start(noop: &Path) -> anyhow::Result<f64> {
    let mut command = Command::new(noop);
    command.arg("ready").stdin(Stdio::null()).stdout(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn()?;
    let mut byte = [0];
    let mut output = child.stdout.take().context("the output is not piped")?;
    output.read_exact(&mut byte)?;
    let took = ms(began.elapsed());
    child.wait()?;
    Ok(took)
}

/// Waits until nothing of earlier starts goes on and the ready sandboxes are there again.
fn rest(coldframe: &mut Coldframe) -> anyhow::Result<()> {
    until("the environments to be gone", || Ok(coldframe.environments()?.is_empty()))?;
    let pid = coldframe.service.pid();
    // The service's child makes the sandboxes, and has one child for each.
    until("the ready sandboxes", || Ok(machine::descendants(pid).len() == 1 + READY))?;
    std::thread::sleep(SETTLING);
    Ok(())
}

/// One kind of function.
struct Kind {
    name: &'static str,
    starts: usize,
    rounds: Vec<Round>,
    /// Init durations as the log tells them, all rounds.
    inits: Vec<f64>,
}

fn kinds(binary: &Path, coldframe: &mut Coldframe) -> anyhow::Result<Vec<Kind>> {
    let doctor = Command::new(binary).arg("doctor").output().context("cannot ask the doctor")?;
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let has = |runtime: &str| doctor.split_whitespace().any(|word| word == runtime);
    let kind = |name, starts| Kind { name, starts, rounds: Vec::new(), inits: Vec::new() };
    coldframe.create(&Function::noop("native")?)?;
    let mut kinds = vec![kind("native", STARTS)];
    let pythons = ["python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
    let nodes = ["nodejs24.x", "nodejs22.x", "nodejs20.x", "nodejs18.x"];
    let candidates = [
        ("python", &pythons[..], "app.handler", "app.py", PYTHON),
        ("node", &nodes[..], "index.handler", "index.js", NODE),
    ];
    for (name, runtimes, handler, file, content) in candidates {
        let Some(runtime) = runtimes.iter().find(|runtime| has(runtime)) else {
            println!("No {name} on this host.\n");
            continue;
        };
        coldframe.create(&Function { name, runtime, handler, file, content: content.into() })?;
        println!("`{name}` is {runtime}.");
        kinds.push(kind(name, INTERPRETED_STARTS));
    }
    Ok(kinds)
}

fn cold(binary: &Path, rounds: usize, verdicts: &mut Vec<String>) -> anyhow::Result<()> {
    let noop = sibling("noop")?;
    let mut coldframe = Coldframe::start(binary, &[])?;
    let mut kinds = kinds(binary, &mut coldframe)?;
    let mut bare = Vec::new();
    for round in 0..rounds {
        let mut bare_starts = Vec::new();
        for kind in &mut kinds {
            let mut starts = Vec::new();
            for number in 0..kind.starts {
                rest(&mut coldframe)?;
                if kind.name == "native" {
                    bare_starts.push(bare_start(&noop)?);
                }
                let mut connection = Connection::open(coldframe.address)?;
                let invocation = coldframe.invocation(kind.name);
                let began = Instant::now();
                let status = connection.call(&invocation)?;
                starts.push(ms(began.elapsed()));
                let body = String::from_utf8_lossy(connection.body());
                ensure!(status == 200 && body == "{}", "{} answers {status} {body}", kind.name);
                kind.inits.push(last_init(&mut coldframe, kind.name)?);
                // Its environment goes, and the next invocation is a cold start again.
                coldframe.renew(kind.name, &format!("{round}.{number}"))?;
            }
            kind.rounds.push(Round::of(starts));
        }
        bare.push(Round::of(bare_starts));
    }
    println!("\n### One cold start at a time, sandboxes ready\n");
    println!("| | p50 | min | worst | Init Duration, p50 |");
    println!("|---|--:|--:|--:|--:|");
    row("bare fork and exec of the native one", &bare, "");
    for kind in &kinds {
        let init = format!("{:.1}", median(kind.inits.iter().copied()));
        row(kind.name, &kind.rounds, &init);
    }
    let p50 = |rounds: &[Round]| median(rounds.iter().map(|round| round.p50));
    let ratio = p50(&kinds[0].rounds) / p50(&bare);
    let pairs = kinds[0].rounds.iter().zip(&bare);
    verdicts.push(format!(
        "cold start, native, {ratio:.1} × a bare fork and exec (at most 8): {}; rounds {:.1}",
        reached(ratio <= 8.0),
        Spread::of(pairs.map(|(cold, bare)| cold.p50 / bare.p50))
    ));
    Ok(())
}

fn row(name: &str, rounds: &[Round], init: &str) {
    let low = rounds.iter().map(|round| round.min).fold(f64::INFINITY, f64::min);
    let high = rounds.iter().map(|round| round.max).fold(0.0, f64::max);
    let p50 = Spread::of(rounds.iter().map(|round| round.p50));
    println!("| {name} | {p50:.2} | {low:.2} | {high:.2} | {init} |");
}

/// Of the newest REPORT line, which comes a moment after the answer.
fn last_init(coldframe: &mut Coldframe, name: &str) -> anyhow::Result<f64> {
    let mut found = None;
    until("the REPORT line", || {
        let log = coldframe.log(name)?;
        let line = log.lines().last().unwrap_or_default();
        found = line
            .split_once("Init Duration: ")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
        Ok(found.is_some())
    })?;
    found.context("no init duration")
}

fn parallel(binary: &Path, rounds: usize) -> anyhow::Result<()> {
    let mut coldframe = Coldframe::start(binary, &[])?;
    let names: Vec<String> = (0..PARALLEL).map(|number| format!("parallel-{number}")).collect();
    for name in &names {
        coldframe.create(&Function::noop(name)?)?;
    }
    let mut measured = Vec::new();
    for round in 0..rounds {
        for name in &names {
            coldframe.renew(name, &round.to_string())?;
        }
        rest(&mut coldframe)?;
        let barrier = Barrier::new(names.len());
        let (barrier, coldframe) = (&barrier, &coldframe);
        let starts = std::thread::scope(|scope| {
            let threads = names.iter().map(|name| {
                scope.spawn(move || -> anyhow::Result<f64> {
                    let mut connection = Connection::open(coldframe.address)?;
                    let invocation = coldframe.invocation(name);
                    barrier.wait();
                    let began = Instant::now();
                    let status = connection.call(&invocation)?;
                    ensure!(status == 200, "{name} answers {status}");
                    Ok(ms(began.elapsed()))
                })
            });
            let threads: Vec<_> = threads.collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("no panic here"));
            joined.collect::<anyhow::Result<Vec<f64>>>()
        })?;
        measured.push(Round::of(starts));
    }
    println!("\n### {PARALLEL} native cold starts at once\n");
    println!("| p50 | last |");
    println!("|--:|--:|");
    println!(
        "| {:.1} | {:.1} |",
        Spread::of(measured.iter().map(|round| round.p50)),
        Spread::of(measured.iter().map(|round| round.max))
    );
    Ok(())
}

/// What one service holds: itself, and with its children.
struct Memory {
    resident: f64,
    proportional: f64,
    processes: usize,
}

impl Memory {
    fn of(pid: u32) -> Self {
        let mut all = machine::descendants(pid);
        all.push(pid);
        Self {
            resident: machine::mebibytes(pid, "status", "VmRSS:"),
            proportional: all
                .iter()
                .map(|pid| machine::mebibytes(*pid, "smaps_rollup", "Pss:"))
                .sum(),
            processes: all.len(),
        }
    }
}

fn service(binary: &Path, rounds: usize, verdicts: &mut Vec<String>) -> anyhow::Result<()> {
    let mut starts = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for _ in 0..SERVICE_STARTS {
            let mut command = Command::new(binary);
            command.args(["up", "--listen", "127.0.0.1:0", "--ephemeral"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            let began = Instant::now();
            let mut service = Process::start(&mut command)?;
            let line = service.line()?;
            round.push(ms(began.elapsed()));
            ensure!(line.starts_with("ready on "), "coldframe says {line:?}");
        }
        starts.push(Round::of(round));
    }
    println!("\n### The service\n");
    println!("| | p50 | min | worst | |");
    println!("|---|--:|--:|--:|--:|");
    row("start until the ready line", &starts, "");
    let p50 = Spread::of(starts.iter().map(|round| round.p50));
    let ready = format!(
        "service start to ready, {p50:.1} ms (at most 20): {}",
        reached(p50.median <= 20.0)
    );
    verdicts.push(ready);

    let mut coldframe = Coldframe::start(binary, &[])?;
    rest(&mut coldframe)?;
    std::thread::sleep(IDLE);
    let idle = Memory::of(coldframe.service.pid());
    coldframe.create(&Function::noop("noop")?)?;
    let mut connection = Connection::open(coldframe.address)?;
    let invocation = coldframe.invocation("noop");
    for _ in 0..1000 {
        ensure!(connection.call(&invocation)? == 200, "the function fails");
    }
    std::thread::sleep(IDLE);
    let used = Memory::of(coldframe.service.pid());
    println!("\n| memory, MiB | service, resident | all processes, proportional | processes |");
    println!("|---|--:|--:|--:|");
    for (name, memory) in [("idle", &idle), ("after 1000 calls, one environment frozen", &used)] {
        let Memory { resident, proportional, processes } = memory;
        println!("| {name} | {resident:.1} | {proportional:.1} | {processes} |");
    }
    verdicts.push(format!(
        "idle, {:.1} MiB resident, {:.1} with its {} children (at most 15): {}",
        idle.resident,
        idle.proportional,
        idle.processes - 1,
        reached(idle.resident.max(idle.proportional) <= 15.0)
    ));
    Ok(())
}
