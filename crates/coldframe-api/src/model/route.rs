//! From method, raw path and query to the operation: a tree over the segments of the paths.
//!
//! The raw path is split first and decoded after, as a label may hold an encoded `/`.

use super::{Model, Operation, decode};

#[cfg(test)]
mod tests;

/// Collections whose label may arrive with its slashes unencoded: some clients do not encode ARNs.
const GREEDY: [&str; 4] =
    ["tags", "durable-executions", "durable-execution-callbacks", "resource-policy"];

/// More labels than any path of the model has.
const LABELS_MAX: usize = 4;

/// What a request asks for.
#[derive(Debug)]
pub struct Route {
    pub operation: &'static Operation,
    /// Name and decoded value of each label of the path, in the order of the path.
    pub labels: Vec<(&'static str, String)>,
}

/// The caller asked for something that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no operation has this path")]
    UnknownPath,
    #[error("no operation has this path and method")]
    MethodNotAllowed,
    #[error("a percent-encoded part of the request is not UTF-8")]
    MalformedEncoding,
}

/// The tree; the root is the first node.
#[derive(Debug)]
pub(super) struct Table {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by segment.
    literals: Vec<(String, usize)>,
    label: Option<usize>,
    /// The label takes all segments up to a literal that follows it, or to the end.
    greedy: bool,
    ends: Vec<End>,
}

/// An operation whose path ends at a node.
#[derive(Debug)]
struct End {
    method: String,
    /// A pair the query must hold. It chooses between two operations of one method and path.
    query: Option<String>,
    operation: usize,
}

/// The raw labels of a path; a fixed array, as a route allocates nothing before it is found.
#[derive(Default)]
struct Labels<'a> {
    raw: [&'a str; LABELS_MAX],
    len: usize,
}

impl Model {
    /// The operation for a request. `raw_path` and `query` are as received, `query` without its
    /// `?`.
    ///
    /// A path is known with and without one trailing slash: older SDKs send it.
    ///
    /// # Errors
    ///
    /// See [`RouteError`].
    pub fn route(
        &'static self,
        method: &str,
        raw_path: &str,
        query: &str,
    ) -> Result<Route, RouteError> {
        let (node, labels) = self.routes.find(raw_path).ok_or(RouteError::UnknownPath)?;
        if node.ends.is_empty() {
            return Err(RouteError::UnknownPath);
        }
        let chosen = |end: &&End| match &end.query {
            Some(pair) => query.split('&').any(|other| other == pair),
            None => true,
        };
        // Ends with a query come first.
        let end = node.ends.iter().filter(|end| end.method == method).find(chosen);
        let operation = &self.operations[end.ok_or(RouteError::MethodNotAllowed)?.operation];
        let labels = operation.labels.iter().zip(&labels.raw[..labels.len]);
        let labels = labels
            .map(|(name, raw)| Ok((name.as_str(), decode::segment(raw)?)))
            .collect::<Result<_, _>>()?;
        Ok(Route { operation, labels })
    }
}

impl Table {
    pub(super) fn new(operations: &[Operation]) -> Self {
        let mut table = Self { nodes: vec![Node::default()] };
        for (index, operation) in operations.iter().enumerate() {
            table.insert(index, operation);
        }
        for node in &mut table.nodes {
            node.ends.sort_by_key(|end| end.query.is_none());
        }
        table
    }

    fn insert(&mut self, index: usize, operation: &Operation) {
        let (path, query) = split(&operation.uri);
        let mut at = 0;
        let mut greedy = false;
        for segment in path {
            at = match label(segment) {
                Some(_) => {
                    self.nodes[at].greedy = greedy;
                    self.label_of(at)
                }
                None => self.literal_of(at, segment),
            };
            greedy = GREEDY.contains(&segment);
        }
        let end = End {
            method: operation.method.clone(),
            query: query.map(str::to_owned),
            operation: index,
        };
        self.nodes[at].ends.push(end);
    }

    fn label_of(&mut self, at: usize) -> usize {
        match self.nodes[at].label {
            Some(child) => child,
            None => {
                let child = self.push();
                self.nodes[at].label = Some(child);
                child
            }
        }
    }

    fn literal_of(&mut self, at: usize, segment: &str) -> usize {
        match self.nodes[at].position(segment) {
            Ok(position) => self.nodes[at].literals[position].1,
            Err(position) => {
                let child = self.push();
                self.nodes[at].literals.insert(position, (segment.to_owned(), child));
                child
            }
        }
    }

    fn push(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    fn find<'a>(&self, raw_path: &'a str) -> Option<(&Node, Labels<'a>)> {
        let mut rest = raw_path.strip_prefix('/')?;
        rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut node = self.nodes.first()?;
        let mut labels = Labels::default();
        loop {
            let (segment, tail) =
                rest.split_once('/').map_or((rest, None), |(segment, tail)| (segment, Some(tail)));
            if let Some(child) = node.literal(segment) {
                node = self.nodes.get(child)?;
            } else {
                let child = self.nodes.get(node.label?)?;
                if node.greedy {
                    let (label, node) = self.split_greedy(child, rest);
                    labels.push(label)?;
                    return Some((node, labels));
                }
                labels.push(segment)?;
                node = child;
            }
            match tail {
                Some(tail) => rest = tail,
                None => return Some((node, labels)),
            }
        }
    }

    /// `rest` as a label with the node it leads to: `after`, or one below it if the last segment is
    /// known there.
    fn split_greedy<'a, 'b>(&'b self, after: &'b Node, rest: &'a str) -> (&'a str, &'b Node) {
        rest.rsplit_once('/')
            .and_then(|(label, last)| Some((label, self.nodes.get(after.literal(last)?)?)))
            .unwrap_or((rest, after))
    }
}

impl Node {
    fn position(&self, segment: &str) -> Result<usize, usize> {
        self.literals.binary_search_by(|(literal, _)| literal.as_str().cmp(segment))
    }

    fn literal(&self, segment: &str) -> Option<usize> {
        self.position(segment).ok().map(|position| self.literals[position].1)
    }
}

impl<'a> Labels<'a> {
    /// `None` for an empty label: no resource has an empty name, so no operation has such a path.
    fn push(&mut self, raw: &'a str) -> Option<()> {
        if raw.is_empty() {
            return None;
        }
        *self.raw.get_mut(self.len)? = raw;
        self.len += 1;
        Some(())
    }
}

/// The names of the labels in a template, in order.
pub(super) fn labels(uri: &str) -> Vec<String> {
    split(uri).0.filter_map(label).map(str::to_owned).collect()
}

/// A template's segments and its query.
fn split(uri: &str) -> (impl Iterator<Item = &str>, Option<&str>) {
    let (path, query) =
        uri.split_once('?').map_or((uri, None), |(path, query)| (path, Some(query)));
    (path.split('/').filter(|segment| !segment.is_empty()), query)
}

fn label(segment: &str) -> Option<&str> {
    // Smithy writes a greedy label `{Name+}`.
    Some(segment.strip_prefix('{')?.strip_suffix('}')?.trim_end_matches('+'))
}
