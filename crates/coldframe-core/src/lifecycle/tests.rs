use super::*;
use proptest::prelude::*;

fn check(from: Phase, events: &[Event], end: Option<Phase>) {
    let mut phase = Some(from);
    for event in events {
        phase = phase.and_then(|phase| phase.on(*event).ok()).map(|(next, _)| next);
    }
    assert_eq!(phase, end, "{from:?} {events:?}");
}

#[test]
fn the_whole_matrix() {
    let mut rows = String::new();
    for phase in PHASES {
        rows.push_str(&format!("{phase:?}\n"));
        for event in EVENTS {
            let row = match phase.on(event) {
                Ok((next, actions)) if next == phase => format!("stays {actions:?}"),
                Ok((next, actions)) => format!("{next:?} {actions:?}"),
                Err(_) => continue,
            };
            rows.push_str(&format!("    {event:?} -> {row}\n"));
        }
    }
    insta::assert_snapshot!(rows);
}

// Spec: execution-environment.md §1.1–1.6.
#[test]
fn the_usual_lives() {
    use Event::*;
    use Phase as P;
    let init = [Start, ExtensionsRegistered, RuntimeReady, AllReady];
    check(P::Created, &init, Some(P::Idle));
    check(P::Idle, &[Freeze, Invoke, Respond, RuntimeReady, AllReady, Freeze], Some(P::Frozen));
    check(P::Frozen, &[Invoke, Timeout, Gone], Some(P::NeedsInit));
    check(P::NeedsInit, &[Invoke, ExtensionsRegistered, RuntimeReady, AllReady], Some(P::Invoke));
    check(P::Created, &[Start, ExtensionsRegistered, Timeout, Gone], Some(P::NeedsInit));
    check(P::Frozen, &[Stop, Gone], Some(P::Terminated));
    check(P::Invoke, &[Stop, Respond, RuntimeReady, AllReady], Some(P::Idle));
    check(P::Frozen, &[Respond], None);
    check(P::Created, &[Invoke], None);
}

proptest! {
    /// Whatever order events come in: an accepted invocation is answered exactly once and reported
    /// exactly once, nothing is delivered to a frozen environment without a thaw, and nothing
    /// happens after the end.
    #[test]
    fn random_orders_keep_the_invariants(order in proptest::collection::vec(0..EVENTS.len(), 1..200)) {
        let mut phase = Phase::Created;
        let (mut held, mut answered, mut reported, mut frozen) = (false, false, false, false);
        for index in order {
            let event = EVENTS[index];
            let Ok((next, actions)) = phase.on(event) else { continue };
            prop_assert!(phase != Phase::Terminated || actions.is_empty());
            if event == Event::Invoke {
                prop_assert!(!held, "a second invocation in {phase:?}");
                (held, answered, reported) = (true, false, false);
            }
            let mut delivered = false;
            for action in actions {
                match action {
                    Action::Freeze => frozen = true,
                    Action::Thaw => frozen = false,
                    Action::Deliver => delivered = true,
                    Action::Answer | Action::AnswerError => {
                        prop_assert!(held && !answered);
                        answered = true;
                    }
                    Action::TellReport => {
                        prop_assert!(held && answered && !reported);
                        reported = true;
                        held = false;
                    }
                    Action::ShutDown => prop_assert!(!frozen, "a frozen process can't shut down"),
                    Action::Destroy => prop_assert_eq!(next, Phase::Terminated),
                    _ => {}
                }
            }
            prop_assert!(!delivered || !frozen, "an event for a frozen runtime comes with a thaw");
            prop_assert_eq!(next.holds_invocation(), held);
            prop_assert_eq!(next == Phase::Frozen, frozen && next != Phase::Terminated);
            prop_assert!(next != Phase::Reset || !frozen, "PID 1 must run to reap");
            phase = next;
        }
    }
}
