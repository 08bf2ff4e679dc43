use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Weak};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Ground;
use crate::{Backend, Change, Content, Error, Part, Revision, Told, Watcher, lock};

type Documents = BTreeMap<(String, String), (Revision, BTreeMap<String, String>)>;

/// Keeps what it is told.
#[derive(Default)]
struct Heard(Mutex<Vec<(String, String, Revision, Content)>>);

impl Watcher for Heard {
    fn hear(&self, told: &Told<'_>) -> Result<(), Error> {
        let Told { kind, name, revision, content } = *told;
        lock(&self.0).push((kind.to_owned(), name.to_owned(), revision, content.clone()));
        Ok(())
    }
}

impl Heard {
    fn of(backend: &dyn Backend) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let watcher: Weak<Self> = Arc::downgrade(&heard);
        backend.watch(watcher).unwrap();
        heard
    }

    /// What a reader makes of it.
    fn documents(&self) -> Documents {
        let mut documents = Documents::new();
        for (kind, name, revision, content) in &*lock(&self.0) {
            let key = (kind.clone(), name.clone());
            let Content::Parts(changed) = content else {
                documents.remove(&key);
                continue;
            };
            let (last, parts) = documents.entry(key).or_default();
            *last = *revision;
            for Part { name, text } in changed {
                match text {
                    Some(text) => parts.insert(name.clone(), text.clone()),
                    None => parts.remove(name),
                };
            }
        }
        documents
    }

    fn revisions(&self) -> Vec<Revision> {
        lock(&self.0).iter().map(|(_, _, revision, _)| *revision).collect()
    }
}

fn commit(
    backend: &dyn Backend,
    name: &str,
    seen: Option<Revision>,
    parts: &[(&str, Option<&str>)],
) -> Result<Revision, Error> {
    let part = |(name, text): &(&str, Option<&str>)| Part {
        name: (*name).to_owned(),
        text: text.map(str::to_owned),
    };
    let content = Content::Parts(parts.iter().map(part).collect());
    backend.commit(&Change { kind: "function", name, seen, content: &content })
}

fn delete(backend: &dyn Backend, name: &str, seen: Revision) -> Result<Revision, Error> {
    let content = Content::Gone;
    backend.commit(&Change { kind: "function", name, seen: Some(seen), content: &content })
}

fn found(backend: &dyn Backend) -> Documents {
    Heard::of(backend).documents()
}

