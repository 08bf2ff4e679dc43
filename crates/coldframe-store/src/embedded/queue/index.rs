//! Which events wait, and since when: the queue's memory, without payloads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::queue::Millis;

/// An event that waits or is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) id: i64,
    pub(super) due: Millis,
    pub(super) enqueued: Millis,
    pub(super) attempts: u32,
    pub(super) put_backs: u32,
}

type Lane = BTreeMap<(Millis, i64), Ticket>;

/// Waiting events by lane and time. A lane without any is not there.
#[derive(Default)]
pub(super) struct Index {
    lanes: HashMap<Arc<str>, Lane>,
    /// Each lane once, by the time its first event is due.
    by_due: BTreeSet<(Millis, Arc<str>)>,
    length: usize,
    last_id: i64,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The highest id that was ever inserted.
    pub(super) fn last_id(&self) -> i64 {
        self.last_id
    }

    pub(super) fn insert(&mut self, lane: &Arc<str>, ticket: Ticket) {
        self.last_id = self.last_id.max(ticket.id);
        self.change(lane, |tickets| {
            tickets.insert((ticket.due, ticket.id), ticket);
        });
    }

    /// See [`crate::queue::Queue::claim`].
    pub(super) fn claim(
        &mut self,
        now: Millis,
        admit: &mut dyn FnMut(&Arc<str>) -> bool,
    ) -> Vec<(Arc<str>, Ticket)> {
        let due: Vec<Arc<str>> = self
            .by_due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .map(|(_, lane)| lane.clone())
            .collect();
        let mut claimed = Vec::new();
        let mut willing = due;
        // One of each in turn: none gets all the places there are.
        while !willing.is_empty() {
            willing.retain(|lane| {
                let first = self.lanes.get(lane).and_then(|tickets| tickets.first_key_value());
                let Some((&key, _)) = first.filter(|((due, _), _)| *due <= now) else {
                    return false;
                };
                if !admit(lane) {
                    return false;
                }
                let ticket = self.change(lane, |tickets| tickets.remove(&key));
                claimed.extend(ticket.map(|ticket| (lane.clone(), ticket)));
                true
            });
        }
        claimed
    }

    pub(super) fn next_due(&self, now: Millis) -> Option<Millis> {
        // An empty name is before all others.
        let later = (now.saturating_add(1), Arc::from(""));
        self.by_due.range(later..).next().map(|(due, _)| *due)
    }

    /// Removes a lane's events whose ids are not above `up_to`.
    pub(super) fn forget(&mut self, lane: &str, up_to: i64) {
        let Some((lane, _)) = self.lanes.get_key_value(lane) else { return };
        let lane = lane.clone();
        self.change(&lane, |tickets| tickets.retain(|(_, id), _| *id > up_to));
    }

    /// Changes a lane and keeps all counts right.
    fn change<T>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Lane) -> T) -> T {
        let lane = self.lanes.entry(name.clone()).or_default();
        let first = |lane: &Lane| lane.first_key_value().map(|((due, _), _)| *due);
        let (first_before, length_before) = (first(lane), lane.len());
        let changed = change(lane);
        let (first_after, length_after) = (first(lane), lane.len());
        if first_before != first_after {
            if let Some(due) = first_before {
                self.by_due.remove(&(due, name.clone()));
            }
            if let Some(due) = first_after {
                self.by_due.insert((due, name.clone()));
            }
        }
        self.length = self.length + length_after - length_before;
        if length_after == 0 {
            self.lanes.remove(name);
        }
        changed
    }
}
