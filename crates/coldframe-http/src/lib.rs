//! The short way of an HTTP/1.1 connection: a request that came in one piece and asks for nothing
//! but an answer, and a message as it goes out. Everything else is hyper's, which gets the bytes that
//! were read put in front; so this may decline whatever it likes, and does when in doubt.
//!
//! It exists because a call after a pause runs on cold caches, where the least code and memory
//! answers first, and because a message can be sent from any task here, without waking the
//! connection's.
//!
//! **Invariant:** knows no Lambda. What it takes, hyper would take, and see the same in it; what it
//! sends is, byte for byte, what hyper would send.

use std::io::{Cursor, ErrorKind, IoSlice, Result};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A body that is sent in one piece with its head, bytes: copying it costs less than naming two.
const COPIED_BYTES_MAX: usize = 4096;

/// A request with more headers is hyper's. SDKs send about ten.
const HEADERS_MAX: usize = 24;

/// Headers that change what becomes of a body, an answer or the connection.
const ODD: [&str; 5] = ["transfer-encoding", "expect", "upgrade", "trailer", "te"];

/// A whole request, alone in what was read.
#[derive(Debug)]
pub struct Request<'b> {
    pub method: &'b str,
    /// As it stands in the request line.
    pub target: &'b str,
    pub body: &'b [u8],
    headers: [httparse::Header<'b>; HEADERS_MAX],
    count: usize,
}

impl<'b> Request<'b> {
    /// `None` for all that is hyper's: a part of a request, more than one, anything odd, and whatever
    /// changes what becomes of the connection.
    pub fn of(bytes: &'b [u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(bytes).ok()? else { return None };
        let (method, target) = (parsed.method?, parsed.path?);
        let (is_1_1, count) = (parsed.version == Some(1), parsed.headers.len());
        let body = bytes.get(head..)?;
        let mut length = None;
        for header in &headers[..count] {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                if length.replace(digits(header.value)?).is_some() {
                    return None;
                }
            } else if is("connection") {
                if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                    return None;
                }
            } else if ODD.into_iter().any(is) {
                return None;
            }
        }
        (is_1_1 && length.unwrap_or(0) == body.len()).then_some(Self {
            method,
            target,
            body,
            headers,
            count,
        })
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        let mut headers = self.headers[..self.count].iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(found.value)
    }

    /// The head, as hyper has it.
    pub fn head(&self) -> Option<hyper::Request<()>> {
        let mut request = hyper::Request::new(());
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = self.target.parse().ok()?;
        let headers = request.headers_mut();
        headers.reserve(self.count);
        for header in &self.headers[..self.count] {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
        }
        Some(request)
    }
}

/// A length without sign, space or list, of at most nine digits: more than is ever read at once.
fn digits(text: &[u8]) -> Option<usize> {
    let fits = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

/// How the names of headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `content-length`
    Lower,
    /// `Content-Length`
    Title,
}

/// Whether HTTP can carry the text as a header's value.
pub fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// A head in the making.
#[derive(Debug)]
pub struct Head {
    bytes: Vec<u8>,
    case: Case,
    /// `204` has no length.
    has_length: bool,
}

impl Head {
    /// Begins with the status line.
    pub fn new(status: StatusCode, case: Case) -> Self {
        let mut bytes = Vec::with_capacity(640);
        bytes.extend_from_slice(b"HTTP/1.1 ");
        bytes.extend_from_slice(status.as_str().as_bytes());
        bytes.push(b' ');
        // What hyper writes of a status without a name.
        let reason = status.canonical_reason().unwrap_or("<none>");
        bytes.extend_from_slice(reason.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, case, has_length: status != StatusCode::NO_CONTENT }
    }

    /// Adds a header. The name is in lower case; the value is one that HTTP can carry.
    pub fn put(&mut self, name: &str, value: &[u8]) {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        if self.case == Case::Title {
            let mut begins = true;
            for byte in &mut self.bytes[from..] {
                if begins {
                    byte.make_ascii_uppercase();
                }
                begins = *byte == b'-';
            }
        }
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Ends the head. The body is sent as it is.
    pub fn with(mut self, body: Bytes) -> Message {
        if self.has_length {
            self.put("content-length", body.len().to_string().as_bytes());
        }
        self.put("date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        if body.len() > COPIED_BYTES_MAX {
            return Message { head: self.bytes, body };
        }
        self.bytes.extend_from_slice(&body);
        Message { head: self.bytes, body: Bytes::new() }
    }
}

/// An answer as it goes out.
#[derive(Debug)]
pub struct Message {
    /// A short body is in here, too.
    head: Vec<u8>,
    body: Bytes,
}

impl Message {
    /// An answer whose headers say nothing of its length.
    pub fn of(status: StatusCode, headers: &HeaderMap, body: Bytes, case: Case) -> Self {
        let mut head = Head::new(status, case);
        for (name, value) in headers {
            head.put(name.as_str(), value.as_bytes());
        }
        head.with(body)
    }

    /// Sends what the socket takes at once of what is left after `sent` bytes; gives how many are
    /// sent now, and whether that is all. A broken connection takes nothing: its own task finds out.
    pub fn try_send(&self, to: &OwnedWriteHalf, sent: usize) -> (usize, bool) {
        let now = sent + self.write(to, sent).unwrap_or(0);
        (now, now == self.head.len() + self.body.len())
    }

    /// Sends all that is left after `sent` bytes.
    ///
    /// # Errors
    /// If the connection is broken.
    pub async fn send(&self, to: &OwnedWriteHalf, mut sent: usize) -> Result<()> {
        while sent < self.head.len() + self.body.len() {
            match self.write(to, sent) {
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&self, to: &OwnedWriteHalf, sent: usize) -> Result<usize> {
        match self.head.get(sent..) {
            Some(head) if self.body.is_empty() => to.try_write(head),
            Some(head) => to.try_write_vectored(&[IoSlice::new(head), IoSlice::new(&self.body)]),
            None => to.try_write(&self.body[sent - self.head.len()..]),
        }
    }
}

/// A connection that goes on with hyper.
#[derive(Debug)]
pub struct Rest {
    read: Bytes,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Rest {
    /// `read` has been read of its next request.
    pub fn new(read: &[u8], from: OwnedReadHalf, to: OwnedWriteHalf) -> Self {
        Self { read: Bytes::copy_from_slice(read), from, to }
    }

    /// The connection as if nothing of that had been read.
    pub fn stream(self) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
        tokio::io::join(Cursor::new(self.read).chain(self.from), self.to)
    }
}

/// Waits until the other side has closed the connection. Whoever sends instead is not watched any
/// more, until that is read.
pub async fn closed(from: &mut OwnedReadHalf) {
    match from.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
