//! `bench-stream`: how fast a streamed response goes through when no rate is set, beside a relay
//! that copies as many bytes from one TCP connection to another, in alternating rounds.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, ensure};
use coldframe_benches::contender::{Coldframe, Function, sibling, until};
use coldframe_benches::statistics::{Spread, median};
use coldframe_benches::{STREAMED_BLOCK_BYTES, STREAMED_BYTES, command, machine};

const HELP: &str = "\
bench-stream [--rounds N]
  prints a Markdown section; timings never make it fail";

/// GB/s.
const GOAL: f64 = 1.0;

/// What the client reads at once, and the relay copies.
const READ_BYTES: usize = 256 * 1024;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 11,
        ["--rounds", rounds] => rounds.parse()?,
        ["writer", address] => return Ok(write_to(address.parse()?)?),
        ["relay", address] => return Ok(relay(address.parse()?)?),
        _ => {
            println!("{HELP}");
            return Ok(());
        }
    };
    let mut coldframe = Coldframe::start(&sibling("coldframe")?, &["--stream-rate", "off"])?;
    let content = std::fs::read(sibling("streamer")?).context("cannot read streamer")?;
    coldframe.create(&Function {
        name: "streamer",
        runtime: "provided.al2023",
        handler: "streamer",
        file: "bootstrap",
        content,
    })?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first is a cold start.
    streamed(&mut coldframe)?;
    for round in 0..rounds {
        for turn in 0..2 {
            match (round + turn) % 2 {
                0 => ours.push(streamed(&mut coldframe)?),
                _ => theirs.push(relayed()?),
            }
        }
    }
    println!("## Stream, {}\n", machine::now());
    println!("`{}`; {rounds} rounds, order rotated.", command("stream"));
    println!(
        "{} MB of one response, warm, rate rule off, from a native function by the service to a \
         client over loopback. The relay copies them from one TCP connection to another, \
         {} KiB at a time: three processes too. GB/s; median of the rounds, (lowest–highest \
         round).\n",
        STREAMED_BYTES / 1_000_000,
        READ_BYTES / 1024
    );
    println!("| | GB/s |");
    println!("|---|--:|");
    println!("| coldframe | {:.2} |", Spread::of(ours.iter().copied()));
    println!("| relay | {:.2} |", Spread::of(theirs.iter().copied()));
    let rate = median(ours.iter().copied());
    println!(
        "\nGoals:\n\n- {rate:.2} GB/s (at least {GOAL}): {}; {:.2} × the relay\n",
        if rate >= GOAL { "reached" } else { "missed" },
        rate / median(theirs.iter().copied())
    );
    println!("{}.", machine::facts());
    Ok(())
}

/// GB/s of one streamed response.
fn streamed(coldframe: &mut Coldframe) -> anyhow::Result<f64> {
    let address = coldframe.address;
    let mut client = TcpStream::connect(address)?;
    let request = format!(
        "POST /2021-11-15/functions/streamer/response-streaming-invocations HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let began = Instant::now();
    client.write_all(request.as_bytes())?;
    let (bytes, end) = read_all(&mut client)?;
    let took = began.elapsed();
    // The frames of events and chunks are small beside what they hold.
    ensure!((STREAMED_BYTES..STREAMED_BYTES * 102 / 100).contains(&bytes), "{bytes} bytes came");
    let end = String::from_utf8_lossy(&end);
    ensure!(end.contains("InvokeComplete") && end.contains("{}"), "it ends {end:?}");
    until("the environment to be frozen", || {
        Ok(coldframe.environments()?.iter().all(|one| one["state"] == "frozen"))
    })?;
    Ok(STREAMED_BYTES as f64 / took.as_secs_f64() / 1e9)
}

/// GB/s of the same bytes through a relay.
fn relayed() -> anyhow::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let own = std::env::current_exe()?;
    let mut relay = std::process::Command::new(&own)
        .args(["relay", &listener.local_addr()?.to_string()])
        .spawn()?;
    let (mut client, _) = listener.accept()?;
    // It says that its writer is there.
    client.read_exact(&mut [0])?;
    let began = Instant::now();
    client.write_all(b"!")?;
    let (bytes, _) = read_all(&mut client)?;
    let took = began.elapsed();
    ensure!(bytes == STREAMED_BYTES, "{bytes} bytes came");
    relay.wait()?;
    Ok(STREAMED_BYTES as f64 / took.as_secs_f64() / 1e9)
}

fn relay(client: SocketAddr) -> io::Result<()> {
    let mut client = TcpStream::connect(client)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut writer = std::process::Command::new(std::env::current_exe()?)
        .args(["writer", &listener.local_addr()?.to_string()])
        .spawn()?;
    let (mut source, _) = listener.accept()?;
    client.write_all(b"!")?;
    client.read_exact(&mut [0])?;
    source.write_all(b"!")?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => break,
            length => client.write_all(&buffer[..length])?,
        }
    }
    drop(client);
    writer.wait().map(drop)
}

fn write_to(relay: SocketAddr) -> io::Result<()> {
    let mut relay = TcpStream::connect(relay)?;
    let block = vec![b'x'; STREAMED_BLOCK_BYTES];
    relay.read_exact(&mut [0])?;
    for _ in 0..STREAMED_BYTES / STREAMED_BLOCK_BYTES {
        relay.write_all(&block)?;
    }
    Ok(())
}

/// Reads to the end: how many bytes, and the last of them.
fn read_all(from: &mut TcpStream) -> io::Result<(usize, Vec<u8>)> {
    let (mut buffer, mut bytes) = (vec![0; READ_BYTES], 0);
    let mut end: Vec<u8> = Vec::new();
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok((bytes, end));
        }
        bytes += length;
        end.extend_from_slice(&buffer[length.saturating_sub(128)..length]);
        end.drain(..end.len().saturating_sub(128));
    }
}
