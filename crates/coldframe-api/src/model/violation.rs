//! Broken constraints, and the text AWS gives them.

use std::fmt::{self, Display, Formatter};

use serde_json::{Number, Value};

use super::{Kind, Model, Shape};

#[cfg(test)]
mod tests;

/// One constraint that one member broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Member names with lower-cased first letters, joined with dots.
    pub path: String,
    pub value: Shown,
    pub constraint: Constraint,
}

/// A value as it appears in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    Null,
    Text(String),
    /// Sensitive. No message of Lambda is recorded; Cognito's for a password reads `Value at
    /// 'password' failed …`, and public reports show the same of `environment.variables`.
    Hidden,
}

/// What a member must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Constraint {
    NotNull,
    LengthMax(Number),
    LengthMin(Number),
    ValueMax(Number),
    ValueMin(Number),
    Pattern(String),
    Enum(Vec<String>),
    /// All constraints of the elements of a list.
    Element(Vec<Constraint>),
    /// All constraints of the keys of a map.
    MapKeys(Vec<Constraint>),
    /// All constraints of the values of a map.
    MapValue(Vec<Constraint>),
}

/// The text of the `ValidationException` for `violations`.
pub fn message(violations: &[Violation]) -> String {
    let plural = if violations.len() == 1 { "" } else { "s" };
    let list = Joined(violations, "; ");
    format!("{} validation error{plural} detected: {list}", violations.len())
}

impl Display for Violation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.value {
            Shown::Null => formatter.write_str("Value null")?,
            Shown::Text(text) => write!(formatter, "Value '{text}'")?,
            Shown::Hidden => formatter.write_str("Value")?,
        }
        write!(formatter, " at '{}' failed to satisfy constraint: {}", self.path, self.constraint)
    }
}

impl Display for Constraint {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNull => formatter.write_str("Member must not be null"),
            Self::LengthMax(max) => {
                write!(formatter, "Member must have length less than or equal to {max}")
            }
            Self::LengthMin(min) => {
                write!(formatter, "Member must have length greater than or equal to {min}")
            }
            Self::ValueMax(max) => {
                write!(formatter, "Member must have value less than or equal to {max}")
            }
            Self::ValueMin(min) => {
                write!(formatter, "Member must have value greater than or equal to {min}")
            }
            Self::Pattern(text) => {
                write!(formatter, "Member must satisfy regular expression pattern: {text}")
            }
            Self::Enum(values) => {
                write!(formatter, "Member must satisfy enum value set: [{}]", Joined(values, ", "))
            }
            Self::Element(all) => {
                write!(formatter, "Member must satisfy constraint: [{}]", Joined(all, ", "))
            }
            Self::MapKeys(all) => {
                write!(formatter, "Map keys must satisfy constraint: [{}]", Joined(all, ", "))
            }
            Self::MapValue(all) => {
                write!(formatter, "Map value must satisfy constraint: [{}]", Joined(all, ", "))
            }
        }
    }
}

struct Joined<'a, T>(&'a [T], &'a str);

impl<T: Display> Display for Joined<'_, T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { self.1 };
            write!(formatter, "{between}{item}")?;
        }
        Ok(())
    }
}

impl Model {
    /// All constraints of `shape` as the part of a list or map, in AWS's order.
    pub(super) fn constraints(&self, shape: &Shape) -> Vec<Constraint> {
        let mut all = Vec::new();
        if matches!(shape.kind, Kind::Integer | Kind::Long | Kind::Double) {
            all.extend(shape.max.clone().map(Constraint::ValueMax));
            all.extend(shape.min.clone().map(Constraint::ValueMin));
        } else {
            all.extend(shape.max.clone().map(Constraint::LengthMax));
            all.extend(shape.min.clone().map(Constraint::LengthMin));
        }
        all.extend(
            shape.pattern.as_ref().map(|pattern| Constraint::Pattern(pattern.text().to_owned())),
        );
        if !shape.values.is_empty() {
            all.push(Constraint::Enum(shape.values.clone()));
        }
        match shape.kind {
            Kind::List(element) => {
                all.push(Constraint::Element(self.constraints(self.shape(element))))
            }
            Kind::Map { key, value } => {
                all.push(Constraint::MapKeys(self.constraints(self.shape(key))));
                all.push(Constraint::MapValue(self.constraints(self.shape(value))));
            }
            _ => {}
        }
        // No list or map of the model may hold nulls.
        all.push(Constraint::NotNull);
        all
    }

    /// `value` as a message shows it: the way Java prints it.
    pub(super) fn shown(&self, shape: &Shape, value: &Value) -> Shown {
        let hidden = match shape.kind {
            Kind::List(element) => self.shape(element).sensitive,
            Kind::Map { key, value } => self.shape(key).sensitive || self.shape(value).sensitive,
            _ => false,
        };
        if value.is_null() {
            Shown::Null
        } else if shape.sensitive || hidden {
            Shown::Hidden
        } else {
            let mut text = String::new();
            self.print(shape, value, &mut text);
            Shown::Text(text)
        }
    }

    fn print(&self, shape: &Shape, value: &Value, out: &mut String) {
        match (value, &shape.kind) {
            (Value::String(text), _) => out.push_str(text),
            (Value::Number(number), Kind::Double) => {
                out.push_str(&java_double(number.as_f64().unwrap_or_default()))
            }
            (Value::Array(elements), Kind::List(element)) => {
                out.push('[');
                for (index, value) in elements.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { ", " });
                    self.print(self.shape(*element), value, out);
                }
                out.push(']');
            }
            (Value::Object(entries), Kind::Map { value: shape, .. }) => {
                self.print_entries(
                    entries.iter().map(|(name, value)| (name, self.shape(*shape), value)),
                    out,
                );
            }
            // AWS prints a structure as Java does an object, name and address; the members tell
            // more.
            (Value::Object(entries), Kind::Structure(members)) => {
                let shape = |name: &String| members.iter().find(|member| member.name == *name);
                let known = entries.iter().filter_map(|(name, value)| {
                    Some((name, self.shape(shape(name)?.shape), value))
                });
                self.print_entries(known.filter(|(_, shape, _)| !shape.sensitive), out);
            }
            (other, _) => out.push_str(&other.to_string()),
        }
    }

    fn print_entries<'a>(
        &self,
        entries: impl Iterator<Item = (&'a String, &'a Shape, &'a Value)>,
        out: &mut String,
    ) {
        out.push('{');
        for (index, (name, shape, value)) in entries.enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            out.push_str(name);
            out.push('=');
            self.print(shape, value, out);
        }
        out.push('}');
    }
}

/// `Double.toString`: at least one digit after the point, and powers of ten outside of 0.001 to 10
/// 000 000.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, power)) if !digits.contains('.') => format!("{digits}.0E{power}"),
        _ => text,
    }
}
