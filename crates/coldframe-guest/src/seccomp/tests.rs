use super::*;

/// Runs both programs as the kernel does: the stricter verdict counts.
fn verdict(call: libc::c_long, arguments: [u32; 3]) -> u32 {
    let verdicts = [filter(), no_clone3()].map(|program| run(&program, call, arguments));
    verdicts.into_iter().min().unwrap()
}

fn run(program: &[sock_filter], call: libc::c_long, arguments: [u32; 3]) -> u32 {
    let load = |offset: u32| match offset {
        NR => call as u32,
        ARCH => AUDIT_ARCH,
        ARGUMENT_0 => arguments[0],
        ARGUMENT_1 => arguments[1],
        ARGUMENT_2 => arguments[2],
        other => panic!("no such word: {other}"),
    };
    let (mut at, mut word) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let code = u32::from(instruction.code);
        if code == BPF_LD | BPF_W | BPF_ABS {
            word = load(instruction.k);
        } else if code == BPF_RET | BPF_K {
            return instruction.k;
        } else {
            let holds = match code & 0xf0 {
                BPF_JEQ => word == instruction.k,
                BPF_JGE => word >= instruction.k,
                BPF_JSET => word & instruction.k != 0,
                other => panic!("no such test: {other:x}"),
            };
            at += usize::from(if holds { instruction.jt } else { instruction.jf });
        }
    }
}

fn check(call: libc::c_long, arguments: [u32; 3], refused: Option<i32>) {
    let expected = refused.map_or(SECCOMP_RET_ALLOW, |number| SECCOMP_RET_ERRNO | errno(number));
    assert_eq!(verdict(call, arguments), expected, "system call {call} {arguments:?}");
}

#[test]
fn every_listed_call_passes_and_every_other_does_not() {
    let rules = rules();
    for call in 0..libc::c_long::from(NEWEST_KNOWN) {
        match rules.iter().rev().find(|(listed, _)| *listed == call) {
            Some((libc::SYS_clone3, _)) => check(call, [0; 3], Some(libc::ENOSYS)),
            Some((_, Rule::Allow)) => check(call, [0; 3], None),
            Some((_, Rule::Errno(number))) => check(call, [0; 3], Some(*number)),
            Some(_) => {}
            None => check(call, [0; 3], Some(libc::EPERM)),
        }
    }
}

#[test]
fn the_dangerous_ones() {
    for call in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_ptrace,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_process_vm_readv,
        libc::SYS_perf_event_open,
        libc::SYS_open_by_handle_at,
        libc::SYS_userfaultfd,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_reboot,
        libc::SYS_quotactl,
        libc::SYS_acct,
        libc::SYS_syslog,
    ] {
        check(call, [0; 3], Some(libc::EPERM));
    }
    check(libc::SYS_clone, [libc::CLONE_VM as u32 | libc::SIGCHLD as u32, 0, 0], None);
    check(libc::SYS_clone, [libc::CLONE_NEWUSER as u32, 0, 0], Some(libc::EPERM));
    check(libc::SYS_clone3, [0; 3], Some(libc::ENOSYS));
    check(libc::SYS_socket, [libc::AF_INET as u32, 1, 0], None);
    check(libc::SYS_socket, [libc::AF_UNIX as u32, 1, 0], None);
    check(libc::SYS_socket, [libc::AF_NETLINK as u32, 3, libc::NETLINK_ROUTE as u32], None);
    check(libc::SYS_socket, [libc::AF_NETLINK as u32, 3, 12], Some(libc::EAFNOSUPPORT));
    check(libc::SYS_socket, [libc::AF_VSOCK as u32, 1, 0], Some(libc::EAFNOSUPPORT));
    check(libc::SYS_socket, [libc::AF_PACKET as u32, 3, 0], Some(libc::EAFNOSUPPORT));
    check(libc::SYS_ioctl, [0, libc::TIOCSTI as u32, 0], Some(libc::EPERM));
    check(libc::SYS_ioctl, [0, libc::FIONREAD as u32, 0], None);
    check(libc::SYS_personality, [u32::MAX, 0, 0], None);
    check(libc::SYS_personality, [0x0040000, 0, 0], Some(libc::EPERM));
    check(10_000, [0; 3], Some(libc::ENOSYS));
    check(0x4000_0000, [0; 3], Some(libc::ENOSYS));
}
