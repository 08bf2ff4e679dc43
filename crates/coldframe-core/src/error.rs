//! Whose fault an error is, and the errors a function makes.

use std::fmt;
use std::time::Duration;

/// Who must act on an error. Only the edge turns this into a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request was wrong.
    Caller,
    /// The function, its runtime or an extension failed.
    Function,
    /// The platform failed.
    Coldframe,
}

/// An error with all its causes, in one line: for a log, or who has to act on it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        chain = format!("{chain}: {cause}");
        next = cause.source();
    }
    chain
}

/// Why an invocation or an init failed, in AWS's words: `errorType` and `errorMessage` of the
/// payload the platform makes when the runtime sent none (execution-environment.md §7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// E.g. `Runtime.ExitError`.
    pub kind: String,
    /// Without the `RequestId: … Error: ` in front; empty when AWS sends an empty payload.
    pub message: String,
    /// Whether the caller's text starts with `RequestId: ID Error: `.
    pub names_request: bool,
}

impl FunctionError {
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), names_request: true }
    }

    /// `Sandbox.Timedout`: the configured time, two decimals.
    pub fn timeout(limit: Duration) -> Self {
        Self::new("Sandbox.Timedout", timeout_message(limit))
    }

    /// The runtime ended. `out_of_memory`: the kernel killed it for the memory limit.
    pub fn runtime_exit(exit: Exit, out_of_memory: bool) -> Self {
        let message = match exit {
            Exit::Code(0) => "Runtime exited without providing a reason".to_owned(),
            exit => format!("Runtime exited with error: {exit}"),
        };
        let kind = if out_of_memory { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
        Self::new(kind, message)
    }

    /// An external extension ended (execution-environment.md §1.6, §3.7).
    pub fn extension_exit(exit: Exit) -> Self {
        let message = match exit {
            Exit::Code(0) => "exit code 0".to_owned(),
            exit => exit.to_string(),
        };
        Self::new("Extension.Crash", message)
    }

    /// The response was larger than the Runtime API takes.
    pub fn response_too_large(bytes_max: u64) -> Self {
        Self {
            kind: "Function.ResponseSizeTooLarge".to_owned(),
            message: format!(
                "Response payload size exceeded maximum allowed payload size ({bytes_max} bytes)."
            ),
            names_request: false,
        }
    }

    /// The caller's `errorMessage`.
    pub fn message_for(&self, request_id: crate::RequestId) -> String {
        if self.names_request {
            format!("RequestId: {request_id} Error: {}", self.message)
        } else {
            self.message.clone()
        }
    }
}

/// `Task timed out after 3.00 seconds`.
pub fn timeout_message(limit: Duration) -> String {
    format!("Task timed out after {:.2} seconds", limit.as_secs_f64())
}

/// How a process ended. Prints as Go's `os.ProcessState` does, which is what AWS's texts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal { signal: i32, core_dumped: bool },
}

impl Exit {
    /// Ended by `SIGKILL`.
    pub fn killed(self) -> bool {
        matches!(self, Self::Signal { signal: 9, .. })
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal { signal, core_dumped } => {
                let name = match signal {
                    1 => "hangup",
                    2 => "interrupt",
                    3 => "quit",
                    4 => "illegal instruction",
                    5 => "trace/breakpoint trap",
                    6 => "aborted",
                    7 => "bus error",
                    8 => "floating point exception",
                    9 => "killed",
                    10 => "user defined signal 1",
                    11 => "segmentation fault",
                    12 => "user defined signal 2",
                    13 => "broken pipe",
                    14 => "alarm clock",
                    15 => "terminated",
                    other => {
                        write!(f, "signal: signal {other}")?;
                        return if *core_dumped { f.write_str(" (core dumped)") } else { Ok(()) };
                    }
                };
                write!(f, "signal: {name}")?;
                if *core_dumped { f.write_str(" (core dumped)") } else { Ok(()) }
            }
        }
    }
}

/// Longest error type or name that is kept of what processes send, characters. AWS's is not known.
pub const NAME_CHARACTERS_MAX: usize = 256;

/// A name that somebody else has chosen, no longer than is kept.
pub fn bounded(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_MAX).collect()
}

/// The error type a runtime sent in `Lambda-Runtime-Function-Error-Type`, made valid
/// (execution-environment.md §2.8): kept if it holds `Runtime.Xyz` or `Function.Xyz` anywhere.
pub fn validated_error_type(sent: Option<&str>) -> String {
    let sent = sent.unwrap_or_default();
    let holds = |category: &str| {
        sent.match_indices(category).any(|(at, _)| {
            let mut rest = sent[at + category.len()..].bytes();
            rest.next().is_some_and(|byte| byte.is_ascii_uppercase())
                && rest.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        })
    };
    if holds("Runtime.") || holds("Function.") {
        bounded(sent)
    } else if sent.starts_with("Function.") {
        "Function.Unknown".to_owned()
    } else {
        "Runtime.Unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: execution-environment.md §2.8 and V14.
    #[test]
    fn ee_v14_error_types_are_validated() {
        let check = |sent: Option<&str>, kept: &str| assert_eq!(validated_error_type(sent), kept);
        check(Some("Runtime.Foo"), "Runtime.Foo");
        check(Some("Function.Bar"), "Function.Bar");
        check(Some("xRuntime.Foox"), "xRuntime.Foox");
        check(Some("Function.1"), "Function.Unknown");
        check(Some("function.bar"), "Runtime.Unknown");
        check(Some("Runtime.A"), "Runtime.Unknown");
        check(Some("unhandled"), "Runtime.Unknown");
        check(None, "Runtime.Unknown");
        let long = format!("Runtime.{}", "A".repeat(1_000_000));
        assert_eq!(validated_error_type(Some(&long)).len(), NAME_CHARACTERS_MAX);
    }

    // Spec: execution-environment.md §1.6, exit texts.
    #[test]
    fn exits_read_as_go_prints_them() {
        let check = |exit, text: &str| {
            assert_eq!(FunctionError::runtime_exit(exit, false).message, text);
        };
        let signal = |signal, core_dumped| Exit::Signal { signal, core_dumped };
        check(Exit::Code(0), "Runtime exited without providing a reason");
        check(Exit::Code(3), "Runtime exited with error: exit status 3");
        check(signal(9, false), "Runtime exited with error: signal: killed");
        check(
            signal(11, true),
            "Runtime exited with error: signal: segmentation fault (core dumped)",
        );
        check(signal(40, false), "Runtime exited with error: signal: signal 40");
        let extension = |exit| FunctionError::extension_exit(exit).message;
        assert_eq!(extension(Exit::Code(0)), "exit code 0");
        assert_eq!(extension(Exit::Code(7)), "exit status 7");
        assert_eq!(extension(signal(15, false)), "signal: terminated");
    }

    #[test]
    fn timeouts_have_two_decimals() {
        assert_eq!(timeout_message(Duration::from_secs(3)), "Task timed out after 3.00 seconds");
    }
}
