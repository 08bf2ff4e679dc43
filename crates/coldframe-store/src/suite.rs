//! What every back end must hold, as tests: [`crate::backend_suite!`] runs them over one.
//!
//! ```text
//! mod in_a_file {
//!     coldframe_store::backend_suite!(File::new());
//! }
//! ```

mod catalogue;
mod queue;

use std::sync::Arc;

use crate::Backend;

pub use self::catalogue::*;
pub use self::queue::*;

/// Where a test keeps its state, for itself alone.
pub trait Ground {
    /// What a process finds that starts after another one was killed: nothing is closed before.
    fn open(&self) -> Arc<dyn Backend>;
}

/// Makes a test of each of the suite's, over a fresh [`suite::Ground`](crate::suite::Ground).
#[macro_export]
macro_rules! backend_suite {
    ($ground:expr) => {
        $crate::backend_suite! { $ground;
            what_is_committed_is_told_to_whoever_watches_later
            parts_that_nobody_changes_stay
            a_document_that_is_gone_takes_its_parts_along
            a_change_of_what_is_no_longer_so_changes_nothing
            revisions_go_up_and_are_never_given_again
            watchers_hear_everything_in_order
            a_watcher_is_not_kept_alive
            any_text_is_kept_as_it_is
            of_changes_at_the_same_time_one_is_made
            documents_are_kept_as_a_map_would
            an_event_acknowledged_is_there_as_it_came
            what_is_done_is_gone_and_what_follows_is_there
            delays_are_counted_and_kept_and_others_are_not
            a_forgotten_lane_is_empty_and_a_later_event_of_it_is_not_forgotten
            lanes_take_turns
            whoever_waits_is_told_of_what_comes
            many_add_at_the_same_time
            a_dropped_queue_has_written_all_and_its_leases_do_no_harm
            events_are_kept_as_a_map_would
        }
    };
    ($ground:expr; $($test:ident)+) => {
        $(
            #[test]
            fn $test() {
                $crate::suite::$test(&$ground);
            }
        )+
    };
}
