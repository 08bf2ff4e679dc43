//! `/tmp` with a hard quota that says `ENOSPC` and isn't charged to the function's memory: ext4 in
//! a sparse file on a loop device, copied from a template made once for each size.
//!
//! The file is unlinked and the mount detached before anything can go wrong, so that even a killed
//! service leaves nothing behind. Where loop devices can't be had, `/tmp` is a tmpfs of that size.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{AtFlags, Mode, SeekFrom};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

use crate::{Error, step, sys};

const MIB: u64 = 1024 * 1024;

/// Makes file systems for `/tmp`, some ahead of time.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: PathBuf,
    /// Held while a template is made.
    templates: Mutex<()>,
    loops: bool,
}

impl Scratch {
    /// Templates and, for a moment, new files lie in `directory`.
    pub(super) fn new(directory: PathBuf, loops: bool) -> Self {
        Self {
            directory,
            templates: Mutex::default(),
            loops: loops && Path::new("/dev/loop-control").exists() && mkfs().is_some(),
        }
    }

    /// Whether quotas are real and apart from memory.
    pub(super) fn on_disk(&self) -> bool {
        self.loops
    }

    /// A mounted, detached, empty file system of `mb` MB, mode 1777. Blocks.
    pub(super) fn take(&self, mb: u32) -> Result<OwnedFd, Error> {
        if !self.loops {
            return in_memory(mb);
        }
        let template = self.template(mb)?;
        let file = step(unlinked_copy(&template, &self.directory), "copy the file system of /tmp")?;
        let mount = step(mount_file(&file), "mount the file system of /tmp")?;
        step(
            rustix::fs::chmodat(&mount, c".", Mode::from_raw_mode(0o1777), AtFlags::empty()),
            "open /tmp to everyone",
        )?;
        let _ = rustix::fs::unlinkat(&mount, c"lost+found", AtFlags::REMOVEDIR);
        Ok(mount)
    }

    fn template(&self, mb: u32) -> Result<PathBuf, Error> {
        // The number counts up when the file system is made in another way.
        let path = self.directory.join(format!("tmp-{mb}.1.ext4"));
        let _one_at_a_time = self.templates.lock();
        if path.exists() {
            return Ok(path);
        }
        let new = self.directory.join(format!("tmp-{mb}.{}", std::process::id()));
        let make = || -> io::Result<()> {
            let file = File::create(&new)?;
            file.set_len(size_of_file(mb))?;
            let mkfs = mkfs().ok_or(io::ErrorKind::NotFound)?;
            let made = std::process::Command::new(mkfs)
                .args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^has_journal,^resize_inode"])
                .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", "-N"])
                .arg(inodes(mb).to_string())
                .arg(&new)
                .output()?;
            if !made.status.success() {
                let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
                return Err(io::Error::other(format!("mkfs.ext4: {said}")));
            }
            // Whole on the disk before it has its name: it is used for years.
            file.sync_all()?;
            std::fs::rename(&new, &path)
        };
        let made = make();
        if made.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        step(made, "make the template of /tmp")?;
        Ok(path)
    }
}

/// One inode for 16 KiB, as mkfs does by itself.
fn inodes(mb: u32) -> u64 {
    u64::from(mb) * 64
}

/// The size that leaves `mb` MB for files: 256 bytes an inode, two bitmaps for 128 MB, and a bit.
fn size_of_file(mb: u32) -> u64 {
    let metadata = inodes(mb) * 256 + u64::from(mb).div_ceil(128) * 8192 + MIB;
    (u64::from(mb) * MIB + metadata).next_multiple_of(MIB)
}

fn mkfs() -> Option<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .map(|directory| Path::new(directory).join("mkfs.ext4"))
        .find(|path| path.exists())
}

fn in_memory(mb: u32) -> Result<OwnedFd, Error> {
    let make = || -> io::Result<OwnedFd> {
        let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let size = CString::new(format!("{mb}m")).expect("a number holds no NUL");
        fsconfig_set_string(context.as_fd(), c"size", size.as_c_str())?;
        fsconfig_set_string(context.as_fd(), c"mode", c"1777")?;
        fsconfig_create(context.as_fd())?;
        Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, no_more())?)
    };
    step(make(), "mount a tmpfs for /tmp")
}

fn no_more() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

/// Copies only what isn't a hole; 1 ms for the metadata of an empty ext4.
fn unlinked_copy(template: &Path, directory: &Path) -> io::Result<File> {
    let source = File::open(template)?;
    let length = source.metadata()?.len();
    let target: File = rustix::fs::open(
        directory,
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )?
    .into();
    target.set_len(length)?;
    let (mut at, mut buffer) = (0, vec![0; 64 * 1024]);
    while let Ok(start) = rustix::fs::seek(&source, SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&source, SeekFrom::Hole(start))?;
        at = start;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            let read = source.read_at(&mut buffer[..wanted], at)?;
            if read == 0 {
                return Ok(target);
            }
            target.write_all_at(&buffer[..read], at)?;
            at += read as u64;
        }
    }
    Ok(target)
}

fn mount_file(file: &File) -> io::Result<OwnedFd> {
    let control = File::open("/dev/loop-control")?;
    // Between the question and the answer somebody else may take the device.
    for _ in 0..64 {
        let number = sys::free_loop_device(control.as_fd())?;
        let path = format!("/dev/loop{number}");
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        match sys::configure_loop(device.as_fd(), file.as_fd()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => continue,
            Err(error) => return Err(error),
        }
        let context = fsopen(c"ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let source = CString::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        fsconfig_set_string(context.as_fd(), c"source", source.as_c_str())?;
        fsconfig_create(context.as_fd())?;
        let attributes = no_more() | MountAttrFlags::MOUNT_ATTR_NOATIME;
        return Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?);
    }
    Err(io::Error::other("no loop device stays free"))
}
