//! What the three protocols carry: query and XML, JSON, CBOR.

/// A value on any of the wires.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Double(f64),
    Text(String),
    /// Seconds since 1970.
    Time(f64),
    List(Vec<Value>),
    /// Members by name.
    Structure(Vec<(String, Value)>),
    /// Keys that are data: XML writes them as entries.
    Map(Vec<(String, Value)>),
}

/// A structure of those members that are there.
pub(crate) fn structure<const N: usize>(members: [(&str, Value); N]) -> Value {
    let there = members.into_iter().filter(|(_, value)| *value != Value::Null);
    Value::Structure(there.map(|(name, value)| (name.to_owned(), value)).collect())
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Value {
    pub(crate) fn get(&self, name: &str) -> &Self {
        match self {
            Self::Structure(members) | Self::Map(members) => {
                members.iter().find(|(key, _)| key == name).map_or(&Self::Null, |(_, value)| value)
            }
            _ => &Self::Null,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }

    /// The query protocol knows only text.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Double(number) if number.fract() == 0.0 => Some(*number as i64),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// ms since 1970.
    pub(crate) fn time(&self) -> Option<u64> {
        let seconds = match self {
            Self::Time(seconds) | Self::Double(seconds) => *seconds,
            Self::Integer(seconds) => *seconds as f64,
            Self::Text(text) => {
                let at: jiff::Timestamp = text.parse().ok()?;
                return u64::try_from(at.as_millisecond()).ok();
            }
            _ => return None,
        };
        (0.0..1e12).contains(&seconds).then_some((seconds * 1000.0).round() as u64)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(truth),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(integer) => Self::Integer(integer),
                None => Self::Double(number.as_f64().unwrap_or_default()),
            },
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(list) => {
                Self::List(list.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(members) => Self::Structure(
                members.into_iter().map(|(name, value)| (name, value.into())).collect(),
            ),
        }
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Integer(number) => Self::from(*number),
            Value::Double(number) | Value::Time(number) => Self::from(*number),
            Value::Text(text) => Self::String(text.clone()),
            Value::List(list) => Self::Array(list.iter().map(Self::from).collect()),
            Value::Structure(members) | Value::Map(members) => Self::Object(
                members.iter().map(|(name, value)| (name.clone(), Self::from(value))).collect(),
            ),
        }
    }
}
