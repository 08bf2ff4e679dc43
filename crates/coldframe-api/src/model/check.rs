//! Holds a request against the shape of its operation's input.
//!
//! Two things may be wrong. A value of the wrong type ends the check, as AWS cannot read the
//! request then; broken constraints are collected, as AWS reports all of them together.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::{Constraint, Kind, Location, Member, Model, Operation, Shape, Shown, Violation};

#[cfg(test)]
mod tests;

/// A value longer than this and than its own maximum is not held against its pattern, characters:
/// it is refused anyway, and a pattern may take hundreds of steps for each character.
const PATTERN_LENGTH_MAX: usize = 2_000;

/// A request, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, H> {
    /// As in the route.
    pub labels: &'a [(&'static str, String)],
    /// As from [`query_pairs`](super::query_pairs).
    pub query: &'a [(String, String)],
    /// Anything that yields names, in any case, and values.
    pub headers: H,
    /// `None` for an empty body, and for one that is not JSON by the model (the payload of an
    /// invocation).
    pub body: Option<&'a Value>,
}

/// A value has another type than the model says: `SerializationException`, status 400.
///
/// No such answer of Lambda is recorded. The texts are of the form that older AWS services use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{0} can not be converted to {1}")]
    Scalar(&'static str, &'static str),
    #[error("Start of list found where not expected")]
    UnexpectedList,
    #[error("Start of structure or map found where not expected.")]
    UnexpectedStructure,
    #[error("Expected list or null")]
    ExpectedList,
    #[error("Expected structure, map or null")]
    ExpectedStructure,
}

impl Model {
    /// The constraints of `operation` that a request breaks, in the order of its member names.
    ///
    /// A member whose path is in `skip` is not constrained, nor is what it contains; its type is
    /// still checked.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] at the first value of a wrong type. After `Ok`, an integer is an `i64` (an
    /// `Integer` fits `i32`).
    pub fn check<'a, H>(
        &self,
        operation: &Operation,
        input: &Input<'a, H>,
        skip: &[&str],
    ) -> Result<Vec<Violation>, Unreadable>
    where
        H: IntoIterator<Item = (&'a str, &'a str)> + Clone,
    {
        let mut check = Check::new(self, skip);
        let Some(shape) = operation.input else { return Ok(Vec::new()) };
        let members = self.shape(shape).members();
        let empty = Map::new();
        let body = if members.iter().any(|member| member.location == Location::Body) {
            match input.body {
                None | Some(Value::Null) => &empty,
                Some(body) => body.as_object().ok_or(Unreadable::ExpectedStructure)?,
            }
        } else {
            &empty
        };
        for member in members {
            let shape = self.shape(member.shape);
            match member.location {
                Location::Body => check.member(member, body.get(&member.wire))?,
                // Bytes of any kind: their length is checked where they are received.
                Location::Payload if matches!(shape.kind, Kind::Blob) => {}
                Location::Payload => check.member(member, input.body)?,
                Location::Uri => {
                    let label = input.labels.iter().find(|(name, _)| *name == member.wire);
                    let values = label.map(|(_, value)| value.as_str());
                    check.text_member(member, values.into_iter())?;
                }
                Location::Query => {
                    let pairs = input.query.iter().filter(|(name, _)| *name == member.wire);
                    check.text_member(member, pairs.map(|(_, value)| value.as_str()))?;
                }
                Location::Header => {
                    let headers = input.headers.clone().into_iter();
                    let found = headers.filter(|(name, _)| name.eq_ignore_ascii_case(&member.wire));
                    check.text_member(member, found.map(|(_, value)| value))?;
                }
                Location::StatusCode => {}
            }
        }
        Ok(check.violations)
    }
}

