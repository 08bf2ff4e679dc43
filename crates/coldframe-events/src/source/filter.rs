//! Filter patterns (service-api.md §7.6): which records of a source a function gets.
//!
//! A pattern has the shape of a record. Its keys must all match, of the alternatives in an array
//! any. Numbers are equal by form: `300` isn't `300.0`.

use coldframe_core::source::{InvalidPattern, StreamKind};
use serde_json::{Map, Value};

/// Depth of a pattern: each level is a level of the program's stack.
const DEPTH_MAX: usize = 32;

/// Numbers beyond can't be compared (service-api.md §7.6).
const NUMBER_MAX: f64 = 5e9;

/// One pattern, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pattern {
    /// What the record around its data must be.
    metadata: Fields,
    data: Option<Data>,
}

/// Where a source's data lie in its records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataField {
    pub(crate) name: &'static str,
    /// Patterns may ask for text (service-api.md §7.6, second table).
    pub(crate) may_be_text: bool,
}

impl DataField {
    /// Of a queue's messages, or of a stream's records.
    pub(crate) fn of(source: Option<StreamKind>) -> Self {
        let (name, may_be_text) = match source {
            None => ("body", true),
            Some(StreamKind::Kinesis) => ("data", false),
            Some(StreamKind::DynamoDb) => ("dynamodb", false),
        };
        Self { name, may_be_text }
    }
}

/// What a message's body must be.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    /// JSON of this shape.
    Json(Fields),
    /// Text, any of these.
    Text(Vec<Rule>),
}

