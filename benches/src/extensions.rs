//! `bench-extensions`: what a warm invocation takes with an extension that is told of each and a
//! subscriber to telemetry, beside the same without, in alternating rounds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use coldframe_benches::contender::{Coldframe, Function, sibling, until};
use coldframe_benches::statistics::{Round, Spread, median, micros};
use coldframe_benches::wire::Connection;
use coldframe_benches::{command, machine};

const HELP: &str = "\
bench-extensions [--rounds N]
  prints a Markdown section; timings never make it fail";

const TIGHT_CALLS: usize = 1500;
const WARM_UP_CALLS: usize = 100;
/// How long one paced round lasts, and how far its calls are apart.
const PACED_ROUND: Duration = Duration::from_millis(1000);
const PACE: Duration = Duration::from_millis(5);

/// Of the p50 without.
const GOAL: f64 = 1.5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 9,
        ["--rounds", rounds] => rounds.parse()?,
        _ => {
            println!("{HELP}");
            return Ok(());
        }
    };
    let layer = Layer::make()?;
    let binary = sibling("coldframe")?;
    let path = layer.0.to_str().context("the layer's path is not UTF-8")?;
    let mut sides = [
        Side { name: "without", service: Coldframe::start(&binary, &[])? },
        Side { name: "with both", service: Coldframe::start(&binary, &["--layer", path])? },
    ];
    for side in &mut sides {
        side.service.create(&Function::noop("noop")?)?;
    }
    println!("## Extensions, {}\n", machine::now());
    println!("`{}`; {rounds} rounds, order rotated.", command("extensions"));
    println!(
        "A native function; one native extension that is told of every invocation, and one that gets \
         platform and function records over HTTP. One client over one kept connection; µs; median \
         of the rounds, (lowest–highest round).\n"
    );
    let mut verdicts = Vec::new();
    for mode in [Mode::Tight, Mode::Paced] {
        let mut measured = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..sides.len() {
                let index = (round + turn) % sides.len();
                measured[index].push(sides[index].round(mode)?);
            }
        }
        verdicts.push(table(mode, &sides, &measured));
    }
    for side in &mut sides {
        side.check()?;
    }
    println!("\nGoals:\n");
    verdicts.iter().for_each(|verdict| println!("- {verdict}"));
    println!("\n{}.", machine::facts());
    Ok(())
}

#[derive(Clone, Copy)]
enum Mode {
    /// Back to back.
    Tight,
    /// One call each [`PACE`].
    Paced,
}

/// A directory like `/opt`, until dropped.
struct Layer(PathBuf);

impl Layer {
    fn make() -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let target = own.ancestors().nth(2).context("this program has no place")?;
        let layer = Self(target.join(format!("bench/layer-{}", std::process::id())));
        let extensions = layer.0.join("extensions");
        std::fs::create_dir_all(&extensions)?;
        for name in ["invoked", "subscriber"] {
            std::fs::copy(sibling("observer")?, extensions.join(name))
                .with_context(|| format!("cannot copy the extension {name}"))?;
        }
        Ok(layer)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

struct Side {
    name: &'static str,
    service: Coldframe,
}

impl Side {
    fn round(&mut self, mode: Mode) -> anyhow::Result<Round> {
        let request = self.service.invocation("noop");
        let mut connection = Connection::open(self.service.address)?;
        let mut call = || -> anyhow::Result<f64> {
            let began = Instant::now();
            let status = connection.call(&request)?;
            let took = micros(began.elapsed());
            let body = String::from_utf8_lossy(connection.body());
            ensure!(status == 200 && body == "{}", "it answers {status} {body}");
            Ok(took)
        };
        for _ in 0..WARM_UP_CALLS {
            call()?;
        }
        let mut samples = Vec::new();
        match mode {
            Mode::Tight => {
                for _ in 0..TIGHT_CALLS {
                    samples.push(call()?);
                }
            }
            Mode::Paced => {
                let mut next = Instant::now() + PACE;
                for _ in 0..PACED_ROUND.as_micros() / PACE.as_micros() {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    samples.push(call()?);
                    next = (next + PACE).max(Instant::now());
                }
            }
        }
        // The next one begins beside one that rests.
        until("the environments to be frozen", || {
            let environments = self.service.environments()?;
            Ok(environments.iter().all(|one| one["state"] == "frozen"))
        })?;
        Ok(Round::of(samples))
    }

    /// What is measured is what is said: one environment, with or without the extensions.
    fn check(&mut self) -> anyhow::Result<()> {
        let environments = self.service.environments()?;
        let [one] = &environments[..] else {
            println!("\n{} environments have served {}.", environments.len(), self.name);
            return Ok(());
        };
        let extensions = one["extensions"].as_array().map_or(0, Vec::len);
        let expected = if self.name == "without" { 0 } else { 2 };
        ensure!(extensions == expected, "{}: {one}", self.name);
        Ok(())
    }
}

fn table(mode: Mode, sides: &[Side], measured: &[Vec<Round>; 2]) -> String {
    let title = match mode {
        Mode::Tight => "back to back".to_owned(),
        Mode::Paced => format!("one call each {} ms", PACE.as_millis()),
    };
    println!("### Extensions, {title}\n");
    println!("| | p50 | p99 | min |");
    println!("|---|--:|--:|--:|");
    for (side, rounds) in sides.iter().zip(measured) {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} |",
            side.name,
            Spread::of(rounds.iter().map(|round| round.p50)),
            Spread::of(rounds.iter().map(|round| round.p99)),
            rounds.iter().map(|round| round.min).fold(f64::INFINITY, f64::min),
        );
    }
    println!();
    let [without, with] = measured;
    let p50 = |rounds: &[Round]| median(rounds.iter().map(|round| round.p50));
    let ratio = p50(with) / p50(without);
    let each = with.iter().zip(without).map(|(with, without)| with.p50 / without.p50);
    format!(
        "{title}, {ratio:.2} × without (at most {GOAL}): {}; rounds {:.2}",
        if ratio <= GOAL { "reached" } else { "missed" },
        Spread::of(each)
    )
}
