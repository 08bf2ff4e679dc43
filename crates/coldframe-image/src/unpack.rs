//! One zip into one directory, safely.
//!
//! Files first, links last: nothing is ever written through a link of the archive. A link may point
//! within the tree, or to a place that exists only inside an environment.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use coldframe_core::limits::UNZIPPED_BYTES_MAX;
use coldframe_core::packages::PackageError;
use zip::ZipArchive;

/// Entries of one package. AWS names no limit; the kernel's for a tree of this size is far off.
const ENTRIES_MAX: usize = 400_000;

/// A link's target, bytes: `PATH_MAX`.
const TARGET_BYTES_MAX: u64 = 4096;

/// Where absolute links may point: what every environment has.
const INSIDE: [&str; 7] =
    ["/opt", "/tmp", "/usr", "/var/lang", "/var/runtime", "/var/task", "/dev/null"];

/// Checks without writing; gives the size of the content, bytes.
pub(crate) fn examine(zip: &[u8]) -> Result<u64, PackageError> {
    walk(zip, &mut |_, _, entry| match entry {
        Content::File(reader, left) => copy(reader, &mut io::sink(), left),
        Content::Directory | Content::Link(_) => Ok(0),
    })
}

/// Unpacks into `target`, which doesn't exist yet; gives the size of the content, bytes.
pub(crate) fn unpack(zip: &[u8], target: &Path) -> Result<u64, PackageError> {
    fs::create_dir(target).map_err(PackageError::Io)?;
    let mut directories: Vec<(PathBuf, u32)> = Vec::new();
    let mut links: Vec<(PathBuf, String)> = Vec::new();
    let size = walk(zip, &mut |path, mode, entry| {
        let place = target.join(path);
        match entry {
            Content::Directory => {
                fs::create_dir_all(&place).map_err(|error| conflict(path, error))?;
                directories.push((place, mode));
                Ok(0)
            }
            Content::Link(to) => {
                links.push((place, to.to_owned()));
                Ok(0)
            }
            Content::File(reader, left) => {
                if let Some(parent) = place.parent() {
                    fs::create_dir_all(parent).map_err(|error| conflict(path, error))?;
                }
                // A name that comes twice: the last one counts, as with `unzip -o`.
                if place.is_file() {
                    fs::remove_file(&place).map_err(PackageError::Io)?;
                }
                let mut file = File::create_new(&place).map_err(|error| conflict(path, error))?;
                let length = copy(reader, &mut file, left)?;
                file.set_permissions(Permissions::from_mode(mode)).map_err(PackageError::Io)?;
                Ok(length)
            }
        }
    })?;
    for (place, to) in links {
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(|error| conflict(&place, error))?;
        }
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => return Err(twice(&place)),
            Ok(_) => fs::remove_file(&place).map_err(PackageError::Io)?,
            Err(_) => {}
        }
        symlink(to, &place).map_err(PackageError::Io)?;
    }
    // Last, and the deepest first: a directory that may not be written to could not be filled.
    for (place, mode) in directories.into_iter().rev() {
        fs::set_permissions(place, Permissions::from_mode(mode)).map_err(PackageError::Io)?;
    }
    fs::set_permissions(target, Permissions::from_mode(0o755)).map_err(PackageError::Io)?;
    Ok(size)
}

enum Content<'a> {
    Directory,
    File(&'a mut dyn Read, u64),
    Link(&'a str),
}

type Visit<'a> = dyn FnMut(&Path, u32, Content<'_>) -> Result<u64, PackageError> + 'a;

