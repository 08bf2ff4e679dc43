use coldframe_core::AccountId;

use super::*;

fn arn(name: &str) -> FunctionArn {
    FunctionArn {
        account: AccountId::default_account(),
        region: "eu-west-1".into(),
        name: name.into(),
    }
}

/// How many of so many tries at that time succeed.
fn taken(tries: usize, mut take: impl FnMut() -> bool) -> usize {
    (0..tries).filter(|_| take()).count()
}

// Spec: service-api.md §5, "Scaling".
#[test]
fn a_thousand_environments_in_ten_seconds() {
    let (start, scaling, f) = (Instant::now(), Scaling::new(1000), arn("f"));
    let check = |after_ms: u64, expected: usize| {
        let now = start + Duration::from_millis(after_ms);
        assert_eq!(taken(5000, || scaling.environment(&f, now)), expected, "{after_ms}");
    };
    check(0, 1000);
    check(0, 0);
    check(9, 0);
    check(10, 1);
    check(1010, 100);
    check(11_010, 1000);
    // An hour of silence is worth no more.
    check(3_600_000, 1000);
    // The clock of who asks may be a moment behind.
    check(3_599_990, 0);
    check(3_600_010, 1);
    // Another function has its own.
    assert_eq!(taken(5000, || scaling.environment(&arn("g"), start)), 1000);
}

#[test]
fn ten_requests_a_second_for_each_environment() {
    let (start, scaling) = (Instant::now(), Scaling::new(1000));
    let check = |name: &str, reserved: Option<usize>, after_ms: u64, expected: usize, reason| {
        let now = start + Duration::from_millis(after_ms);
        let mut why = None;
        let came = taken(2 * expected + 10, || {
            let asked = scaling.request(&arn(name), reserved, 30, now);
            asked.map_err(|refusal| why = Some(refusal)).is_ok()
        });
        assert_eq!(came, expected, "{name} {after_ms}");
        match why {
            Some(Refusal::Throttled { reason: given }) => assert_eq!(Some(given), reason),
            other => assert!(other.is_none() && reason.is_none(), "{other:?}"),
        }
    };
    let (function, reserved) =
        ("FunctionInvocationRateLimitExceeded", "ReservedFunctionInvocationRateLimitExceeded");
    check("f", None, 0, 300, Some(function));
    check("f", None, 500, 150, Some(function));
    check("f", None, 9500, 300, Some(function));
    check("r", Some(2), 0, 20, Some(reserved));
    check("r", Some(2), 1000, 20, Some(reserved));
    // What is reserved later counts from then.
    check("r", Some(4), 2000, 40, Some(reserved));
    // Off is told as off.
    for _ in 0..100 {
        assert!(scaling.request(&arn("off"), Some(0), 30, start).is_ok());
    }
}

#[test]
fn functions_are_forgotten_once_they_are_at_rest() {
    let (start, scaling) = (Instant::now(), Scaling::new(10));
    let size = || lock(&scaling.added.0).len();
    for number in 0..FUNCTIONS_MIN {
        scaling.environment(&arn(&format!("f{number}")), start);
    }
    let busy = start + Duration::from_millis(900);
    scaling.environment(&arn("f0"), busy);
    scaling.environment(&arn("g"), busy);
    assert_eq!(size(), FUNCTIONS_MIN + 1);
    scaling.environment(&arn("h"), start + Duration::from_millis(1100));
    // `f0`, `g` and `h` are still short of something.
    assert_eq!(size(), 3);
}
