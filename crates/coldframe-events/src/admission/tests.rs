use super::*;

fn lane(name: &str) -> Arc<str> {
    name.into()
}

/// How many places it gets until it is refused; time goes on, so that pace is no matter.
fn fill(admission: &mut Admission, name: &str, memory_mb: u64, now: &mut Millis) -> usize {
    let name = lane(name);
    (0..)
        .take_while(|_| {
            *now += STEP_MS;
            admission.admit(&name, memory_mb, *now)
        })
        .count()
}

#[test]
fn a_newcomer_finds_room_whatever_others_hold() {
    let (mut admission, mut now) = (Admission::new(100, 1_000_000), 0);
    assert_eq!(fill(&mut admission, "hangs", 128, &mut now), 50);
    assert_eq!(fill(&mut admission, "second", 128, &mut now), 25);
    for number in 0..5 {
        assert!(fill(&mut admission, &format!("later {number}"), 128, &mut now) >= 1);
    }
    // What ends, ends for whoever needs it more.
    for _ in 0..30 {
        admission.release(&lane("hangs"), 128, false);
    }
    let before = admission.held();
    assert!(fill(&mut admission, "second", 128, &mut now) > 0);
    assert!(admission.held() > before);
}

#[test]
fn memory_is_shared_likewise() {
    let (mut admission, mut now) = (Admission::new(1000, 10_000), 0);
    assert_eq!(fill(&mut admission, "large", 1000, &mut now), 5);
    assert_eq!(fill(&mut admission, "small", 128, &mut now), 20);
    // One that is larger than what is left: whether it fits, the engine decides.
    assert_eq!(fill(&mut admission, "huge", 10_240, &mut now), 1);
}

#[test]
fn beyond_a_burst_places_come_one_by_one() {
    let mut admission = Admission::new(1000, 1_000_000);
    let admitted = |admission: &mut Admission, now| {
        (0..).take_while(|_| admission.admit(&lane("f"), 128, now)).count()
    };
    assert_eq!(admitted(&mut admission, 0), AT_ONCE + 1);
    assert_eq!(admission.again_at(), Some(STEP_MS));
    assert_eq!(admitted(&mut admission, STEP_MS - 1), 0);
    assert_eq!(admitted(&mut admission, STEP_MS), 1);
    // It is no matter to others.
    assert!(admission.admit(&lane("g"), 128, STEP_MS));
}

#[test]
fn throttling_halves_and_success_adds() {
    let (mut admission, mut now) = (Admission::new(100, 1_000_000), 0);
    let held = fill(&mut admission, "f", 128, &mut now);
    admission.release(&lane("f"), 128, true);
    assert_eq!(fill(&mut admission, "f", 128, &mut now), 0);
    for _ in 1..held {
        admission.release(&lane("f"), 128, false);
    }
    assert_eq!(admission.held(), 0);
    // It is forgotten when nothing of it is left.
    assert_eq!(fill(&mut admission, "f", 128, &mut now), 50);
    for _ in 0..50 {
        admission.release(&lane("f"), 128, true);
    }
    assert_eq!(fill(&mut admission, "f", 128, &mut now), 1);
}