/// A check under way.
struct Check<'a> {
    model: &'a Model,
    skip: &'a [&'a str],
    /// Of the value at hand.
    path: String,
    /// The value at hand is inside a skipped member.
    muted: bool,
    violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn new(model: &'a Model, skip: &'a [&'a str]) -> Self {
        Self { model, skip, path: String::new(), muted: false, violations: Vec::new() }
    }

    /// A member that is text on the wire, whatever its type; a list is sent as several texts.
    fn text_member<'t>(
        &mut self,
        member: &'a Member,
        mut texts: impl Iterator<Item = &'t str>,
    ) -> Result<(), Unreadable> {
        let shape = self.model.shape(member.shape);
        let value = if let Kind::List(element) = shape.kind {
            let element = self.model.shape(element);
            let values: Vec<Value> =
                texts.map(|text| read(element, text)).collect::<Result<_, _>>()?;
            (!values.is_empty()).then_some(Value::Array(values))
        } else {
            texts.next().map(|text| read(shape, text)).transpose()?
        };
        self.member(member, value.as_ref())
    }

    fn member(&mut self, member: &'a Member, value: Option<&Value>) -> Result<(), Unreadable> {
        let (path_len, muted) = (self.path.len(), self.muted);
        self.descend(&member.name);
        self.muted |= self.skip.contains(&self.path.as_str());
        let result = match value {
            None | Some(Value::Null) => {
                if member.required {
                    self.violate(|| (Shown::Null, Constraint::NotNull));
                }
                Ok(())
            }
            Some(value) => self.value(self.model.shape(member.shape), value),
        };
        self.path.truncate(path_len);
        self.muted = muted;
        result
    }

    /// AWS prints member names as Java's fields: `FunctionName` is `functionName`, `KMSKeyArn` is
    /// `kMSKeyArn`.
    fn descend(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        let mut chars = name.chars();
        self.path.extend(chars.next().map(|first| first.to_ascii_lowercase()));
        self.path.push_str(chars.as_str());
    }

    /// A value that is there and not null.
    fn value(&mut self, shape: &'a Shape, value: &Value) -> Result<(), Unreadable> {
        match (&shape.kind, value) {
            (Kind::Structure(members), Value::Object(values)) => {
                members.iter().try_for_each(|member| self.member(member, values.get(&member.wire)))
            }
            (Kind::List(element), Value::Array(values)) => {
                self.size(shape, value, values.len());
                self.list(shape, self.model.shape(*element), value, values)
            }
            (Kind::Map { key, value: of }, Value::Object(entries)) => {
                self.size(shape, value, entries.len());
                let (key, of) = (self.model.shape(*key), self.model.shape(*of));
                self.parts(
                    shape,
                    key,
                    value,
                    entries.keys().cloned().map(Value::String),
                    Constraint::MapKeys,
                )?;
                self.parts(shape, of, value, entries.values().cloned(), Constraint::MapValue)
            }
            (Kind::String, Value::String(text)) => {
                self.string(shape, value, text);
                Ok(())
            }
            (Kind::Blob, Value::String(text)) => {
                if shape.min.is_some() || shape.max.is_some() {
                    self.size(shape, value, decoded_len(text));
                }
                Ok(())
            }
            (Kind::Integer | Kind::Long | Kind::Double, Value::Number(number)) => {
                if !fits(&shape.kind, number) {
                    return Err(Unreadable::Scalar("NUMBER_VALUE", expected(&shape.kind)));
                }
                self.number(shape, value, number.as_f64().unwrap_or_default());
                Ok(())
            }
            (Kind::Boolean, Value::Bool(_)) => Ok(()),
            // SDKs send seconds; a string is a date, which the handler reads.
            (Kind::Timestamp, Value::Number(_) | Value::String(_)) => Ok(()),
            (kind, value) => Err(mismatch(kind, value)),
        }
    }

    fn list(
        &mut self,
        shape: &'a Shape,
        element: &'a Shape,
        list: &Value,
        values: &[Value],
    ) -> Result<(), Unreadable> {
        if !matches!(element.kind, Kind::Structure(_)) {
            return self.parts(shape, element, list, values.iter().cloned(), Constraint::Element);
        }
        for (index, value) in values.iter().enumerate() {
            let path_len = self.path.len();
            // No path into a list of Lambda is recorded; other services print it so, counted from
            // one.
            let _ = write!(self.path, ".{}.member", index + 1);
            if value.is_null() {
                self.violate(|| (Shown::Null, Constraint::NotNull));
            } else {
                self.value(element, value)?;
            }
            self.path.truncate(path_len);
        }
        Ok(())
    }

    /// The elements of a list, or the keys or values of a map: one violation for all, which shows
    /// the `whole`.
    fn parts(
        &mut self,
        shape: &'a Shape,
        part: &'a Shape,
        whole: &Value,
        values: impl Iterator<Item = Value>,
        constraint: fn(Vec<Constraint>) -> Constraint,
    ) -> Result<(), Unreadable> {
        let before = self.violations.len();
        let mut broken = false;
        for value in values {
            if value.is_null() {
                broken = true;
            } else {
                self.value(part, &value)?;
            }
        }
        broken |= self.violations.len() > before;
        self.violations.truncate(before);
        if broken {
            let model = self.model;
            self.violate(|| (model.shown(shape, whole), constraint(model.constraints(part))));
        }
        Ok(())
    }

    fn string(&mut self, shape: &'a Shape, value: &Value, text: &str) {
        let mut hopeless = false;
        if shape.min.is_some() || shape.max.is_some() {
            let length = text.chars().count();
            self.size(shape, value, length);
            let max = shape.max.as_ref().and_then(Number::as_u64).map_or(usize::MAX, saturated);
            hopeless = length > max.max(PATTERN_LENGTH_MAX);
        }
        if let Some(pattern) = &shape.pattern
            && !hopeless
            && !pattern.matches(text)
        {
            self.violate_value(shape, value, || Constraint::Pattern(pattern.text().to_owned()));
        }
        if !shape.values.is_empty() && !shape.values.iter().any(|allowed| allowed == text) {
            self.violate_value(shape, value, || Constraint::Enum(shape.values.clone()));
        }
    }

    fn size(&mut self, shape: &'a Shape, value: &Value, size: usize) {
        if let Some(max) = &shape.max
            && max.as_u64().is_some_and(|max| size > saturated(max))
        {
            self.violate_value(shape, value, || Constraint::LengthMax(max.clone()));
        }
        if let Some(min) = &shape.min
            && min.as_u64().is_some_and(|min| size < saturated(min))
        {
            self.violate_value(shape, value, || Constraint::LengthMin(min.clone()));
        }
    }

    fn number(&mut self, shape: &'a Shape, value: &Value, number: f64) {
        if let Some(max) = &shape.max
            && max.as_f64().is_some_and(|max| number > max)
        {
            self.violate_value(shape, value, || Constraint::ValueMax(max.clone()));
        }
        if let Some(min) = &shape.min
            && min.as_f64().is_some_and(|min| number < min)
        {
            self.violate_value(shape, value, || Constraint::ValueMin(min.clone()));
        }
    }

    fn violate_value(
        &mut self,
        shape: &Shape,
        value: &Value,
        constraint: impl FnOnce() -> Constraint,
    ) {
        let model = self.model;
        self.violate(|| (model.shown(shape, value), constraint()));
    }

    fn violate(&mut self, broken: impl FnOnce() -> (Shown, Constraint)) {
        if !self.muted {
            let (value, constraint) = broken();
            self.violations.push(Violation { path: self.path.clone(), value, constraint });
        }
    }
}