fn parts_of(documents: &Documents, name: &str) -> Option<Vec<(String, String)>> {
    let (_, parts) = documents.get(&("function".to_owned(), name.to_owned()))?;
    Some(parts.clone().into_iter().collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
    Some(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

pub fn what_is_committed_is_told_to_whoever_watches_later(ground: &dyn Ground) {
    let first = ground.open();
    assert!(found(&*first).is_empty());
    commit(&*first, "a", None, &[("latest", Some("1")), ("settings", Some("{}"))]).unwrap();
    let revision = commit(&*first, "b", None, &[]).unwrap();
    for backend in [&first, &ground.open()] {
        let documents = found(&**backend);
        assert_eq!(parts_of(&documents, "a"), pairs(&[("latest", "1"), ("settings", "{}")]));
        assert_eq!(parts_of(&documents, "b"), pairs(&[]), "a document may have no part");
        assert_eq!(documents[&("function".to_owned(), "b".to_owned())].0, revision);
        assert_eq!(documents.len(), 2);
    }
}

pub fn parts_that_nobody_changes_stay(ground: &dyn Ground) {
    let backend = ground.open();
    let parts = [("a", Some("1")), ("b", Some("2")), ("c", Some("3"))];
    let first = commit(&*backend, "f", None, &parts).unwrap();
    let second = commit(&*backend, "f", Some(first), &[("b", Some("new")), ("c", None)]).unwrap();
    commit(&*backend, "f", Some(second), &[("absent", None)]).unwrap();
    for backend in [&backend, &ground.open()] {
        assert_eq!(parts_of(&found(&**backend), "f"), pairs(&[("a", "1"), ("b", "new")]));
    }
}

/// A name that is used again doesn't meet what its predecessor left.
pub fn a_document_that_is_gone_takes_its_parts_along(ground: &dyn Ground) {
    let backend = ground.open();
    let first = commit(&*backend, "f", None, &[("a", Some("1")), ("b", Some("2"))]).unwrap();
    delete(&*backend, "f", first).unwrap();
    assert!(found(&*ground.open()).is_empty());
    commit(&*backend, "f", None, &[("b", Some("new"))]).unwrap();
    assert_eq!(parts_of(&found(&*ground.open()), "f"), pairs(&[("b", "new")]));
}

pub fn a_change_of_what_is_no_longer_so_changes_nothing(ground: &dyn Ground) {
    let backend = ground.open();
    let first = commit(&*backend, "f", None, &[("a", Some("1"))]).unwrap();
    let second = commit(&*backend, "f", Some(first), &[("a", Some("2"))]).unwrap();
    let heard = Heard::of(&*backend);
    let refused = |seen| match commit(&*backend, "f", seen, &[("a", Some("3"))]) {
        Err(Error::Changed { what }) => assert!(what.contains('f'), "{what}"),
        other => panic!("{other:?}"),
    };
    refused(None);
    refused(Some(first));
    refused(Some(second + 1));
    assert!(matches!(delete(&*backend, "f", first), Err(Error::Changed { .. })));
    assert!(matches!(delete(&*backend, "absent", second), Err(Error::Changed { .. })));
    let revived = commit(&*backend, "absent", Some(first), &[("a", Some("3"))]);
    assert!(matches!(revived, Err(Error::Changed { .. })));
    assert_eq!(heard.revisions(), [second], "nobody hears of what was refused");
    let documents = found(&*ground.open());
    assert_eq!((parts_of(&documents, "f"), documents.len()), (pairs(&[("a", "2")]), 1));
}

/// Who has seen a document that is gone hasn't seen its successor.
pub fn revisions_go_up_and_are_never_given_again(ground: &dyn Ground) {
    let backend = ground.open();
    let mut given = Vec::new();
    for _ in 0..3 {
        let created = commit(&*backend, "f", None, &[("a", Some("1"))]).unwrap();
        let changed = commit(&*backend, "f", Some(created), &[("a", Some("2"))]).unwrap();
        given.extend([created, changed, delete(&*backend, "f", changed).unwrap()]);
    }
    let again = ground.open();
    given.push(commit(&*again, "g", None, &[]).unwrap());
    assert!(given.is_sorted_by(|one, next| one < next), "{given:?}");
}

pub fn watchers_hear_everything_in_order(ground: &dyn Ground) {
    let backend = ground.open();
    let early = Heard::of(&*backend);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let backend = &backend;
            scope.spawn(move || {
                let mut seen = None;
                for number in 0..25 {
                    let (name, text) = (format!("f{thread}"), number.to_string());
                    let parts = [("a", Some(text.as_str()))];
                    seen = Some(commit(&**backend, &name, seen, &parts).unwrap());
                }
            });
        }
        // Who comes in the middle misses nothing.
        for _ in 0..10 {
            let heard = Heard::of(&*backend);
            assert!(heard.documents().len() <= 4);
        }
    });
    let revisions = early.revisions();
    assert_eq!(revisions.len(), 100);
    assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
    assert_eq!(early.documents(), found(&*backend));
    let late = Heard::of(&*backend);
    let (_, (last, _)) = late.documents().pop_first().unwrap();
    commit(&*backend, "f0", Some(last), &[("a", Some("late"))]).unwrap();
    // Told before the commit returned.
    assert_eq!(early.documents(), late.documents());
    assert_eq!(parts_of(&late.documents(), "f0"), pairs(&[("a", "late")]));
}

pub fn a_watcher_is_not_kept_alive(ground: &dyn Ground) {
    let backend = ground.open();
    let heard = Heard::of(&*backend);
    let dropped = Arc::downgrade(&heard);
    drop(heard);
    assert!(dropped.upgrade().is_none());
    commit(&*backend, "f", None, &[]).unwrap();
    assert_eq!(found(&*backend).len(), 1);
}

