//! The system calls a function may make: an allow-list as a balanced BPF tree.
//!
//! Not on the list and known: `EPERM`. Newer than the list, or with a fallback every libc knows
//! (`clone3`, `io_uring_setup`): `ENOSYS`. A tree, because the kernel walks the program once for
//! each system call when the filter is installed: 0.06 ms against 0.5 ms for a list.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter,
};

/// Offset of `nr`, `arch` and the low words of the arguments in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;
const ARGUMENT_2: u32 = 32;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

/// The newest system call this list was made with (`file_setattr`, Linux 6.17).
const NEWEST_KNOWN: u32 = 469;

/// What is decided about one system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Allow,
    Errno(i32),
    /// `clone` without flags that make namespaces.
    Clone,
    /// `socket` of a family that can reach only the network or this environment.
    Socket,
    /// `ioctl` but for the ones that type into a terminal.
    Ioctl,
    /// `personality` that asks, or sets the usual one.
    Personality,
}

/// What every spawned process gets on top: no `clone3`, whose flags a filter can't see behind its
/// pointer; every libc falls back to `clone`. PID 1 itself forks into a cgroup by it.
pub fn no_clone3() -> Vec<sock_filter> {
    vec![
        statement(BPF_LD | BPF_W | BPF_ABS, NR),
        jump(BPF_JEQ, libc::SYS_clone3 as u32, 0, 1),
        ret(SECCOMP_RET_ERRNO | errno(libc::ENOSYS)),
        ret(SECCOMP_RET_ALLOW),
    ]
}

/// The filter of PID 1 and all it starts, for `SECCOMP_SET_MODE_FILTER`.
pub fn filter() -> Vec<sock_filter> {
    let mut program = vec![
        statement(BPF_LD | BPF_W | BPF_ABS, ARCH),
        jump(BPF_JEQ, AUDIT_ARCH, 1, 0),
        ret(SECCOMP_RET_ERRNO | errno(libc::EPERM)),
        statement(BPF_LD | BPF_W | BPF_ABS, NR),
    ];
    program.extend(tree(&ranges()));
    program
}

/// The rules as ranges of numbers without gaps, each beginning where it says.
fn ranges() -> Vec<(u32, Rule)> {
    let rules = rules();
    let mut ranges: Vec<(u32, Rule)> = Vec::new();
    for number in 0..=NEWEST_KNOWN {
        let listed = rules.iter().rev().find(|(call, _)| u32::try_from(*call) == Ok(number));
        let rule = listed.map_or(Rule::Errno(libc::EPERM), |(_, rule)| *rule);
        if ranges.last().is_none_or(|(_, last)| *last != rule) {
            ranges.push((number, rule));
        }
    }
    ranges.push((NEWEST_KNOWN + 1, Rule::Errno(libc::ENOSYS)));
    ranges
}

fn tree(ranges: &[(u32, Rule)]) -> Vec<sock_filter> {
    match ranges {
        [] => Vec::new(),
        [(_, rule)] => leaf(*rule),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let (left, right) = (tree(lower), tree(upper));
            let skip = u8::try_from(left.len()).expect("half of the tree is below 256 long");
            let mut program = vec![jump(BPF_JGE, upper[0].0, skip, 0)];
            program.extend(left);
            program.extend(right);
            program
        }
    }
}

fn leaf(rule: Rule) -> Vec<sock_filter> {
    let deny = |number| ret(SECCOMP_RET_ERRNO | errno(number));
    let allow = ret(SECCOMP_RET_ALLOW);
    match rule {
        Rule::Allow => vec![allow],
        Rule::Errno(number) => vec![deny(number)],
        Rule::Clone => vec![
            statement(BPF_LD | BPF_W | BPF_ABS, ARGUMENT_0),
            jump(BPF_JSET, namespace_flags(), 0, 1),
            deny(libc::EPERM),
            allow,
        ],
        Rule::Socket => vec![
            statement(BPF_LD | BPF_W | BPF_ABS, ARGUMENT_0),
            jump(BPF_JEQ, libc::AF_UNIX as u32, 6, 0),
            jump(BPF_JEQ, libc::AF_INET as u32, 5, 0),
            jump(BPF_JEQ, libc::AF_INET6 as u32, 4, 0),
            jump(BPF_JEQ, libc::AF_NETLINK as u32, 0, 2),
            // Of netlink only the routing table, which resolvers read.
            statement(BPF_LD | BPF_W | BPF_ABS, ARGUMENT_2),
            jump(BPF_JEQ, libc::NETLINK_ROUTE as u32, 1, 0),
            deny(libc::EAFNOSUPPORT),
            allow,
        ],
        Rule::Ioctl => vec![
            statement(BPF_LD | BPF_W | BPF_ABS, ARGUMENT_1),
            jump(BPF_JEQ, libc::TIOCSTI as u32, 1, 0),
            jump(BPF_JEQ, libc::TIOCLINUX as u32, 0, 1),
            deny(libc::EPERM),
            allow,
        ],
        Rule::Personality => vec![
            statement(BPF_LD | BPF_W | BPF_ABS, ARGUMENT_0),
            jump(BPF_JEQ, 0, 2, 0),
            jump(BPF_JEQ, u32::MAX, 1, 0),
            deny(libc::EPERM),
            allow,
        ],
    }
}