/// A text from the path, the query or a header as the value it stands for.
fn read(shape: &Shape, text: &str) -> Result<Value, Unreadable> {
    let value = match shape.kind {
        Kind::Integer | Kind::Long => text.parse::<i64>().ok().map(Value::from),
        Kind::Double => text.parse::<f64>().ok().map(Value::from),
        Kind::Boolean => text.parse::<bool>().ok().map(Value::from),
        _ => Some(Value::from(text)),
    };
    value.ok_or(Unreadable::Scalar("STRING_VALUE", expected(&shape.kind)))
}

fn mismatch(kind: &Kind, value: &Value) -> Unreadable {
    match (kind, value) {
        (Kind::List(_), _) => Unreadable::ExpectedList,
        (Kind::Structure(_) | Kind::Map { .. }, _) => Unreadable::ExpectedStructure,
        (_, Value::Array(_)) => Unreadable::UnexpectedList,
        (_, Value::Object(_)) => Unreadable::UnexpectedStructure,
        (_, Value::String(_)) => Unreadable::Scalar("STRING_VALUE", expected(kind)),
        (_, Value::Number(_)) => Unreadable::Scalar("NUMBER_VALUE", expected(kind)),
        (_, Value::Bool(true)) => Unreadable::Scalar("TRUE_VALUE", expected(kind)),
        (_, Value::Bool(false)) => Unreadable::Scalar("FALSE_VALUE", expected(kind)),
        (_, Value::Null) => Unreadable::Scalar("NULL_VALUE", expected(kind)),
    }
}

/// A type as the texts of [`Unreadable`] name it.
fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "a String",
        Kind::Integer => "an Integer",
        Kind::Long => "a Long",
        Kind::Double => "a Double",
        Kind::Boolean => "a Boolean",
        Kind::Timestamp => "a Timestamp",
        Kind::Blob => "a Blob",
        Kind::Structure(_) => "a structure",
        Kind::List(_) => "a list",
        Kind::Map { .. } => "a map",
    }
}

fn fits(kind: &Kind, number: &Number) -> bool {
    match kind {
        Kind::Integer => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        Kind::Long => number.is_i64(),
        _ => true,
    }
}

/// Bytes that a base64 text stands for.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() / 4 * 3 + text.trim_end_matches('=').len() % 4 * 3 / 4
}

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
