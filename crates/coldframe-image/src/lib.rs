//! Packages unpacked into directories, kept by the SHA-256 of their zip.
//!
//! ```text
//! packages/<64 hex>/code.zip     as it was sent
//! packages/<64 hex>/tree/        its content, what functions see at /var/task
//! packages/merged-<64 hex>/tree/ several over each other, what functions see at /opt
//! ```
//! A package appears whole or not at all: it is made beside its place and renamed into it.
//!
//! **Invariant:** doesn't know HTTP, nor who asks. Nothing in an archive can write outside the
//! directory it is unpacked into.

mod merge;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use coldframe_core::packages::{Package, PackageError, Packages};
use sha2::{Digest, Sha256};

/// The packages of one data directory.
#[derive(Debug)]
pub struct PackageStore {
    directory: PathBuf,
    count: AtomicU64,
    /// Out of the way, and still there.
    discarded: Mutex<Vec<PathBuf>>,
}

impl PackageStore {
    /// Opens, and clears away what an interrupted `admit` or `discard` left.
    ///
    /// # Errors
    /// If the directory can't be made.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                remove(&entry.path());
            }
        }
        Ok(Self { directory, count: AtomicU64::new(0), discarded: Mutex::default() })
    }

    fn place(&self, sha256: &[u8; 32]) -> PathBuf {
        self.directory.join(hex(sha256))
    }

    /// Where something is made before it gets its name.
    fn new_place(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("new-{}-{number}", std::process::id()))
    }

    /// Where the result of several packages lies; one is its own result.
    fn merged_place(&self, packages: &[[u8; 32]]) -> Option<PathBuf> {
        let name = hex(&Sha256::digest(packages.concat()).into());
        (packages.len() > 1).then(|| self.directory.join(format!("merged-{name}")))
    }
}

/// Sixty-four hex digits.
pub fn hex(sha256: &[u8; 32]) -> String {
    sha256.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Directories of a package may have any mode: they are opened before they are emptied.
fn remove(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let walk = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in walk(path).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    let _ = fs::remove_dir_all(path);
}

impl Packages for PackageStore {
    fn admit(&self, zip: &[u8]) -> Result<Package, PackageError> {
        let sha256: [u8; 32] = Sha256::digest(zip).into();
        let place = self.place(&sha256);
        if place.exists() {
            let unzipped_bytes = unpack::examine(zip)?;
            return Ok(Package { sha256, zipped_bytes: zip.len() as u64, unzipped_bytes });
        }
        let new = self.new_place();
        let make = || -> Result<u64, PackageError> {
            fs::create_dir(&new).map_err(PackageError::Io)?;
            let unzipped_bytes = unpack::unpack(zip, &new.join("tree"))?;
            let file = new.join("code.zip");
            fs::write(&file, zip).map_err(PackageError::Io)?;
            fs::File::open(&file).and_then(|file| file.sync_all()).map_err(PackageError::Io)?;
            match fs::rename(&new, &place) {
                // Another request was faster with the same bytes.
                Err(_) if place.exists() => remove(&new),
                result => result.map_err(PackageError::Io)?,
            }
            Ok(unzipped_bytes)
        };
        match make() {
            Ok(unzipped_bytes) => {
                Ok(Package { sha256, zipped_bytes: zip.len() as u64, unzipped_bytes })
            }
            Err(error) => {
                remove(&new);
                Err(error)
            }
        }
    }

    fn examine(&self, zip: &[u8]) -> Result<Package, PackageError> {
        let unzipped_bytes = unpack::examine(zip)?;
        let sha256 = Sha256::digest(zip).into();
        Ok(Package { sha256, zipped_bytes: zip.len() as u64, unzipped_bytes })
    }

    fn zip(&self, sha256: &[u8; 32]) -> Result<Vec<u8>, PackageError> {
        fs::read(self.place(sha256).join("code.zip")).map_err(PackageError::Io)
    }

    fn tree(&self, sha256: &[u8; 32]) -> PathBuf {
        self.place(sha256).join("tree")
    }

    fn merge(&self, packages: &[[u8; 32]]) -> Result<(), PackageError> {
        let Some(place) = self.merged_place(packages).filter(|place| !place.exists()) else {
            return Ok(());
        };
        let new = self.new_place();
        let make = || -> io::Result<()> {
            fs::create_dir(&new)?;
            let tree = new.join("tree");
            fs::create_dir(&tree)?;
            for package in packages {
                merge::over(&self.tree(package), &tree)?;
            }
            match fs::rename(&new, &place) {
                // Another request was faster with the same layers.
                Err(_) if place.exists() => remove(&new),
                result => result?,
            }
            Ok(())
        };
        make().map_err(|error| {
            remove(&new);
            PackageError::Io(error)
        })
    }

    fn merged(&self, packages: &[[u8; 32]]) -> PathBuf {
        match (self.merged_place(packages), packages) {
            (Some(place), _) => place.join("tree"),
            (None, packages) => self.tree(packages.first().unwrap_or(&[0; 32])),
        }
    }

    fn trees(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_hash = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        names
            .filter(|name| is_hash(name.strip_prefix("merged-").unwrap_or(name)))
            .map(|name| self.directory.join(name).join("tree"))
            .collect()
    }

    fn discard(&self, tree: &Path) -> Result<(), PackageError> {
        let Some(place) = tree.parent().filter(|place| place.parent() == Some(&*self.directory))
        else {
            return Ok(());
        };
        let aside = self.new_place();
        match fs::rename(place, &aside) {
            Ok(()) => {
                let mut discarded = self.discarded.lock().unwrap_or_else(PoisonError::into_inner);
                discarded.push(aside);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(PackageError::Io(error)),
        }
    }

    fn clear(&self) {
        let discarded = {
            let mut discarded = self.discarded.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *discarded)
        };
        for aside in discarded {
            remove(&aside);
        }
    }
}

#[cfg(test)]
mod tests;
