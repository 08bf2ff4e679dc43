//! HTTP/1.1 over one kept connection, with as little as a benchmark's client may do: the head's
//! first line, the headers that are asked for, and the body by `content-length` or chunks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

/// The larger head or body is an error: nothing here sends such.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// The present message, and where the next one begins.
    head: Range<usize>,
    body: Range<usize>,
    end: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::of(TcpStream::connect(address)?)
    }

    /// Takes an accepted connection.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024], filled: 0, head: 0..0, body: 0..0, end: 0 })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next message to its end; `false` if the other side has closed before it.
    ///
    /// # Errors
    /// If it ends in the middle, or isn't HTTP.
    pub fn receive(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.end..self.filled, 0);
        self.filled -= self.end;
        self.end = 0;
        loop {
            if self.parse()? {
                return Ok(true);
            }
            if self.filled == self.buffer.len() {
                if self.filled >= MESSAGE_BYTES_MAX {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.buffer.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..])? {
                0 if self.filled == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.filled += length,
            }
        }
    }

    /// Sends a request and reads its reply; gives the status.
    ///
    /// # Errors
    /// If the connection ends before.
    pub fn call(&mut self, request: &[u8]) -> io::Result<u16> {
        self.send(request)?;
        self.answer()
    }

    /// Reads the reply to what was sent; gives the status.
    ///
    /// # Errors
    /// If the connection ends before.
    pub fn answer(&mut self) -> io::Result<u16> {
        if !self.receive()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let status = self.head().get(9..12).and_then(|status| std::str::from_utf8(status).ok());
        status.and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// First line and headers of the present message.
    pub fn head(&self) -> &[u8] {
        &self.buffer[self.head.clone()]
    }

    /// The body of the present message; of a chunked one, with the chunks' frames.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// A header's value. `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head(), name)
    }

    fn parse(&mut self) -> io::Result<bool> {
        let bytes = &self.buffer[..self.filled];
        let Some(length) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        let (head, rest) = (&bytes[..length], length + 4);
        let end = match header(head, "content-length") {
            Some(text) => rest + text.parse::<usize>().map_err(|_| io::ErrorKind::InvalidData)?,
            None if header(head, "transfer-encoding").is_some() => {
                let last = b"0\r\n\r\n";
                let at = bytes[rest..].windows(last.len()).position(|window| window == last);
                match at {
                    Some(at) => rest + at + last.len(),
                    None => return Ok(false),
                }
            }
            None => rest,
        };
        if end > self.filled {
            return Ok(false);
        }
        (self.head, self.body, self.end) = (0..length, rest..end, end);
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        if !key.eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        Some(std::str::from_utf8(value.strip_prefix(b":")?).ok()?.trim())
    })
}
