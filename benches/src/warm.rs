//! `bench-warm`: what a warm invocation of a native function takes, beside the floor and AWS's
//! emulator, in alternating rounds.

use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use coldframe_benches::contender::{
    Coldframe, Contender, Function, fetch_emulator, sibling, until,
};
use coldframe_benches::machine;
use coldframe_benches::statistics::{Round, Spread, median, micros};
use coldframe_benches::wire::Connection;
use serde_json::Value;

const HELP: &str = "\
bench-warm [--rounds N] [--coldframe FILE] [--cache DIR] [--no-emulator]
  prints a Markdown section; timings never make it fail";

/// Calls of one contender in one round.
const TIGHT_CALLS: usize = 1500;
const WARM_UP_CALLS: usize = 100;
/// How long one paced round lasts.
const PACED_ROUND: Duration = Duration::from_millis(1000);
/// Before one in so many paced calls, the environment's state is asked for.
const LOOK_EVERY: usize = 5;
const CONCURRENT_ROUND: Duration = Duration::from_millis(700);

struct Options {
    rounds: usize,
    coldframe: PathBuf,
    cache: PathBuf,
    emulator: bool,
}

fn main() -> anyhow::Result<()> {
    let Some(options) = options()? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut coldframe = Coldframe::start(&options.coldframe, &[])?;
    coldframe.create(&Function::noop("noop")?)?;
    let mut contenders = vec![Side {
        name: "coldframe",
        address: coldframe.address,
        request: coldframe.invocation("noop"),
        pid: coldframe.service.pid(),
    }];
    let relay = Contender::relay(8)?;
    contenders.push(Side::of(&relay));
    let mut notes = Vec::new();
    let mut emulator = None;
    if options.emulator {
        match fetch_emulator(&options.cache)
            .and_then(|(binary, version)| Ok((Contender::emulator(&binary)?, version)))
        {
            Ok((contender, version)) => {
                notes.push(format!("The emulator is the one in aws-sam-cli {version}."));
                contenders.push(Side::of(&contender));
                emulator = Some(contender);
            }
            Err(error) => notes.push(format!("No emulator: {error:#}.")),
        }
    }
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    println!("## Warm, {}\n", machine::now());
    println!("`cargo xtask bench warm {command}`; {} rounds, order rotated.", options.rounds);
    println!(
        "One client over one kept connection unless told otherwise; µs; median of the rounds, \
         (lowest–highest round).\n"
    );
    let modes = [Mode::Tight, Mode::Paced(5), Mode::Paced(20)];
    let mut verdicts = Vec::new();
    for mode in modes {
        let measured = alternate(&contenders, mode, options.rounds, &mut coldframe)?;
        table(mode, &contenders, &measured);
        verdicts.extend(verdict(mode, &measured));
    }
    concurrent(&contenders, options.rounds)?;
    println!("\nGoals:\n");
    verdicts.iter().for_each(|verdict| println!("- {verdict}"));
    println!();
    notes.iter().for_each(|note| println!("{note}"));
    println!("{}.", machine::facts());
    drop(emulator);
    Ok(())
}

fn options() -> anyhow::Result<Option<Options>> {
    let cache = std::env::current_exe()?.ancestors().nth(2).map(|target| target.join("bench"));
    let mut rounds = 11;
    let (mut coldframe, mut cache) = (None, cache.context("this program has no place")?);
    let mut emulator = true;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--rounds" => rounds = value()?.parse()?,
            "--coldframe" => coldframe = Some(PathBuf::from(value()?)),
            "--cache" => cache = value()?.into(),
            "--no-emulator" => emulator = false,
            _ => return Ok(None),
        }
    }
    let coldframe = coldframe.map_or_else(|| sibling("coldframe"), Ok)?;
    Ok(Some(Options { rounds, coldframe, cache, emulator }))
}

