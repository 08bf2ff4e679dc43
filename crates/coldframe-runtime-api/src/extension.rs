//! The extensions of one environment: what each may ask when (execution-environment.md §3). Pure,
//! but for the channels that held `event/next` calls wait on.

use std::fmt;
use std::time::SystemTime;

use coldframe_core::RequestId;
use coldframe_core::error::{NAME_CHARACTERS_MAX, bounded};
use coldframe_core::event;
use coldframe_core::limits::EXTENSIONS_MAX;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Where an extension stands (§3.5). The names appear in error messages and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Started,
    Registered,
    /// Blocked in `event/next`.
    Ready,
    Running,
    InitError,
    ExitError,
    ShutdownFailed,
    Exited,
    LaunchError,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
            Self::ShutdownFailed => "ShutdownFailed",
            Self::Exited => "Exited",
            Self::LaunchError => "LaunchError",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an extension asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Register,
    Next,
    InitError,
    ExitError,
}

impl State {
    /// The state after `call`, or the one that it would have led to.
    pub(crate) fn on(self, call: Call) -> Result<Self, (Self, Self)> {
        let to = match call {
            Call::Register => Self::Registered,
            Call::Next => Self::Ready,
            Call::InitError => Self::InitError,
            Call::ExitError => Self::ExitError,
        };
        match (self, call) {
            (Self::Started, Call::Register)
            | (Self::Registered | Self::Running, Call::Next)
            | (Self::Registered, Call::InitError)
            | (Self::Registered | Self::Ready | Self::Running, Call::ExitError)
            // Told again.
            | (Self::InitError, Call::InitError)
            | (Self::ExitError, Call::ExitError) => Ok(to),
            (from, _) => Err((from, to)),
        }
    }
}

/// A request is refused: always 403 (§3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl Refused {
    fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn state((from, to): (State, State), whom: impl fmt::Display) -> Self {
        Self::new(
            "Extension.InvalidExtensionState",
            format!(
                "State transition from {from} to {to} failed for extension {whom}. Error: State transition is not allowed"
            ),
        )
    }
}

/// Which events an extension wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) invoke: bool,
    pub(crate) shutdown: bool,
}

impl Events {
    fn names(self) -> Vec<&'static str> {
        let invoke = self.invoke.then_some("INVOKE");
        let shutdown = self.shutdown.then_some("SHUTDOWN");
        invoke.into_iter().chain(shutdown).collect()
    }
}

/// The answer of a held `event/next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Of INVOKE events: fresh for each extension.
    pub(crate) id: Option<Uuid>,
    pub(crate) body: String,
}

/// An invocation, as extensions are told of it.
pub(crate) struct Invoke<'a> {
    pub(crate) request_id: RequestId,
    pub(crate) deadline: SystemTime,
    pub(crate) invoked_arn: &'a str,
    /// The header as it came.
    pub(crate) trace: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InvokeEvent<'a> {
    event_type: &'static str,
    deadline_ms: u64,
    request_id: String,
    invoked_function_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<Tracing<'a>>,
}

#[derive(Serialize)]
struct Tracing<'a> {
    r#type: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShutdownEvent {
    event_type: &'static str,
    deadline_ms: u64,
    shutdown_reason: &'static str,
}

fn epoch_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Extension {
    /// Absent until registered.
    id: Option<Uuid>,
    name: String,
    external: bool,
    state: State,
    events: Events,
    error_type: Option<String>,
    held: Option<oneshot::Sender<Told>>,
    /// What it is told when it asks next: it was busy, or its connection was gone.
    owed: Option<Told>,
}

impl Extension {
    fn new(name: String, external: bool) -> Self {
        Self {
            id: None,
            name,
            external,
            state: State::Started,
            events: Events::default(),
            error_type: None,
            held: None,
            owed: None,
        }
    }

    fn tell(&mut self, told: Told) {
        self.state = State::Running;
        match self.held.take().map(|held| held.send(told)) {
            Some(Ok(())) => {}
            Some(Err(told)) => self.owed = Some(told),
            None => {}
        }
    }
}

/// How an extension stands, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionView {
    pub name: String,
    pub external: bool,
    pub state: State,
    pub invoke: bool,
    pub shutdown: bool,
    pub error_type: Option<String>,
}

impl From<&ExtensionView> for event::Extension {
    fn from(view: &ExtensionView) -> Self {
        Self {
            name: view.name.clone(),
            state: view.state.as_str(),
            events: Events { invoke: view.invoke, shutdown: view.shutdown }.names(),
            error_type: view.error_type.clone(),
        }
    }
}

/// All extensions of one generation.
#[derive(Default)]
pub(crate) struct Registry {
    extensions: Vec<Extension>,
    /// The runtime has asked for its first event: no internal extension may come any more.
    closed: bool,
}

