use super::*;
use proptest::prelude::*;

fn requests() -> Vec<Request> {
    vec![
        Request::Configure(Configure {
            hostname: "169-254-76-1".into(),
            mounts: vec!["/var/task".into(), "/tmp".into()],
            enter_user_namespace: true,
            cgroup: true,
            scratch_mb: Some(512),
            uid: 993,
            gid: 990,
            open_files_max: 1024,
            data_bytes_max: Some(1 << 30),
            processes_max: None,
            network: Some(Network {
                address: [10, 1, 2, 3],
                gateway: [10, 1, 2, 2],
                prefix_length: 31,
            }),
        }),
        Request::Configure(Configure::default()),
        Request::Spawn(Spawn {
            process: 7,
            argv: vec!["/var/task/bootstrap".into()],
            env: vec!["A=ü".into(), String::new()],
            cwd: "/var/task".into(),
            log: Some(3),
        }),
        Request::Spawn(Spawn::default()),
        Request::Signal { process: 7, signal: 15 },
        Request::KillAll,
        Request::Suspend,
        Request::Resume,
        Request::Socket,
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Ready,
        Event::Configured,
        Event::Failed { step: "mount /proc".into(), errno: 1 },
        Event::Spawned { process: 7, pid: 2 },
        Event::SpawnFailed { process: 7, errno: 2, step: SpawnStep::Exec },
        Event::Exited { process: 7, code: 9, signalled: true, core_dumped: false },
        Event::AllGone,
        Event::Suspended,
        Event::Resumed,
        Event::Socket,
    ]
}

#[test]
fn messages_survive_the_way() {
    for request in requests() {
        let packet = request.encode();
        assert_eq!(Request::decode(&packet), Ok(request));
        assert_eq!(Request::decode(&[&packet[..], &[0]].concat()), Err(Malformed));
        assert_eq!(Request::decode(&packet[..packet.len() - 1]), Err(Malformed));
    }
    for event in events() {
        let packet = event.encode();
        assert_eq!(Event::decode(&packet), Ok(event));
        assert_eq!(Event::decode(&[&packet[..], &[0]].concat()), Err(Malformed));
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(&packet) {
            prop_assert_eq!(request.encode(), packet.clone());
        }
        if let Ok(event) = Event::decode(&packet) {
            prop_assert_eq!(event.encode(), packet);
        }
    }
}