/// What of a contender the measuring needs.
struct Side {
    name: &'static str,
    address: std::net::SocketAddr,
    request: Vec<u8>,
    pid: u32,
}

impl Side {
    fn of(contender: &Contender) -> Self {
        Self {
            name: contender.name,
            address: contender.address,
            request: contender.request.clone(),
            pid: contender.service.pid(),
        }
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address).with_context(|| format!("cannot reach {}", self.name))
    }

    fn call(&self, connection: &mut Connection) -> anyhow::Result<f64> {
        let began = Instant::now();
        let status = connection.call(&self.request)?;
        let took = micros(began.elapsed());
        ensure!(
            status == 200 && connection.body() == b"{}",
            "{} answers {status} {}",
            self.name,
            String::from_utf8_lossy(connection.body())
        );
        Ok(took)
    }
}

#[derive(Clone, Copy)]
enum Mode {
    /// Back to back.
    Tight,
    /// One call each so many milliseconds.
    Paced(u64),
}

/// One contender's rounds.
#[derive(Default)]
struct Measured {
    rounds: Vec<Round>,
    /// CPU of the process between client and function, µs a call.
    cpu: Vec<f64>,
    /// Looks at the environment between calls, and how often it was frozen.
    looks: usize,
    frozen: usize,
}

fn alternate(
    sides: &[Side],
    mode: Mode,
    rounds: usize,
    coldframe: &mut Coldframe,
) -> anyhow::Result<Vec<Measured>> {
    let mut measured: Vec<Measured> = sides.iter().map(|_| Measured::default()).collect();
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let index = (round + turn) % sides.len();
            let looker = (index == 0).then_some(&mut *coldframe);
            run(&sides[index], mode, &mut measured[index], looker)?;
        }
    }
    Ok(measured)
}

fn run(
    side: &Side,
    mode: Mode,
    measured: &mut Measured,
    mut coldframe: Option<&mut Coldframe>,
) -> anyhow::Result<()> {
    let mut connection = side.connect()?;
    for _ in 0..WARM_UP_CALLS {
        side.call(&mut connection)?;
    }
    let mut samples = Vec::new();
    let cpu = machine::cpu_of_threads(side.pid);
    match mode {
        Mode::Tight => {
            for _ in 0..TIGHT_CALLS {
                samples.push(side.call(&mut connection)?);
            }
        }
        Mode::Paced(every) => {
            let every = Duration::from_millis(every);
            let mut next = Instant::now() + every;
            for number in 0..(PACED_ROUND.as_micros() / every.as_micros()) as usize {
                if let Some(coldframe) =
                    coldframe.as_deref_mut().filter(|_| number % LOOK_EVERY == 0)
                {
                    // Half way, so that the looking is over when the call begins.
                    wait(next - every / 2);
                    measured.looks += 1;
                    let environments = coldframe.environments()?;
                    measured.frozen += usize::from(rests(&environments));
                }
                wait(next);
                samples.push(side.call(&mut connection)?);
                next = (next + every).max(Instant::now());
            }
        }
    }
    let cpu = machine::cpu_micros_since(side.pid, &cpu);
    measured.cpu.push(cpu / samples.len() as f64);
    measured.rounds.push(Round::of(samples));
    // The next one begins beside one that rests.
    if let Some(coldframe) = coldframe {
        until("the environment to be frozen", || Ok(rests(&coldframe.environments()?)))?;
    }
    Ok(())
}

/// One is frozen, and none of the others can take an invocation without being thawed.
fn rests(environments: &[Value]) -> bool {
    let is = |one: &Value, states: &[&str]| states.iter().any(|state| one["state"] == *state);
    environments.iter().any(|one| is(one, &["frozen"]))
        && !environments.iter().any(|one| is(one, &["idle", "invoke", "responded"]))
}

