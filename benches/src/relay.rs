//! The floor: the least that anything between a client and a function's process can do. A client's
//! POST goes to the function as the answer of its `next`, the function's response goes back; no
//! life cycle, no isolation, no log, no limits, no freezing.
//!
//! ```text
//! client ──POST──► thread ──answer of `next`──► function
//! client ◄──200─── thread ◄──────POST────────── function
//! ```
//! Each client has a thread and a function of its own, and every read and write blocks: no event
//! loop, no hand-over between threads.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use coldframe_benches::wire::Connection;

fn main() -> io::Result<()> {
    let clients = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let functions = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("clients {} functions {}", clients.local_addr()?, functions.local_addr()?);
    let (free, waiting) = channel();
    let given_back = free.clone();
    std::thread::spawn(move || accept_functions(&functions, &free));
    let waiting = Arc::new(Mutex::new(waiting));
    for client in clients.incoming() {
        let (client, waiting, free) = (client?, waiting.clone(), given_back.clone());
        std::thread::spawn(move || -> io::Result<()> {
            let function = take(&waiting)?;
            let function = serve(Connection::of(client)?, function)?;
            free.send(function).map_err(io::Error::other)
        });
    }
    Ok(())
}

/// Every function in the channel has asked for its next event and waits.
fn accept_functions(functions: &TcpListener, free: &Sender<Connection>) -> io::Result<()> {
    for function in functions.incoming() {
        let mut function = Connection::of(function?)?;
        function.receive()?;
        free.send(function).map_err(io::Error::other)?;
    }
    Ok(())
}

fn take(waiting: &Mutex<Receiver<Connection>>) -> io::Result<Connection> {
    waiting.lock().map_err(|_| io::ErrorKind::Other)?.recv().map_err(io::Error::other)
}

/// Until the client goes; gives the function back.
fn serve(mut client: Connection, mut function: Connection) -> io::Result<Connection> {
    let (mut event, mut answer) = (Vec::new(), Vec::new());
    let mut number = 0_u64;
    while client.receive()? {
        number += 1;
        event.clear();
        write!(
            event,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 00000000-0000-4000-8000-{number:012x}\r\nContent-Length: {}\r\n\r\n",
            client.body().len()
        )?;
        event.extend_from_slice(client.body());
        function.send(&event)?;
        if !function.receive()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.clear();
        write!(
            answer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            function.body().len()
        )?;
        answer.extend_from_slice(function.body());
        client.send(&answer)?;
        function.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
        function.receive()?;
    }
    Ok(function)
}
