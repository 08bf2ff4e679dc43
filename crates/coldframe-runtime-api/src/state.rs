//! What a runtime may ask when (execution-environment.md §2.3): pure, and tested whole.

use std::fmt;

/// Where a runtime stands. The names appear in error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Started,
    InitError,
    /// Blocked in `next`.
    Ready,
    /// Has the event.
    Running,
    /// Is sending the response.
    InvocationResponse,
    /// Is sending the error.
    InvocationErrorResponse,
    /// The response or error has been taken to its end.
    RuntimeResponseSentState,
}

/// What a runtime asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Next,
    Response,
    Error,
    InitError,
}

/// `State transition from <S> to <T> failed for runtime. Error: State transition is not allowed`
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
)]
pub struct Refused {
    pub from: State,
    pub to: State,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl State {
    /// The state after `call`. The check of the request id comes before this one.
    pub fn on(self, call: Call) -> Result<Self, Refused> {
        let to = match call {
            Call::Next => Self::Ready,
            Call::Response => Self::InvocationResponse,
            Call::Error => Self::InvocationErrorResponse,
            Call::InitError => Self::InitError,
        };
        match (self, call) {
            (Self::Started | Self::Ready | Self::RuntimeResponseSentState, Call::Next) => Ok(to),
            // The same event again.
            (Self::Running, Call::Next) => Ok(Self::Running),
            (Self::Running, Call::Response | Call::Error) => Ok(to),
            (Self::Started, Call::InitError) => Ok(to),
            (from, _) => Err(Refused { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: State, call: Call, to: Option<State>) {
        assert_eq!(from.on(call).ok(), to, "{from} {call:?}");
    }

    // Spec: execution-environment.md §2.3 and V11, every cell outside SnapStart.
    #[test]
    fn ee_v11_every_cell() {
        use Call::{Error, InitError, Next, Response};
        let sent = State::RuntimeResponseSentState;
        for (from, next, response, error, init_error) in [
            (State::Started, Some(State::Ready), None, None, Some(State::InitError)),
            (State::InitError, None, None, None, None),
            (State::Ready, Some(State::Ready), None, None, None),
            (
                State::Running,
                Some(State::Running),
                Some(State::InvocationResponse),
                Some(State::InvocationErrorResponse),
                None,
            ),
            (State::InvocationResponse, None, None, None, None),
            (State::InvocationErrorResponse, None, None, None, None),
            (sent, Some(State::Ready), None, None, None),
        ] {
            check(from, Next, next);
            check(from, Response, response);
            check(from, Error, error);
            check(from, InitError, init_error);
        }
    }

    #[test]
    fn refusals_read_as_aws_writes_them() {
        assert_eq!(
            State::InvocationResponse.on(Call::Next).unwrap_err().to_string(),
            "State transition from InvocationResponse to Ready failed for runtime. Error: State transition is not allowed"
        );
    }
}
