//! The function of `bench-stream`: answers every event with a stream of [`STREAMED_BYTES`].

use std::io::{self, Write};
use std::net::TcpStream;

use coldframe_benches::{STREAMED_BLOCK_BYTES, STREAMED_BYTES, wire::Connection};

fn main() -> io::Result<()> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let address = api.parse().map_err(io::Error::other)?;
    let mut events = Connection::open(address)?;
    let next = format!("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: {api}\r\n\r\n");
    // A whole chunk: its length, its bytes, its end.
    let mut chunk = format!("{STREAMED_BLOCK_BYTES:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + STREAMED_BLOCK_BYTES, b'x');
    chunk.extend_from_slice(b"\r\n");
    let stream = TcpStream::connect::<std::net::SocketAddr>(address)?;
    let mut upload = Connection::of(stream.try_clone()?)?;
    // Whoever served the Runtime API is gone: so is this.
    while events.call(next.as_bytes()).is_ok_and(|status| status == 200) {
        let id = events.header("lambda-runtime-aws-request-id").unwrap_or_default();
        write!(
            &stream,
            "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/octet-stream\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
        )?;
        for _ in 0..STREAMED_BYTES / STREAMED_BLOCK_BYTES {
            (&stream).write_all(&chunk)?;
        }
        upload.call(b"0\r\n\r\n")?;
    }
    Ok(())
}
