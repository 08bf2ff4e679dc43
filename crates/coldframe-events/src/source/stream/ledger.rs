//! Up to which record of a shard all is done, though lanes end in any order.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Number of the first that is open.
    first: u64,
    /// From there, as they were read: their sequence numbers, and whether they are done.
    open: VecDeque<(String, bool)>,
}

impl Ledger {
    /// One was read: its number here.
    pub(super) fn enter(&mut self, sequence_number: &str) -> u64 {
        self.open.push_back((sequence_number.to_owned(), false));
        self.first + self.open.len() as u64 - 1
    }

    /// These are done. The sequence number up to which now all are, if it has moved.
    pub(super) fn done(&mut self, numbers: impl IntoIterator<Item = u64>) -> Option<String> {
        for number in numbers {
            let index = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
            if let Some(one) = index.and_then(|index| self.open.get_mut(index)) {
                one.1 = true;
            }
        }
        let mut last = None;
        while let Some((sequence_number, _)) = self.open.pop_front_if(|(_, is_done)| *is_done) {
            self.first += 1;
            last = Some(sequence_number);
        }
        last
    }

    /// From the first that is open on.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_holds_back_what_is_done_behind_it() {
        let mut ledger = Ledger::default();
        let numbers: Vec<u64> = ["a", "b", "c", "d"].map(|one| ledger.enter(one)).into();
        assert_eq!(ledger.done([numbers[1]]), None);
        assert_eq!(ledger.done([numbers[0]]).as_deref(), Some("b"));
        assert_eq!(ledger.done([numbers[3], numbers[0]]), None);
        let fifth = ledger.enter("e");
        assert_eq!(ledger.done([numbers[2]]).as_deref(), Some("d"));
        assert!(!ledger.is_empty());
        assert_eq!(ledger.done([fifth]).as_deref(), Some("e"));
        assert!(ledger.is_empty());
    }
}