/// Fields of an object; all must match.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    fields: Vec<(String, Field)>,
    /// `$or`: of each, one must match.
    alternatives: Vec<Vec<Fields>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Field {
    Within(Fields),
    /// One must match.
    Leaf(Vec<Rule>),
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Equals(Value),
    EqualsIgnoreCase(String),
    Prefix(String),
    Suffix(String),
    Exists(bool),
    Numeric(Vec<(Comparison, f64)>),
    /// None of these.
    AnythingBut(Vec<Rule>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    /// Reads the pattern of a source whose data lie in a field of this name.
    ///
    /// # Errors
    /// If it is no JSON object, has an operator that isn't Lambda's, or asks a stream's data for
    /// text.
    pub(crate) fn parse(text: &str, of: DataField) -> Result<Self, InvalidPattern> {
        let pattern: Value = serde_json::from_str(text).map_err(|_| InvalidPattern)?;
        let Value::Object(mut pattern) = pattern else { return Err(InvalidPattern) };
        let data = match pattern.remove(of.name) {
            None => None,
            Some(Value::Object(within)) => Some(Data::Json(Fields::read(&within, 1)?)),
            Some(Value::Array(rules)) if of.may_be_text => Some(Data::Text(rules_of(&rules)?)),
            Some(_) => return Err(InvalidPattern),
        };
        Ok(Self { metadata: Fields::read(&pattern, 0)?, data })
    }

    /// Whether a record passes: its metadata, and its data as text.
    pub(crate) fn matches(&self, metadata: &Value, data: &str) -> bool {
        // Text and a pattern of JSON, or the other way round: never (§7.6, second table).
        let of_data = || match &self.data {
            None => true,
            Some(Data::Json(fields)) => json_of(data).is_some_and(|json| fields.match_in(&json)),
            Some(Data::Text(rules)) => {
                json_of(data).is_none() && any(rules, Some(&Value::String(data.to_owned())))
            }
        };
        self.metadata.match_in(metadata) && of_data()
    }
}

/// Data that count as JSON: with a number or a quoted word alone no pattern could do anything.
fn json_of(text: &str) -> Option<Value> {
    let begins = text.trim_start().as_bytes().first();
    if !matches!(begins, Some(b'{' | b'[')) {
        return None;
    }
    serde_json::from_str(text).ok()
}

impl Fields {
    fn read(pattern: &Map<String, Value>, depth: usize) -> Result<Self, InvalidPattern> {
        if depth > DEPTH_MAX {
            return Err(InvalidPattern);
        }
        let mut read = Self::default();
        for (key, value) in pattern {
            match value {
                Value::Array(each) if key == "$or" && !each.is_empty() => {
                    let each = each.iter().map(|one| match one {
                        Value::Object(one) => Self::read(one, depth + 1),
                        _ => Err(InvalidPattern),
                    });
                    read.alternatives.push(each.collect::<Result<_, _>>()?);
                }
                Value::Object(within) => {
                    let within = Field::Within(Self::read(within, depth + 1)?);
                    read.fields.push((key.clone(), within));
                }
                Value::Array(rules) if key != "$or" => {
                    read.fields.push((key.clone(), Field::Leaf(rules_of(rules)?)));
                }
                _ => return Err(InvalidPattern),
            }
        }
        Ok(read)
    }

    /// An array matches if any of its elements does.
    fn match_in(&self, value: &Value) -> bool {
        match value {
            Value::Array(elements) => elements.iter().any(|element| self.match_in(element)),
            value => {
                self.fields.iter().all(|(key, field)| field.matches(value.get(key)))
                    && self.alternatives.iter().all(|or| or.iter().any(|one| one.match_in(value)))
            }
        }
    }
}

impl Field {
    fn matches(&self, value: Option<&Value>) -> bool {
        match self {
            // In what isn't there, nothing is.
            Self::Within(fields) => fields.match_in(value.unwrap_or(&Value::Null)),
            Self::Leaf(rules) => any(rules, value),
        }
    }
}

fn any(rules: &[Rule], value: Option<&Value>) -> bool {
    rules.iter().any(|rule| rule.matches(value))
}

impl Rule {
    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            // Of leaves only: an object is there, and isn't one.
            (Self::Exists(exists), value) => {
                let there = value.is_some_and(|value| !value.is_object());
                *exists == there && (there || value.is_none())
            }
            (_, None) => false,
            (rule, Some(Value::Array(elements))) => {
                elements.iter().any(|element| rule.matches(Some(element)))
            }
            (Self::Equals(wanted), Some(value)) => wanted == value,
            (Self::EqualsIgnoreCase(wanted), Some(Value::String(text))) => {
                wanted.to_lowercase() == text.to_lowercase()
            }
            (Self::Prefix(prefix), Some(Value::String(text))) => text.starts_with(prefix),
            (Self::Suffix(suffix), Some(Value::String(text))) => text.ends_with(suffix),
            (Self::Numeric(bounds), Some(Value::Number(number))) => {
                number.as_f64().is_some_and(|number| {
                    bounds.iter().all(|(comparison, bound)| comparison.holds(number, *bound))
                })
            }
            (Self::AnythingBut(rules), Some(value)) => {
                !value.is_object() && !any(rules, Some(value))
            }
            _ => false,
        }
    }

    fn read(rule: &Value) -> Result<Self, InvalidPattern> {
        let operator = match rule {
            Value::Object(operator) if operator.len() == 1 => operator,
            Value::Object(_) | Value::Array(_) => return Err(InvalidPattern),
            value => return Ok(Self::Equals(value.clone())),
        };
        let (name, given) = operator.iter().next().ok_or(InvalidPattern)?;
        Ok(match (name.as_str(), given) {
            ("exists", Value::Bool(exists)) => Self::Exists(*exists),
            ("prefix", Value::String(prefix)) => Self::Prefix(prefix.clone()),
            ("suffix", Value::String(suffix)) => Self::Suffix(suffix.clone()),
            ("equals-ignore-case", Value::String(text)) => Self::EqualsIgnoreCase(text.clone()),
            ("numeric", Value::Array(given)) => Self::Numeric(bounds(given)?),
            ("anything-but", Value::Array(each)) if !each.is_empty() => {
                let each = each.iter().map(|one| match one {
                    Value::String(_) | Value::Number(_) => Ok(Self::Equals(one.clone())),
                    _ => Err(InvalidPattern),
                });
                Self::AnythingBut(each.collect::<Result<_, _>>()?)
            }
            ("anything-but", Value::String(_) | Value::Number(_)) => {
                Self::AnythingBut(vec![Self::Equals(given.clone())])
            }
            ("anything-but", Value::Object(_)) => match Self::read(given)? {
                not @ (Self::Prefix(_) | Self::Suffix(_) | Self::EqualsIgnoreCase(_)) => {
                    Self::AnythingBut(vec![not])
                }
                _ => return Err(InvalidPattern),
            },
            _ => return Err(InvalidPattern),
        })
    }
}

fn rules_of(rules: &[Value]) -> Result<Vec<Rule>, InvalidPattern> {
    if rules.is_empty() {
        return Err(InvalidPattern);
    }
    rules.iter().map(Rule::read).collect()
}

/// `["=", 5]`, `[">", 0, "<=", 5]`
fn bounds(given: &[Value]) -> Result<Vec<(Comparison, f64)>, InvalidPattern> {
    let (pairs, rest) = given.as_chunks::<2>();
    let pairs = pairs.iter().map(|[comparison, bound]| {
        let comparison = match comparison.as_str() {
            Some("=") => Comparison::Equal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            _ => return Err(InvalidPattern),
        };
        let bound = bound.as_f64().filter(|bound| bound.abs() <= NUMBER_MAX);
        Ok((comparison, bound.ok_or(InvalidPattern)?))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    if rest.is_empty() && (1..=2).contains(&pairs.len()) { Ok(pairs) } else { Err(InvalidPattern) }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Equal => number == bound,
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}

#[cfg(test)]
mod tests;