/// Visits every entry with its checked path; `visit` gives the bytes it took.
fn walk(zip: &[u8], visit: &mut Visit<'_>) -> Result<u64, PackageError> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|_| PackageError::NoZip)?;
    if archive.is_empty() {
        return Err(PackageError::Empty);
    }
    if archive.len() > ENTRIES_MAX {
        return Err(PackageError::Hostile(format!("more than {ENTRIES_MAX} entries")));
    }
    let mut total = 0;
    let mut links = HashSet::new();
    let mut paths = HashSet::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|_| PackageError::NoZip)?;
        let name = entry.name().map_err(|_| PackageError::NoZip)?.into_owned();
        let Some(path) = relative(&name)? else { continue };
        // Archives made without Unix modes, on Windows say, have none.
        let mode = entry.unix_mode().filter(|mode| *mode != 0);
        let permissions = |default: u32| mode.map_or(default, |mode| mode & 0o777);
        let left = UNZIPPED_BYTES_MAX.saturating_sub(total);
        let kind = mode.map_or(0, |mode| mode & 0o170_000);
        if entry.is_dir() {
            paths.insert(path.clone());
            visit(&path, permissions(0o755), Content::Directory)?;
        } else if kind == 0o120_000 {
            let mut target = String::new();
            entry
                .by_ref()
                .take(TARGET_BYTES_MAX)
                .read_to_string(&mut target)
                .map_err(|_| PackageError::NoZip)?;
            check_link(&path, &target)?;
            visit(&path, 0o777, Content::Link(&target))?;
            links.insert(path);
        } else if kind == 0 || kind == 0o100_000 {
            paths.insert(path.clone());
            total += visit(&path, permissions(0o644), Content::File(&mut entry, left))?;
        } else {
            let name = path.display();
            return Err(PackageError::Hostile(format!("{name} is no file, directory or link")));
        }
    }
    // A link and what is said to lie below it can't both be: nothing, no other link either, is ever
    // made through a link of the archive.
    let behind = |path: &&PathBuf| path.ancestors().skip(1).any(|above| links.contains(above));
    if let Some(path) = links.iter().chain(&paths).find(behind) {
        return Err(PackageError::Hostile(format!("{} lies behind a link", path.display())));
    }
    Ok(total)
}

/// The path of an entry, if it stays in the tree. `None` for the root itself.
fn relative(name: &str) -> Result<Option<PathBuf>, PackageError> {
    let outside = || PackageError::Hostile(format!("{name:?} is outside of the package"));
    if name.contains('\0') || name.len() > 4096 {
        return Err(outside());
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(outside());
            }
        }
    }
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn check_link(path: &Path, target: &str) -> Result<(), PackageError> {
    let outside =
        || PackageError::Hostile(format!("the link {} points out of the package", path.display()));
    if target.is_empty() || target.contains('\0') {
        return Err(outside());
    }
    let to = Path::new(target);
    if to.is_absolute() {
        let inside = INSIDE.iter().any(|place| to.starts_with(place));
        let plain = to.components().all(|part| part != Component::ParentDir);
        return if inside && plain { Ok(()) } else { Err(outside()) };
    }
    let mut depth = path.components().count() - 1;
    for component in to.components() {
        match component {
            Component::ParentDir => depth = depth.checked_sub(1).ok_or_else(outside)?,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    Ok(())
}

/// What is written counts, not what the archive says of itself.
fn copy(from: &mut dyn Read, to: &mut dyn Write, left: u64) -> Result<u64, PackageError> {
    let mut counted = from.take(left + 1);
    let (mut buffer, mut length) = (vec![0; 64 * 1024], 0);
    loop {
        // What fails here is the archive: a wrong checksum, a cut or unknown stream.
        let read = counted.read(&mut buffer).map_err(|_| PackageError::NoZip)?;
        if read == 0 {
            return Ok(length);
        }
        length += read as u64;
        if length > left {
            return Err(PackageError::UnzippedTooLarge);
        }
        to.write_all(&buffer[..read]).map_err(PackageError::Io)?;
    }
}

fn twice(path: &Path) -> PackageError {
    PackageError::Hostile(format!("{} is in the package as two things", path.display()))
}

fn conflict(path: &Path, error: io::Error) -> PackageError {
    match error.kind() {
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => twice(path),
        _ => PackageError::Io(error),
    }
}
