//! The function of the benchmarks: it speaks the Runtime API over one kept connection and answers
//! every event with `{}`. With the argument `ready` it writes one byte and ends: what `bench-cold`
//! measures a bare start of a process by.

use std::io::{self, Write};

use coldframe_benches::wire::Connection;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("ready") {
        return io::stdout().write_all(b"!").and_then(|()| io::stdout().flush());
    }
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let address = api.parse().map_err(io::Error::other)?;
    let mut connection = Connection::open(address)?;
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    let mut response = Vec::with_capacity(256);
    loop {
        match connection.call(next.as_bytes()) {
            Ok(200) => {}
            Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            // Whoever served the Runtime API is gone.
            Err(_) => return Ok(()),
        }
        let id = connection.header("lambda-runtime-aws-request-id").unwrap_or_default();
        response.clear();
        write!(
            response,
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        )?;
        connection.call(&response)?;
    }
}