fn namespace_flags() -> u32 {
    (libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP) as u32
}

fn errno(number: i32) -> u32 {
    number as u32 & 0xffff
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k }
}

fn ret(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn rules() -> Vec<(libc::c_long, Rule)> {
    use Rule::{Allow, Errno};
    let mut rules: Vec<(libc::c_long, Rule)> = ALLOWED.iter().map(|call| (*call, Allow)).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(ALLOWED_X86_64.iter().map(|call| (*call, Allow)));
    rules.extend([
        (libc::SYS_clone, Rule::Clone),
        (libc::SYS_socket, Rule::Socket),
        (libc::SYS_ioctl, Rule::Ioctl),
        (libc::SYS_personality, Rule::Personality),
        // Refused by `no_clone3`.
        (libc::SYS_clone3, Allow),
        (libc::SYS_io_uring_setup, Errno(libc::ENOSYS)),
        (libc::SYS_io_uring_enter, Errno(libc::ENOSYS)),
        (libc::SYS_io_uring_register, Errno(libc::ENOSYS)),
    ]);
    rules
}

#[rustfmt::skip]
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_close, libc::SYS_fstat, libc::SYS_lseek,
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_brk, libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_readv, libc::SYS_writev, libc::SYS_sched_yield, libc::SYS_mremap, libc::SYS_msync,
    libc::SYS_mincore, libc::SYS_madvise, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl,
    libc::SYS_dup, libc::SYS_nanosleep, libc::SYS_getitimer, libc::SYS_setitimer, libc::SYS_getpid,
    libc::SYS_sendfile, libc::SYS_connect, libc::SYS_accept, libc::SYS_sendto, libc::SYS_recvfrom,
    libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_shutdown, libc::SYS_bind, libc::SYS_listen,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_socketpair, libc::SYS_setsockopt,
    libc::SYS_getsockopt, libc::SYS_execve, libc::SYS_exit, libc::SYS_wait4, libc::SYS_kill,
    libc::SYS_uname, libc::SYS_semget, libc::SYS_semop, libc::SYS_semctl, libc::SYS_shmdt,
    libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl, libc::SYS_fcntl,
    libc::SYS_flock, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_truncate, libc::SYS_ftruncate,
    libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir, libc::SYS_fchmod, libc::SYS_fchown,
    libc::SYS_umask, libc::SYS_gettimeofday, libc::SYS_getrlimit, libc::SYS_getrusage,
    libc::SYS_sysinfo, libc::SYS_times, libc::SYS_getuid, libc::SYS_getgid,
    libc::SYS_setuid, libc::SYS_setgid, libc::SYS_geteuid, libc::SYS_getegid, libc::SYS_setpgid,
    libc::SYS_getppid, libc::SYS_setsid, libc::SYS_setreuid, libc::SYS_setregid,
    libc::SYS_getgroups, libc::SYS_setgroups, libc::SYS_setresuid, libc::SYS_getresuid,
    libc::SYS_setresgid, libc::SYS_getresgid, libc::SYS_getpgid, libc::SYS_setfsuid,
    libc::SYS_setfsgid, libc::SYS_getsid, libc::SYS_capget, libc::SYS_capset,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_sigsuspend, libc::SYS_sigaltstack, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_sched_setparam,
    libc::SYS_sched_getparam, libc::SYS_sched_setscheduler, libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_rr_get_interval, libc::SYS_mlock, libc::SYS_munlock, libc::SYS_mlockall,
    libc::SYS_munlockall, libc::SYS_prctl, libc::SYS_setrlimit, libc::SYS_sync, libc::SYS_gettid,
    libc::SYS_readahead, libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr,
    libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, libc::SYS_listxattr,
    libc::SYS_llistxattr, libc::SYS_flistxattr, libc::SYS_removexattr, libc::SYS_lremovexattr,
    libc::SYS_fremovexattr, libc::SYS_tkill, libc::SYS_futex, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getaffinity, libc::SYS_io_setup, libc::SYS_io_destroy, libc::SYS_io_getevents,
    libc::SYS_io_submit, libc::SYS_io_cancel, libc::SYS_getdents64, libc::SYS_set_tid_address,
    libc::SYS_restart_syscall, libc::SYS_semtimedop, libc::SYS_fadvise64, libc::SYS_timer_create,
    libc::SYS_timer_settime, libc::SYS_timer_gettime, libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep, libc::SYS_exit_group, libc::SYS_epoll_ctl, libc::SYS_tgkill,
    libc::SYS_mq_open, libc::SYS_mq_unlink, libc::SYS_mq_timedsend, libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify, libc::SYS_mq_getsetattr, libc::SYS_waitid, libc::SYS_ioprio_set,
    libc::SYS_ioprio_get, libc::SYS_inotify_add_watch, libc::SYS_inotify_rm_watch,
    libc::SYS_openat, libc::SYS_mkdirat, libc::SYS_fchownat, libc::SYS_newfstatat,
    libc::SYS_unlinkat, libc::SYS_linkat, libc::SYS_symlinkat, libc::SYS_readlinkat,
    libc::SYS_fchmodat, libc::SYS_faccessat, libc::SYS_pselect6, libc::SYS_ppoll,
    libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_splice, libc::SYS_tee,
    libc::SYS_sync_file_range, libc::SYS_vmsplice, libc::SYS_utimensat, libc::SYS_epoll_pwait,
    libc::SYS_timerfd_create, libc::SYS_fallocate, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime, libc::SYS_accept4, libc::SYS_signalfd4, libc::SYS_eventfd2,
    libc::SYS_epoll_create1, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_inotify_init1,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_rt_tgsigqueueinfo, libc::SYS_recvmmsg,
    libc::SYS_prlimit64, libc::SYS_syncfs, libc::SYS_sendmmsg, libc::SYS_getcpu,
    libc::SYS_sched_setattr, libc::SYS_sched_getattr, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_seccomp, libc::SYS_getrandom, libc::SYS_memfd_create, libc::SYS_execveat,
    libc::SYS_membarrier, libc::SYS_mlock2, libc::SYS_copy_file_range, libc::SYS_preadv2,
    libc::SYS_pwritev2, libc::SYS_pkey_mprotect, libc::SYS_pkey_alloc, libc::SYS_pkey_free,
    libc::SYS_statx, libc::SYS_rseq, libc::SYS_pidfd_send_signal, libc::SYS_pidfd_open,
    libc::SYS_close_range, libc::SYS_openat2, libc::SYS_faccessat2, libc::SYS_epoll_pwait2,
    libc::SYS_futex_waitv, libc::SYS_landlock_create_ruleset, libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self, libc::SYS_fchmodat2, 454, 455, 456, // futex_wake, _wait, _requeue
    453, 462, // map_shadow_stack, mseal
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_X86_64: &[libc::c_long] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_poll, libc::SYS_access,
    libc::SYS_pipe, libc::SYS_select, libc::SYS_dup2, libc::SYS_pause, libc::SYS_alarm,
    libc::SYS_fork, libc::SYS_vfork, libc::SYS_getdents, libc::SYS_rename, libc::SYS_mkdir,
    libc::SYS_rmdir, libc::SYS_creat, libc::SYS_link, libc::SYS_unlink, libc::SYS_symlink,
    libc::SYS_readlink, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_getpgrp,
    libc::SYS_utime, libc::SYS_mknod, libc::SYS_arch_prctl, libc::SYS_time,
    libc::SYS_set_thread_area, libc::SYS_get_thread_area, libc::SYS_epoll_create,
    libc::SYS_epoll_wait, libc::SYS_utimes, libc::SYS_inotify_init, libc::SYS_futimesat,
    libc::SYS_signalfd, libc::SYS_eventfd, libc::SYS_mknodat,
];

#[cfg(test)]
mod tests;