fn wait(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn p50(measured: &Measured) -> f64 {
    median(measured.rounds.iter().map(|round| round.p50))
}

fn table(mode: Mode, sides: &[Side], measured: &[Measured]) {
    match mode {
        Mode::Tight => println!("### Tight: back to back\n"),
        Mode::Paced(every) => println!("\n### Paced: one call each {every} ms\n"),
    }
    println!("| | p50 | p99 | min | CPU between | p50 : coldframe's |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (side, one) in sides.iter().zip(measured) {
        let minimum = one.rounds.iter().map(|round| round.min).fold(f64::INFINITY, f64::min);
        println!(
            "| {} | {:.0} | {:.0} | {minimum:.0} | {:.0} | {:.2} |",
            side.name,
            Spread::of(one.rounds.iter().map(|round| round.p50)),
            Spread::of(one.rounds.iter().map(|round| round.p99)),
            median(one.cpu.iter().copied()),
            p50(one) / p50(&measured[0]),
        );
    }
    if let Mode::Paced(_) = mode {
        let Measured { looks, frozen, .. } = measured[0];
        println!("\nFrozen between calls: {frozen} of {looks} looks.");
    }
}

fn verdict(mode: Mode, measured: &[Measured]) -> Vec<String> {
    let ours = p50(&measured[0]);
    let each = |other: &Measured, ratio: fn(f64, f64) -> f64| {
        let pairs = measured[0].rounds.iter().zip(&other.rounds);
        Spread::of(pairs.map(|(ours, theirs)| ratio(ours.p50, theirs.p50)))
    };
    let reached = |is: bool| if is { "reached" } else { "missed" };
    let mut verdicts = Vec::new();
    match (mode, measured) {
        (Mode::Tight, [_, relay, ..]) => {
            let ratio = ours / p50(relay);
            verdicts.push(format!(
                "tight, {ratio:.2} × the relay floor (at most 2): {}; rounds {:.2}",
                reached(ratio <= 2.0),
                each(relay, |ours, theirs| ours / theirs)
            ));
        }
        (Mode::Paced(every), [_, _, emulator]) => {
            let ratio = p50(emulator) / ours;
            let always = measured[0].frozen == measured[0].looks;
            verdicts.push(format!(
                "each {every} ms, {} frozen between, {ratio:.2} × faster than the emulator (at least 2.5): {}; rounds {:.2}",
                if always { "always" } else { "not always" },
                reached(ratio >= 2.5),
                each(emulator, |ours, theirs| theirs / ours)
            ));
        }
        _ => {}
    }
    verdicts
}

/// Calls a second of 2 and 8 clients. Without the emulator: it serves one call at a time.
fn concurrent(sides: &[Side], rounds: usize) -> anyhow::Result<()> {
    println!("\n### Concurrent clients, back to back: calls/s\n");
    println!("| | 2 clients | 8 clients |");
    println!("|---|--:|--:|");
    let sides = &sides[..2];
    let mut rates = vec![[Vec::new(), Vec::new()]; sides.len()];
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let index = (round + turn) % sides.len();
            for (column, clients) in [2, 8].into_iter().enumerate() {
                rates[index][column].push(rate(&sides[index], clients)?);
            }
        }
    }
    for (side, [two, eight]) in sides.iter().zip(rates) {
        println!("| {} | {:.0} | {:.0} |", side.name, Spread::of(two), Spread::of(eight));
    }
    Ok(())
}

fn rate(side: &Side, clients: usize) -> anyhow::Result<f64> {
    let barrier = Barrier::new(clients);
    let calls = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<usize> {
                    let mut connection = side.connect()?;
                    side.call(&mut connection)?;
                    barrier.wait();
                    let deadline = Instant::now() + CONCURRENT_ROUND;
                    let mut calls = 0;
                    while Instant::now() < deadline {
                        side.call(&mut connection)?;
                        calls += 1;
                    }
                    Ok(calls)
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("no client panics"));
        joined.sum::<anyhow::Result<usize>>()
    })?;
    Ok(calls as f64 / CONCURRENT_ROUND.as_secs_f64())
}
