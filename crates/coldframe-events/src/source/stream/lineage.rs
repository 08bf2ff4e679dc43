//! Which shards are read, and from where: the whole policy, without clock or deed.
//!
//! A shard that was split or merged is closed; its children have what came after. So that a key's
//! records stay in order, they are read when their parents are done.

use std::collections::HashSet;

use coldframe_core::source::{Position, Positions, Start};
use coldframe_store::queue::Millis;

/// A shard as a stream lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shard {
    pub(super) id: String,
    /// Those that it has come from, also if they are listed no more.
    pub(super) parents: Vec<String>,
    /// Nothing comes to it any more.
    pub(super) is_closed: bool,
}

/// Gives each shard that wasn't known a position, and forgets those that were done and have gone.
pub(super) fn enter(shards: &[Shard], positions: &mut Positions, start: Start, begun: Millis) {
    // Later, whatever comes is a child of what is read already.
    let is_first_look = positions.is_empty();
    for shard in shards {
        let position = match start {
            Start::TrimHorizon => Position::Begin,
            Start::At(moment) => Position::Since(moment),
            Start::Latest if !is_first_look => Position::Begin,
            Start::Latest if shard.is_closed => Position::End,
            Start::Latest => Position::Since(begun),
        };
        positions.entry(shard.id.clone()).or_insert(position);
    }
    // A stream that lists nothing is being made, or its server has lost it: that may pass.
    if !shards.is_empty() {
        let listed = ids(shards);
        positions.retain(|id, position| *position != Position::End || listed.contains(id.as_str()));
    }
}

/// Those whose parents are done, or gone, and that aren't done themselves.
pub(super) fn readable<'a>(shards: &'a [Shard], positions: &Positions) -> Vec<&'a Shard> {
    let is_done = |id: &String| positions.get(id) == Some(&Position::End);
    let listed = ids(shards);
    let is_readable = |shard: &&Shard| {
        !is_done(&shard.id)
            && shard
                .parents
                .iter()
                .all(|parent| is_done(parent) || !listed.contains(parent.as_str()))
    };
    shards.iter().filter(is_readable).collect()
}

fn ids(shards: &[Shard]) -> HashSet<&str> {
    shards.iter().map(|shard| shard.id.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` was split into `b` and `c`, which were merged to `d`.
    fn family() -> Vec<Shard> {
        let shard = |id: &str, parents: &[&str], is_closed| Shard {
            id: id.to_owned(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
            is_closed,
        };
        vec![
            shard("a", &[], true),
            shard("b", &["a"], true),
            shard("c", &["a"], true),
            shard("d", &["b", "c"], false),
        ]
    }

    fn open(shards: &[Shard], positions: &Positions) -> Vec<String> {
        readable(shards, positions).iter().map(|shard| shard.id.clone()).collect()
    }

    #[test]
    fn children_are_read_when_their_parents_are_done() {
        let (shards, mut positions) = (family(), Positions::new());
        enter(&shards, &mut positions, Start::TrimHorizon, 0);
        assert!(positions.values().all(|position| *position == Position::Begin));
        let mut end = |id: &str| {
            positions.insert(id.to_owned(), Position::End);
            open(&shards, &positions)
        };
        assert_eq!(end("a"), ["b", "c"]);
        assert_eq!(end("b"), ["c"]);
        assert_eq!(end("c"), ["d"]);
        assert!(end("d").is_empty());
    }

    #[test]
    fn parents_that_are_gone_are_not_waited_for_and_forgotten_once_done() {
        let mut positions = Positions::new();
        enter(&family(), &mut positions, Start::TrimHorizon, 0);
        positions.insert("a".to_owned(), Position::End);
        positions.insert("b".to_owned(), Position::After("5".to_owned()));
        let left = &family()[2..];
        enter(left, &mut positions, Start::TrimHorizon, 0);
        assert_eq!(positions.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert_eq!(open(left, &positions), ["c"]);
        // Nothing is forgotten for a stream that lists nothing.
        let before = positions.clone();
        enter(&[], &mut positions, Start::TrimHorizon, 0);
        assert_eq!(positions, before);
    }

    #[test]
    fn the_latest_is_what_comes_to_open_shards_and_all_of_their_children() {
        let mut positions = Positions::new();
        enter(&family(), &mut positions, Start::Latest, 7);
        assert_eq!(open(&family(), &positions), ["d"]);
        assert_eq!(positions["d"], Position::Since(7));
        let mut shards = family();
        shards.push(Shard { id: "e".to_owned(), parents: vec!["d".to_owned()], is_closed: false });
        enter(&shards, &mut positions, Start::Latest, 9);
        assert_eq!(positions["e"], Position::Begin);
        let mut positions = Positions::new();
        enter(&family(), &mut positions, Start::At(5), 7);
        assert!(positions.values().all(|position| *position == Position::Since(5)));
    }

    #[test]
    fn what_was_done_stays_done() {
        let mut positions = Positions::from([("b".to_owned(), Position::After("3".to_owned()))]);
        enter(&family(), &mut positions, Start::Latest, 7);
        assert_eq!(positions["b"], Position::After("3".to_owned()));
        // Not the first look.
        assert_eq!(positions["d"], Position::Begin);
    }

    #[test]
    fn a_shard_that_is_its_own_parent_is_never_read() {
        let shard = Shard { id: "a".into(), parents: vec!["a".into()], is_closed: false };
        let mut positions = Positions::new();
        enter(std::slice::from_ref(&shard), &mut positions, Start::TrimHorizon, 0);
        assert!(readable(&[shard], &positions).is_empty());
    }
}