/// The body of `register`.
#[derive(Deserialize)]
struct Register {
    #[serde(default, deserialize_with = "or_default")]
    events: Vec<String>,
    #[serde(default, rename = "configurationKeys", deserialize_with = "or_default")]
    configuration_keys: Vec<serde_json::Value>,
}

/// `null` is as good as absent.
fn or_default<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(value)?.unwrap_or_default())
}

impl Registry {
    /// A generation begins: these files were found in `/opt/extensions`.
    pub(crate) fn begin(&mut self, names: impl IntoIterator<Item = String>) {
        *self = Self::default();
        self.extensions.extend(names.into_iter().map(|name| Extension::new(name, true)));
    }

    fn by_name(&mut self, name: &str) -> Option<&mut Extension> {
        self.extensions.iter_mut().find(|extension| extension.name == name)
    }

    /// An external extension could not be started.
    pub(crate) fn launch_failed(&mut self, name: &str, error_type: &str) {
        if let Some(extension) = self.by_name(name) {
            extension.state = State::LaunchError;
            extension.error_type = Some(error_type.to_owned());
        }
    }

    /// An external extension's process ended; `cleanly` as it should in the shutdown phase.
    pub(crate) fn exited(&mut self, name: &str, cleanly: bool) {
        if let Some(extension) = self.by_name(name)
            && !matches!(extension.state, State::InitError | State::ExitError)
        {
            extension.state = if cleanly { State::Exited } else { State::ShutdownFailed };
        }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether an external extension has this name.
    pub(crate) fn is_external_name(&self, name: &str) -> bool {
        self.extensions.iter().any(|extension| extension.external && extension.name == name)
    }

    /// Whether an external extension has this `Lambda-Extension-Identifier`.
    pub(crate) fn is_external(&self, header: Option<&str>) -> bool {
        let id = header.and_then(|text| Uuid::try_parse(text).ok());
        let mut found = self.extensions.iter().filter(|extension| extension.external);
        id.is_some() && found.any(|extension| extension.id == id)
    }

    /// Whether every external extension has registered.
    pub(crate) fn all_registered(&self) -> bool {
        let mut external = self.extensions.iter().filter(|extension| extension.external);
        external.all(|extension| extension.id.is_some())
    }

    /// Whether every extension waits for its next event.
    pub(crate) fn all_ready(&self) -> bool {
        self.extensions.iter().all(|extension| extension.state == State::Ready)
    }

    pub(crate) fn views(&self) -> Vec<ExtensionView> {
        let view = |extension: &Extension| ExtensionView {
            name: extension.name.clone(),
            external: extension.external,
            state: extension.state,
            invoke: extension.events.invoke,
            shutdown: extension.events.shutdown,
            error_type: extension.error_type.clone(),
        };
        self.extensions.iter().map(view).collect()
    }

    /// `POST /register`: the new identifier.
    pub(crate) fn register(&mut self, name: Option<&str>, body: &[u8]) -> Result<Uuid, Refused> {
        let name = name.unwrap_or_default();
        if name.is_empty() {
            return Err(Refused::new("Extension.InvalidExtensionName", "Empty extension name"));
        }
        if name.chars().count() > NAME_CHARACTERS_MAX {
            let text = format!("Extension name is longer than {NAME_CHARACTERS_MAX} characters");
            return Err(Refused::new("Extension.InvalidExtensionName", text));
        }
        let malformed = |text: String| Refused::new("InvalidRequestFormat", text);
        let body: Register =
            serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
        if !body.configuration_keys.is_empty() {
            return Err(malformed(
                "configurationKeys are deprecated; use environment variables instead".to_owned(),
            ));
        }
        let external = self.by_name(name).is_some_and(|extension| extension.external);
        let mut events = Events::default();
        for event in &body.events {
            let why = match event.as_str() {
                "INVOKE" => {
                    events.invoke = true;
                    continue;
                }
                "SHUTDOWN" if external => {
                    events.shutdown = true;
                    continue;
                }
                "SHUTDOWN" => "ShutdownEventNotSupportedForInternalExtension",
                _ => "ErrorInvalidEventType",
            };
            let event = bounded(event);
            return Err(Refused::new("Extension.InvalidEventType", format!("{event}: {why}")));
        }
        if !external {
            if self.closed {
                return Err(Refused::new(
                    "Extension.RegistrationClosed",
                    "Extension registration closed already",
                ));
            }
            if self.by_name(name).is_some() {
                return Err(Refused::new(
                    "Extension.InvalidExtensionState",
                    "Extension with this name already registered",
                ));
            }
            if self.extensions.len() >= EXTENSIONS_MAX {
                return Err(Refused::new(
                    "Extension.TooManyExtensions",
                    format!("Extension limit ({EXTENSIONS_MAX}) reached"),
                ));
            }
            self.extensions.push(Extension::new(name.to_owned(), false));
        }
        let id = Uuid::new_v4();
        if let Some(extension) = self.by_name(name) {
            let state = extension.state.on(Call::Register);
            extension.state = state.map_err(|refused| Refused::state(refused, name))?;
            (extension.id, extension.events) = (Some(id), events);
        }
        Ok(id)
    }

    /// The extension of a `Lambda-Extension-Identifier`. `unknown` makes the text for an id that
    /// nobody has, which differs from route to route.
    fn identified(
        &mut self,
        header: Option<&str>,
        unknown: impl FnOnce(&str) -> String,
    ) -> Result<&mut Extension, Refused> {
        let Some(text) = header.filter(|text| !text.is_empty()) else {
            return Err(Refused::new(
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header",
            ));
        };
        let Ok(id) = Uuid::try_parse(text) else {
            return Err(Refused::new(
                "Extension.InvalidExtensionIdentifier",
                "Invalid Lambda-Extension-Identifier",
            ));
        };
        let found = self.extensions.iter_mut().find(|extension| extension.id == Some(id));
        let kind = "Extension.UnknownExtensionIdentifier";
        found.ok_or_else(|| Refused::new(kind, unknown(text)))
    }

    /// Who subscribes to telemetry: the identifier and the name.
    pub(crate) fn subscriber(&mut self, header: Option<&str>) -> Result<(Uuid, String), Refused> {
        let extension = self.identified(header, |id| format!("Unknown extension {id}"))?;
        Ok((extension.id.unwrap_or_default(), extension.name.clone()))
    }

    /// `GET /event/next`: resolves with the event.
    pub(crate) fn next(
        &mut self,
        header: Option<&str>,
    ) -> Result<oneshot::Receiver<Told>, Refused> {
        let extension = self.identified(header, |id| format!("Unknown extension {id}"))?;
        let id = extension.id.unwrap_or_default();
        let state = extension.state.on(Call::Next);
        extension.state = state.map_err(|refused| Refused::state(refused, id))?;
        let (held, receiver) = oneshot::channel();
        extension.held = Some(held);
        if let Some(owed) = extension.owed.take() {
            extension.tell(owed);
        }
        Ok(receiver)
    }

    /// `POST /init/error` and `/exit/error`; whether it is the first time.
    pub(crate) fn failed(
        &mut self,
        call: Call,
        header: Option<&str>,
        error_type: Option<&str>,
    ) -> Result<bool, Refused> {
        let unknown = |_: &str| "Unknown Lambda-Extension-Identifier".to_owned();
        let extension = self.identified(header, unknown)?;
        let Some(error_type) = error_type.filter(|text| !text.is_empty()) else {
            return Err(Refused::new(
                "Extension.MissingHeader",
                "Lambda-Extension-Function-Error-Type not found",
            ));
        };
        let id = extension.id.unwrap_or_default();
        let state = extension.state.on(call).map_err(|refused| Refused::state(refused, id))?;
        let first = extension.state != state;
        if first {
            extension.error_type = Some(bounded(error_type));
        }
        extension.state = state;
        Ok(first)
    }

    /// Tells everybody who wants to know of an invocation: external extensions first (§1.4).
    /// Whether there was anybody.
    pub(crate) fn invoke(&mut self, invoke: &Invoke<'_>) -> bool {
        let mut any = false;
        for external in [true, false] {
            for extension in &mut self.extensions {
                let wants = extension.external == external
                    && extension.events.invoke
                    && extension.state == State::Ready;
                if !wants {
                    continue;
                }
                let event = InvokeEvent {
                    event_type: "INVOKE",
                    deadline_ms: epoch_ms(invoke.deadline),
                    request_id: invoke.request_id.to_string(),
                    invoked_function_arn: invoke.invoked_arn,
                    tracing: invoke.trace.map(|value| Tracing { r#type: "X-Amzn-Trace-Id", value }),
                };
                // Texts and numbers only: nothing that could fail.
                let body = serde_json::to_string(&event).unwrap_or_default();
                extension.tell(Told { id: Some(Uuid::new_v4()), body });
                any = true;
            }
        }
        any
    }

    /// Tells the external extensions that wanted to know of the shutdown. A busy one is told when
    /// it asks for its next event.
    pub(crate) fn shut_down(&mut self, reason: &'static str, deadline: SystemTime) {
        let event = ShutdownEvent {
            event_type: "SHUTDOWN",
            deadline_ms: epoch_ms(deadline),
            shutdown_reason: reason,
        };
        let body = serde_json::to_string(&event).unwrap_or_default();
        for extension in &mut self.extensions {
            if !extension.events.shutdown {
                continue;
            }
            let told = Told { id: None, body: body.clone() };
            match extension.state {
                State::Ready => extension.tell(told),
                _ => extension.owed = Some(told),
            }
        }
    }
}

#[cfg(test)]
mod tests;