pub fn any_text_is_kept_as_it_is(ground: &dyn Ground) {
    let backend = ground.open();
    let large = "\u{1F331}".repeat(300_000);
    let odd = ["", " ", "'", "\"; DROP TABLE document; --", "a/b.c*>", "\u{0}", "\u{e9}", "$"];
    let mut names = BTreeSet::new();
    for name in odd {
        commit(&*backend, name, None, &[(name, Some(name)), ("large", Some(&large))]).unwrap();
        names.insert(name.to_owned());
    }
    let documents = found(&*ground.open());
    assert_eq!(documents.keys().map(|(_, name)| name.clone()).collect::<BTreeSet<_>>(), names);
    for ((_, name), (_, parts)) in documents {
        assert_eq!((&parts[&name], &parts["large"]), (&name, &large));
    }
}

/// Counting up by all at once, each trying again when another was faster.
pub fn of_changes_at_the_same_time_one_is_made(ground: &dyn Ground) {
    let backend = ground.open();
    commit(&*backend, "f", None, &[("count", Some("0"))]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let heard = Heard::of(&*backend);
                let mut made = 0;
                while made < 10 {
                    let (_, (seen, parts)) = heard.documents().pop_first().unwrap();
                    let next = (parts["count"].parse::<u32>().unwrap() + 1).to_string();
                    match commit(&*backend, "f", Some(seen), &[("count", Some(&next))]) {
                        Ok(_) => made += 1,
                        Err(Error::Changed { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(parts_of(&found(&*ground.open()), "f"), pairs(&[("count", "40")]));
}

#[derive(Clone, Debug)]
enum Step {
    Change { kind: u8, name: u8, parts: Vec<(u8, Option<u8>)> },
    Delete { kind: u8, name: u8 },
    Reopen,
}

/// Random changes and restarts, beside a map of what must be there.
pub fn documents_are_kept_as_a_map_would(ground: &dyn Ground) {
    let parts = proptest::collection::vec((0..4u8, proptest::option::of(any::<u8>())), 0..4);
    let step = prop_oneof![
        8 => (0..2u8, 0..4u8, parts)
            .prop_map(|(kind, name, parts)| Step::Change { kind, name, parts }),
        2 => (0..2u8, 0..4u8).prop_map(|(kind, name)| Step::Delete { kind, name }),
        1 => Just(Step::Reopen),
    ];
    let steps = proptest::collection::vec(step, 1..30);
    let mut runner = TestRunner::new(Config::with_cases(30));
    let checked = runner.run(&steps, |steps| {
        // What the cases before left is where this one begins.
        let mut backend = ground.open();
        let mut model = found(&*backend);
        for step in steps {
            let (kind, name, parts) = match step {
                Step::Reopen => {
                    backend = ground.open();
                    continue;
                }
                Step::Change { kind, name, parts } => (kind, name, Some(parts)),
                Step::Delete { kind, name } => (kind, name, None),
            };
            let key = (format!("kind{kind}"), format!("name{name}"));
            let seen = model.get(&key).map(|(revision, _)| *revision);
            let content = match &parts {
                None => Content::Gone,
                Some(parts) => Content::Parts(
                    parts
                        .iter()
                        .map(|(part, text)| Part {
                            name: part.to_string(),
                            text: text.map(|text| text.to_string()),
                        })
                        .collect(),
                ),
            };
            let change = Change { kind: &key.0, name: &key.1, seen, content: &content };
            let committed = backend.commit(&change);
            let Some(parts) = parts else {
                // There may have been none to delete.
                prop_assert_eq!(committed.is_ok(), true);
                model.remove(&key);
                continue;
            };
            let (revision, kept) = model.entry(key).or_default();
            *revision = committed.unwrap();
            for (part, text) in parts {
                match text {
                    Some(text) => kept.insert(part.to_string(), text.to_string()),
                    None => kept.remove(&part.to_string()),
                };
            }
        }
        prop_assert_eq!(&found(&*backend), &model);
        prop_assert_eq!(&found(&*ground.open()), &model);
        Ok(())
    });
    checked.unwrap();
}
