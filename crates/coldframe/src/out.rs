//! What commands print. A reader that has gone, as in `coldframe … | head`, is an error like others
//! and ends the command quietly; `println!` would panic.

use std::fmt::{self, Arguments};
use std::io::{self, Write};

/// Prints a line to stdout.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::out::print(format_args!("{}\n", format_args!($($text)*)))
    };
}
pub(crate) use say;

pub(crate) fn print(text: Arguments<'_>) -> anyhow::Result<()> {
    io::stdout().lock().write_fmt(text).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Unread.into(),
        _ => anyhow::Error::from(error).context("cannot write to stdout"),
    })
}

/// Nobody reads any more: no fault of anybody's.
#[derive(Debug)]
pub(crate) struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads stdout any more")
    }
}

impl std::error::Error for Unread {}
