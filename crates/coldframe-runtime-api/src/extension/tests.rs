use super::*;

// Spec: execution-environment.md §3.5 and E2.
#[test]
fn ee_e2_every_cell() {
    use State as S;
    for (from, register, next, init_error, exit_error) in [
        (S::Started, true, false, false, false),
        (S::Registered, false, true, true, true),
        (S::Ready, false, false, false, true),
        (S::Running, false, true, false, true),
        (S::InitError, false, false, true, false),
        (S::ExitError, false, false, false, true),
        (S::Exited, false, false, false, false),
        (S::ShutdownFailed, false, false, false, false),
        (S::LaunchError, false, false, false, false),
    ] {
        for (call, allowed) in [
            (Call::Register, register),
            (Call::Next, next),
            (Call::InitError, init_error),
            (Call::ExitError, exit_error),
        ] {
            assert_eq!(from.on(call).is_ok(), allowed, "{from} {call:?}");
        }
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.begin(["ext".to_owned(), "other".to_owned()]);
    registry
}

fn refused<T>(result: Result<T, Refused>) -> (&'static str, String) {
    result.err().map(|refused| (refused.kind, refused.message)).expect("a refusal")
}

const BOTH: &[u8] = br#"{"events":["INVOKE","SHUTDOWN"]}"#;

// Spec: execution-environment.md §3.6 and E1, E7.
#[test]
fn ee_e1_e7_each_refusal() {
    let mut registry = registry();
    let mut check = |name: Option<&str>, body: &[u8], kind: &str, message: &str| {
        let (found, text) = refused(registry.register(name, body));
        assert_eq!(found, kind);
        assert!(text.contains(message), "{text}");
    };
    let invalid_type = "Extension.InvalidEventType";
    check(None, b"", "Extension.InvalidExtensionName", "Empty extension name");
    check(Some(""), b"{}", "Extension.InvalidExtensionName", "Empty extension name");
    let long = "x".repeat(NAME_CHARACTERS_MAX + 1);
    check(Some(&long), b"{}", "Extension.InvalidExtensionName", "longer than 256 characters");
    check(Some("ext"), b"", "InvalidRequestFormat", "EOF");
    check(Some("ext"), b"{\"events\":1}", "InvalidRequestFormat", "");
    check(
        Some("ext"),
        br#"{"configurationKeys":["a"]}"#,
        "InvalidRequestFormat",
        "configurationKeys are deprecated; use environment variables instead",
    );
    check(Some("ext"), br#"{"events":["X"]}"#, invalid_type, "X: ErrorInvalidEventType");
    check(
        Some("internal"),
        BOTH,
        invalid_type,
        "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension",
    );
    let id = registry.register(Some("ext"), BOTH).unwrap().to_string();
    assert_eq!(
        refused(registry.register(Some("ext"), BOTH)),
        (
            "Extension.InvalidExtensionState",
            "State transition from Registered to Registered failed for extension ext. Error: State transition is not allowed".to_owned()
        )
    );
    registry.register(Some("internal"), b"{}").unwrap();
    assert_eq!(
        refused(registry.register(Some("internal"), b"{}")).1,
        "Extension with this name already registered"
    );
    let absent = Uuid::new_v4().to_string();
    for (header, kind, message) in [
        (
            None,
            "Extension.MissingExtensionIdentifier",
            "Missing Lambda-Extension-Identifier header".to_owned(),
        ),
        (
            Some("x"),
            "Extension.InvalidExtensionIdentifier",
            "Invalid Lambda-Extension-Identifier".to_owned(),
        ),
        (
            Some(absent.as_str()),
            "Extension.UnknownExtensionIdentifier",
            format!("Unknown extension {absent}"),
        ),
    ] {
        assert_eq!(refused(registry.next(header)), (kind, message.clone()));
        assert_eq!(refused(registry.subscriber(header)), (kind, message));
    }
    assert_eq!(
        refused(registry.failed(Call::InitError, Some(&absent), Some("x"))).1,
        "Unknown Lambda-Extension-Identifier"
    );
    assert_eq!(
        refused(registry.failed(Call::InitError, Some(&id), None)),
        ("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found".to_owned())
    );
    let _held = registry.next(Some(&id)).unwrap();
    assert_eq!(
        refused(registry.next(Some(&id))),
        (
            "Extension.InvalidExtensionState",
            format!(
                "State transition from Ready to Ready failed for extension {id}. Error: State transition is not allowed"
            )
        )
    );
    for number in registry.extensions.len()..EXTENSIONS_MAX {
        registry.register(Some(&format!("internal-{number}")), b"{}").unwrap();
    }
    assert_eq!(
        refused(registry.register(Some("more"), b"{}")),
        ("Extension.TooManyExtensions", "Extension limit (10) reached".to_owned())
    );
}

// Spec: execution-environment.md §3.1 and I13.
#[test]
fn ee_i13_registration_closes_for_internal_ones() {
    let mut registry = registry();
    registry.register(Some("early"), br#"{"events":["INVOKE"]}"#).unwrap();
    registry.close();
    assert_eq!(
        refused(registry.register(Some("late"), b"{}")),
        ("Extension.RegistrationClosed", "Extension registration closed already".to_owned())
    );
    assert!(registry.register(Some("ext"), BOTH).is_ok());
    assert!(!registry.all_registered());
    assert!(registry.register(Some("other"), b"{\"events\":null}").is_ok());
    assert!(registry.all_registered());
}

// Spec: execution-environment.md §3.4 and E6.
#[test]
fn ee_e6_errors_are_told_twice_without_harm() {
    let mut registry = registry();
    let id = registry.register(Some("ext"), BOTH).unwrap().to_string();
    assert_eq!(registry.failed(Call::ExitError, Some(&id), Some("Ext.A")), Ok(true));
    assert_eq!(registry.failed(Call::ExitError, Some(&id), Some("Ext.B")), Ok(false));
    let view = &registry.views()[0];
    assert_eq!((view.state, view.error_type.as_deref()), (State::ExitError, Some("Ext.A")));
}

fn invocation(trace: Option<&str>) -> Invoke<'_> {
    Invoke {
        request_id: Uuid::nil().into(),
        deadline: SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_003_000),
        invoked_arn: "arn:f",
        trace,
    }
}

// Spec: execution-environment.md §3.3 and E4, E8.
#[test]
fn ee_e4_e8_events_go_to_those_who_want_them() {
    let mut registry = registry();
    let ext = registry.register(Some("ext"), BOTH).unwrap().to_string();
    let other = registry.register(Some("other"), br#"{"events":["SHUTDOWN"]}"#).unwrap();
    let mut held = registry.next(Some(&ext)).unwrap();
    let mut quiet = registry.next(Some(&other.to_string())).unwrap();
    assert!(registry.all_ready());
    registry.invoke(&invocation(None));
    assert!(!registry.all_ready());
    let first = held.try_recv().unwrap();
    assert_eq!(
        first.body,
        r#"{"eventType":"INVOKE","deadlineMs":1700000003000,"requestId":"00000000-0000-0000-0000-000000000000","invokedFunctionArn":"arn:f"}"#
    );
    assert!(quiet.try_recv().is_err());
    let mut held = registry.next(Some(&ext)).unwrap();
    assert!(registry.all_ready());
    registry.invoke(&invocation(Some("Root=1;Sampled=1")));
    let second = held.try_recv().unwrap();
    assert!(
        second.body.contains(r#""tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1;Sampled=1"}"#)
    );
    assert_ne!(first.id, second.id);

    // The busy one is told when it comes, the waiting one at once (S7).
    registry.shut_down("spindown", SystemTime::UNIX_EPOCH);
    let shutdown = r#"{"eventType":"SHUTDOWN","deadlineMs":0,"shutdownReason":"spindown"}"#;
    let told = quiet.try_recv().unwrap();
    assert_eq!((told.id, told.body.as_str()), (None, shutdown));
    let mut late = registry.next(Some(&ext)).unwrap();
    assert_eq!(late.try_recv().unwrap().body, shutdown);
}

#[test]
fn an_event_that_met_a_closed_connection_is_kept() {
    let mut registry = registry();
    let ext = registry.register(Some("ext"), BOTH).unwrap().to_string();
    drop(registry.next(Some(&ext)).unwrap());
    registry.invoke(&invocation(None));
    let mut again = registry.next(Some(&ext)).unwrap();
    assert!(again.try_recv().unwrap().body.contains("INVOKE"));
}

#[test]
fn the_ends_of_processes_show() {
    let mut registry = registry();
    registry.launch_failed("other", "PermissionDenied");
    registry.exited("ext", true);
    let views = registry.views();
    assert_eq!(views[0].state, State::Exited);
    assert_eq!(views[1].error_type.as_deref(), Some("PermissionDenied"));
    assert_eq!(event::Extension::from(&views[1]).state, "LaunchError");
}
