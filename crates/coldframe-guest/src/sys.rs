//! The system calls that no safe wrapper covers, one a function.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, pid_t, sock_filter, sock_fprog};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Forks. `None` in the child.
///
/// # Errors
/// As fork(2). Also if this process has other threads: a fork would copy their locks but not them.
pub fn fork() -> io::Result<Option<u32>> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1);
    if threads != 1 {
        return Err(io::Error::other("a process with threads must not fork"));
    }
    fork_single_threaded()
}

/// Forks; the caller knows that it is the only thread, as PID 1 does, which never starts one.
pub(crate) fn fork_single_threaded() -> io::Result<Option<u32>> {
    // SAFETY: fork has no memory preconditions; both callers above make sure that this is the only
    // thread, so the child may allocate and run ordinary code.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid as u32))
}

/// The same into a version 2 cgroup. `None` in the child.
pub(crate) fn fork_into(cgroup: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    // SAFETY: clone_args is plain data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // `linux/sched.h`: CLONE_INTO_CGROUP; libc's constant overflows its type.
    args.flags = 0x2_0000_0000;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: `args` is a valid clone_args of the size given. Without CLONE_VM the child has a copy
    // of everything, and like its parent, PID 1, it is single-threaded.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((pid != 0).then_some(pid as u32))
}

/// Gives a descriptor a number that the program about to be executed is told.
pub(crate) fn keep_descriptor(descriptor: OwnedFd, number: u32) -> io::Result<()> {
    let number =
        c_int::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: dup3 takes no pointers. Called between fork and exec, where nothing but the report
    // pipe is still used: what had this number before is a copy that nobody misses.
    check(unsafe { libc::dup3(descriptor.as_raw_fd(), number, 0) }).map(drop)
}

/// Signals every process this one may signal, itself and PID 1 of the namespace excepted.
pub fn kill_everyone(signal: c_int) -> io::Result<()> {
    // SAFETY: kill takes no pointers. Only called as PID 1 of a namespace: it reaches nobody outside.
    check(unsafe { libc::kill(-1, signal) }).map(drop)
}

/// Signals a process group.
pub fn kill_group(group: u32, signal: c_int) -> io::Result<()> {
    let group = pid_t::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    if group <= 1 {
        // 0 and 1 mean other things than a group.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes no pointers.
    check(unsafe { libc::kill(-group, signal) }).map(drop)
}

/// Blocks `SIGCHLD` and makes it readable.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: sigset_t is plain data, and sigemptyset initialises all of it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes.
    check(unsafe { libc::sigemptyset(&mut set) })?;
    // SAFETY: `set` is an initialised set.
    check(unsafe { libc::sigaddset(&mut set, libc::SIGCHLD) })?;
    // SAFETY: `set` is valid for reads; the old mask isn't asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) })?;
    // SAFETY: `set` is valid for reads; -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
    // SAFETY: the kernel just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets `SIGCHLD` and `SIGPIPE` back to what an ordinary process has.
pub fn default_signals() {
    for signal in [libc::SIGCHLD, libc::SIGPIPE, libc::SIGTERM, libc::SIGINT] {
        // SAFETY: SIG_DFL is a valid disposition for these signals.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Children of this process vanish without a wait.
pub fn ignore_children() {
    // SAFETY: SIG_IGN is a valid disposition for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Becomes another program, with no signal blocked. Returns only if that failed.
///
/// Not `std`'s, which hands a file that is no program to a shell.
pub(crate) fn execve(file: &CStr, arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    // SAFETY: sigset_t is plain data, and sigemptyset initialises all of it.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `none` is valid for writes, and then for reads; the old mask isn't asked for.
    unsafe {
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
    // SAFETY: both lists end with a null pointer, and all they point to outlives the call.
    unsafe { libc::execve(file.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    io::Error::last_os_error()
}

/// Installs a filter for this process and all it starts. `no_new_privs` must be set.
pub fn install_filter(program: &[sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `length` instructions that outlive the call; the kernel copies
    // and only reads them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the process without running anything: for children between fork and exec.
pub fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit has no preconditions and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Replaces the command line that `/proc` shows of this process.
///
/// # Errors
/// If `/proc` doesn't tell where it lies.
pub fn rename_command_line(name: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // Fields 48 and 49 of proc(5), arg_start and arg_end; the first behind the name is 3.
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<usize>().ok());
    let (Some(start), Some(end)) = (number(48), number(49)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if start == 0 || end <= start {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel says that the arguments' bytes lie there, on the first thread's stack, which
    // is mapped and writable for the life of the process. Rust hands out only copies of them; the last
    // byte stays NUL, so that whoever reads them later finds an end.
    let area = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) };
    area.fill(0);
    let length = name.len().min(area.len() - 1);
    area[..length].copy_from_slice(&name.as_bytes()[..length]);
    Ok(())
}
