use super::*;

const LIMITS: Limits =
    Limits { retries_max: 2, age_max: Duration::from_secs(21_600), time_scale: 1.0 };

fn standing(now_s: i64, attempts: u32, put_backs: u32) -> Standing {
    Standing { now: now_s * 1000, enqueued: 0, attempts, put_backs }
}

fn check(limits: Limits, standing: Standing, outcome: Outcome, next: Next) {
    assert_eq!(limits.next(&standing, outcome), next, "{standing:?} {outcome:?}");
}

// Spec: service-api.md §4.1.
#[test]
fn function_errors_are_retried_twice() {
    let error = Outcome::FunctionError;
    check(LIMITS, standing(1, 1, 0), error, Next::Retry { due: 61_000 });
    check(LIMITS, standing(62, 2, 0), error, Next::Retry { due: 182_000 });
    check(LIMITS, standing(183, 3, 0), error, Next::End(Condition::RetriesExhausted));
    let none = Limits { retries_max: 0, ..LIMITS };
    check(none, standing(1, 1, 0), error, Next::End(Condition::RetriesExhausted));
    let tenth = Limits { time_scale: 0.1, ..LIMITS };
    check(tenth, standing(1, 1, 0), error, Next::Retry { due: 7_000 });
    check(LIMITS, standing(1, 1, 0), Outcome::Success, Next::End(Condition::Success));
}

#[test]
fn refusals_back_off_and_use_up_no_attempt() {
    let put_back = |seconds: i64| Next::PutBack { due: seconds * 1000 };
    check(LIMITS, standing(10, 0, 0), Outcome::Refused, put_back(11));
    check(LIMITS, standing(10, 0, 3), Outcome::Refused, put_back(18));
    check(LIMITS, standing(10, 9, 9), Outcome::Refused, put_back(310));
    check(LIMITS, standing(10, 0, u32::MAX), Outcome::Refused, put_back(310));
}

#[test]
fn what_would_be_too_old_is_given_up() {
    let minute = Limits { age_max: Duration::from_secs(60), ..LIMITS };
    let exceeded = Next::End(Condition::EventAgeExceeded);
    // AWS: with the least age the first retry comes too late.
    check(minute, standing(1, 1, 0), Outcome::FunctionError, exceeded);
    check(minute, standing(31, 0, 5), Outcome::Refused, exceeded);
    check(minute, standing(30, 0, 0), Outcome::Refused, Next::PutBack { due: 31_000 });
    assert!(!minute.is_too_old(&standing(60, 0, 0)));
    assert!(minute.is_too_old(&standing(61, 0, 0)));
    // A clock that was set back makes nothing old.
    assert!(!minute.is_too_old(&standing(-100, 0, 0)));
}
