//! Reads `facts.json`, which `cargo xtask model` writes.
//!
//! A fact that is missing or of the wrong type yields `None` for the whole: the file is ours, and a
//! test reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ErrorShape, Kind, Location, Member, Model, Operation, Pattern, Shape, ShapeId, route};

const FACTS: &str = include_str!("facts.json");

/// Index of each shape by name.
type Names<'a> = BTreeMap<&'a str, ShapeId>;

impl Model {
    pub(super) fn parse() -> Option<Self> {
        let facts: Value = serde_json::from_str(FACTS).ok()?;
        let shapes = sorted(&facts["shapes"])?;
        let names: Names<'_> = shapes
            .iter()
            .enumerate()
            .map(|(index, &(name, _))| (name.as_str(), ShapeId(index)))
            .collect();
        let operations = sorted(&facts["operations"])?
            .into_iter()
            .map(|entry| operation(entry, &names))
            .collect::<Option<Vec<_>>>()?;
        let shapes = shapes.into_iter().map(|entry| shape(entry, &names)).collect::<Option<_>>()?;
        let errors = facts["errors"]
            .as_object()?
            .iter()
            .map(|entry| error(entry, &names))
            .collect::<Option<_>>()?;
        let routes = route::Table::new(&operations);
        Some(Self {
            source: facts["source"].as_str()?.to_owned(),
            operations,
            shapes,
            errors,
            routes,
        })
    }
}

/// The entries of an object by name, whatever map `serde_json` was built with.
fn sorted(value: &Value) -> Option<Vec<(&String, &Value)>> {
    let mut entries: Vec<_> = value.as_object()?.iter().collect();
    entries.sort_unstable_by_key(|&(name, _)| name);
    Some(entries)
}

fn operation((name, facts): (&String, &Value), names: &Names<'_>) -> Option<Operation> {
    let uri = text(facts, "uri")?;
    Some(Operation {
        name: name.clone(),
        method: text(facts, "method")?,
        status: status(facts)?,
        input: reference(facts, "input", names)?,
        output: reference(facts, "output", names)?,
        errors: strings(facts, "errors")?,
        labels: route::labels(&uri),
        uri,
    })
}

fn shape((name, facts): (&String, &Value), names: &Names<'_>) -> Option<Shape> {
    let part = |part: &str| reference(facts, part, names)?;
    let kind = match facts["type"].as_str()? {
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "long" => Kind::Long,
        "double" | "float" => Kind::Double,
        "boolean" => Kind::Boolean,
        "timestamp" => Kind::Timestamp,
        "blob" => Kind::Blob,
        "structure" => Kind::Structure(members(facts, names)?),
        "list" => Kind::List(part("member")?),
        "map" => Kind::Map { key: part("key")?, value: part("value")? },
        _ => return None,
    };
    let number = |fact: &str| facts.get(fact).and_then(Value::as_number).cloned();
    Some(Shape {
        name: name.clone(),
        kind,
        min: number("min"),
        max: number("max"),
        pattern: facts.get("pattern").and_then(Value::as_str).map(Pattern::new),
        values: strings(facts, "enum")?,
        sensitive: facts["sensitive"] == true,
    })
}

fn error((name, facts): (&String, &Value), names: &Names<'_>) -> Option<(String, ErrorShape)> {
    let status = status(facts)?;
    let message_member = text(facts, "message")?;
    let members = members(facts, names)?;
    Some((name.clone(), ErrorShape { status, message_member, members }))
}

fn members(facts: &Value, names: &Names<'_>) -> Option<Vec<Member>> {
    sorted(&facts["members"])?
        .into_iter()
        .map(|(name, facts)| {
            let shape = facts.as_str().or_else(|| facts["shape"].as_str())?;
            member(name, facts, *names.get(shape)?)
        })
        .collect()
}

fn member(name: &str, facts: &Value, shape: ShapeId) -> Option<Member> {
    let none = Map::new();
    let facts = facts.as_object().unwrap_or(&none);
    let location = match facts.get("in").and_then(Value::as_str) {
        None => Location::Body,
        Some("payload") => Location::Payload,
        Some("uri") => Location::Uri,
        Some("querystring") => Location::Query,
        Some("header") => Location::Header,
        Some("statusCode") => Location::StatusCode,
        Some(_) => return None,
    };
    Some(Member {
        name: name.to_owned(),
        shape,
        required: facts.get("required") == Some(&Value::Bool(true)),
        location,
        wire: facts.get("as").and_then(Value::as_str).unwrap_or(name).to_owned(),
    })
}

fn text(facts: &Value, fact: &str) -> Option<String> {
    facts[fact].as_str().map(str::to_owned)
}

fn status(facts: &Value) -> Option<u16> {
    facts["status"].as_u64()?.try_into().ok()
}

/// `Some(None)` if there is no such fact, `None` if it names a shape that is not there.
fn reference(facts: &Value, fact: &str, names: &Names<'_>) -> Option<Option<ShapeId>> {
    match facts.get(fact) {
        None => Some(None),
        Some(name) => names.get(name.as_str()?).copied().map(Some),
    }
}

fn strings(facts: &Value, fact: &str) -> Option<Vec<String>> {
    let entries =
        facts.get(fact).map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))?;
    entries.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
}
