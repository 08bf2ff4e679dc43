//! Connects to a host that may have many addresses, some of which may not answer.
//!
//! ```text
//! address 1 ├──────────── silent
//! address 2     ├─── refused
//! address 3         ├─ connected: the others are given up
//! ```
//! RFC 8305, "Happy Eyeballs", sections 4 and 5: each address has a head start over the next, which
//! begins at once when one fails. The limit in time is the caller's.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;

/// Until the next address is tried beside those that haven't answered. RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection to the first address that gives one.
///
/// # Errors
/// If the host has no address, or with what the last address said.
pub(crate) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    race(ordered(lookup_host((host, port)).await?.collect())).await
}

/// The families take turns, beginning with that of the first address; within a family the order stays.
fn ordered(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(is_first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let count = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    (0..count).flat_map(|_| [first.next(), second.next()]).flatten().collect()
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    // Dropped, it gives up those that are under way.
    let mut attempts = JoinSet::new();
    let mut said = io::Error::new(io::ErrorKind::NotFound, "its host has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        }
        let ended = if addresses.len() > 0 {
            tokio::time::timeout(HEAD_START, attempts.join_next()).await
        } else {
            Ok(attempts.join_next().await)
        };
        match ended {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => said = error,
            Ok(Some(Err(error))) => said = error.into(),
            Ok(None) => return Err(said),
            // The head start is over.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
