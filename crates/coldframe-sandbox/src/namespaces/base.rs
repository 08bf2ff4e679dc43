//! The root every sandbox sees: the host's programs and libraries, read-only, and nothing else of
//! the host. Built once, in the nursery's mount namespace; each sandbox's namespace is a copy.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use coldframe_guest::init::{Step, StepFailed};
use rustix::fs::CWD;
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount,
    mount_change, move_mount, open_tree,
};

use crate::sys;

/// Mount points of [`crate::Mount`], and the directories that functions expect.
const DIRECTORIES: [&str; 17] = [
    "dev",
    "dev/shm",
    "etc",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
    "var/lang",
    "var/runtime",
    "var/task",
];

/// Taken from the host as they are.
const SHARED: [&str; 9] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "etc/ssl", "etc/alternatives", "etc/pki"];

/// Small files taken from the host at the start.
const COPIED: [&str; 5] =
    ["etc/ld.so.cache", "etc/mime.types", "etc/services", "etc/protocols", "etc/os-release"];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
    sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n\
    nobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsbx_user1051:x:990:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Builds the root at `base`, an empty directory.
pub(super) fn build(base: &Path) -> Result<(), StepFailed> {
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(c"/", slave).step("separate the mounts")?;
    let size = Some(c"mode=0755,size=8m");
    mount(c"tmpfs", base, c"tmpfs", MountFlags::NOSUID, size).step("mount the root")?;
    for directory in DIRECTORIES {
        fs::create_dir(base.join(directory)).step(&format!("make /{directory}"))?;
    }
    for shared in SHARED {
        share(base, shared).step(&format!("share /{shared}"))?;
    }
    for device in DEVICES {
        let target = base.join("dev").join(device);
        fs::write(&target, "").step("make a device's place")?;
        bind(&Path::new("/dev").join(device), &target).step(&format!("bind /dev/{device}"))?;
    }
    let links = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0")];
    let links =
        links.into_iter().chain([("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2")]);
    for (name, target) in links {
        symlink(target, base.join("dev").join(name)).step("link the standard streams")?;
    }
    for (file, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/nsswitch.conf", NSSWITCH),
        ("etc/resolv.conf", &resolvers()),
    ] {
        fs::write(base.join(file), text).step(&format!("write /{file}"))?;
    }
    for file in COPIED {
        // Not every host has all of them.
        let _ = fs::copy(Path::new("/").join(file), base.join(file));
    }
    read_only(base).step("make the root read-only")
}

/// A link stays a link (`/bin` is one on merged-usr hosts), a directory is bound.
fn share(base: &Path, name: &str) -> io::Result<()> {
    let (source, target) = (Path::new("/").join(name), base.join(name));
    let Ok(metadata) = fs::symlink_metadata(&source) else { return Ok(()) };
    if metadata.is_symlink() {
        return symlink(fs::read_link(&source)?, target);
    }
    fs::create_dir_all(&target)?;
    bind(&source, &target)
}

/// Mounts the root over itself: a copy in a user namespace is locked in its place, this one isn't.
pub(super) fn unlock(base: &Path) -> io::Result<()> {
    bind(base, base)
}

/// With all that is mounted below: in a new user namespace the kernel refuses less.
fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags)?;
    move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(())
}

fn read_only(base: &Path) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, base, flags)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    sys::set_mount_attributes(&tree, attributes.bits().into(), true)
}

/// A detached, read-only copy of the tree at `path`, ready to be moved into a sandbox.
pub(super) fn detached(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    sys::set_mount_attributes(&tree, attributes.bits().into(), true)?;
    Ok(tree)
}

/// The host's resolvers as the sandbox can reach them: one on loopback isn't, so the list behind
/// systemd-resolved is taken instead.
fn resolvers() -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let local = host.lines().any(|line| line.trim_start().starts_with("nameserver 127."));
    if local && let Ok(text) = fs::read_to_string("/run/systemd/resolve/resolv.conf") {
        return text;
    }
    host
}
