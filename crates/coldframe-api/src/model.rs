//! The API as data: what an operation is called, where it lives, what its members may be.
//!
//! ```text
//! cargo xtask model --> facts.json --parse, once--> Model
//! request --route--> Route --check--> violations --message--> ValidationException
//!                                `--> Unreadable -----------> SerializationException
//! ```
//!
//! Nothing here knows what an operation does. Rules that are not in the model (a name of 64
//! characters, one region, the refusals of the runtime) belong to the handlers, which name the
//! members the check is to leave alone.

mod check;
mod decode;
mod facts;
pub mod name;
mod pattern;
mod route;
mod violation;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::Number;

pub use self::{
    check::{Input, Unreadable},
    decode::query_pairs,
    pattern::Pattern,
    route::{Route, RouteError},
    violation::{Constraint, Shown, Violation, message},
};

/// All operations and shapes of the service.
#[derive(Debug)]
pub struct Model {
    source: String,
    operations: Vec<Operation>,
    shapes: Vec<Shape>,
    errors: BTreeMap<String, ErrorShape>,
    routes: route::Table,
}

/// One operation, as the wire sees it.
#[derive(Debug)]
pub struct Operation {
    pub name: String,
    pub method: String,
    /// The template of the path, with the query that selects the operation where two share a path.
    pub uri: String,
    /// Status of success. The real service differs for `DeleteFunction` (204) and the invocations.
    pub status: u16,
    pub input: Option<ShapeId>,
    pub output: Option<ShapeId>,
    /// Codes of the errors the model lists, sorted.
    pub errors: Vec<String>,
    labels: Vec<String>,
}

/// A shape's place in its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeId(usize);

/// A type and its constraints.
#[derive(Debug)]
pub struct Shape {
    pub name: String,
    pub kind: Kind,
    /// Length of strings (characters), lists, maps and blobs (bytes); value of numbers. Printed as
    /// the model writes it.
    pub min: Option<Number>,
    pub max: Option<Number>,
    pub pattern: Option<Pattern>,
    /// Empty: not an enum.
    pub values: Vec<String>,
    /// Values of the shape stay out of messages.
    pub sensitive: bool,
}

#[derive(Debug)]
pub enum Kind {
    String,
    Integer,
    Long,
    Double,
    Boolean,
    Timestamp,
    Blob,
    Structure(Vec<Member>),
    List(ShapeId),
    Map { key: ShapeId, value: ShapeId },
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub shape: ShapeId,
    pub required: bool,
    pub location: Location,
    /// Its name on the wire; it differs from `name` in headers and in `tagKeys`.
    pub wire: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// A member of the JSON body.
    Body,
    /// The body itself.
    Payload,
    Uri,
    Query,
    Header,
    StatusCode,
}

/// An error of the model.
#[derive(Debug)]
pub struct ErrorShape {
    pub status: u16,
    /// `message` or `Message`: the case differs from error to error.
    pub message_member: String,
    pub members: Vec<Member>,
}

impl Model {
    /// The model of this build. The first call parses it, so call it once at start.
    pub fn get() -> &'static Self {
        static MODEL: OnceLock<Model> = OnceLock::new();
        MODEL.get_or_init(|| {
            Self::parse().expect("facts.json is part of the build, and a test parses it")
        })
    }

    /// Where the facts come from, with the version.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Sorted by name.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub fn operation(&self, name: &str) -> Option<&Operation> {
        let index =
            self.operations.binary_search_by(|operation| operation.name.as_str().cmp(name)).ok()?;
        self.operations.get(index)
    }

    /// `id` must come from this model.
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0]
    }

    pub fn shape_named(&self, name: &str) -> Option<&Shape> {
        let index = self.shapes.binary_search_by(|shape| shape.name.as_str().cmp(name)).ok()?;
        self.shapes.get(index)
    }

    /// The error with `code`; `None` for the ones that are sent but not modelled, as
    /// `ValidationException`.
    pub fn error(&self, code: &str) -> Option<&ErrorShape> {
        self.errors.get(code)
    }
}

impl Shape {
    /// Of a structure, sorted by name; of anything else, none.
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Structure(members) => members,
            _ => &[],
        }
    }
}
