//! One tree over another, as unpacking its archive over it would: what a later layer brings stands in
//! the place of what was there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Lays the content of `from` over that of `to`. Files are shared, not copied: both trees are only
/// ever read.
pub(crate) fn over(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, place) = (entry.path(), to.join(entry.file_name()));
        // Never what a link points to: nothing is made through a link of a layer.
        let kind = entry.file_type()?;
        let there = fs::symlink_metadata(&place).ok();
        if kind.is_dir() {
            if there.is_some_and(|there| !there.is_dir()) {
                fs::remove_file(&place)?;
            }
            match fs::create_dir(&place) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            // It may be one that may not be written to.
            fs::set_permissions(&place, Permissions::from_mode(0o755))?;
            over(&source, &place)?;
            fs::set_permissions(&place, entry.metadata()?.permissions())?;
            continue;
        }
        match there {
            Some(there) if there.is_dir() => crate::remove(&place),
            Some(_) => fs::remove_file(&place)?,
            None => {}
        }
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &place)?;
        } else if fs::hard_link(&source, &place).is_err() {
            // A file system without links, or a file with too many.
            fs::copy(&source, &place)?;
        }
    }
    Ok(())
}
