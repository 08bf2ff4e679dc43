//! Packages: what the service API asks of the room that unpacks them.

use std::path::{Path, PathBuf};

/// A package taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// SHA-256 of the zip, 32 bytes.
    pub sha256: [u8; 32],
    /// Size of the zip, bytes.
    pub zipped_bytes: u64,
    /// Size of its content, bytes.
    pub unzipped_bytes: u64,
}

/// Why a package was refused. The messages are AWS's where AWS has one (service-api.md §2.4).
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    NoZip,
    #[error("Uploaded file must be a non-empty zip")]
    Empty,
    #[error("Zipped size must be smaller than {} bytes", crate::limits::ZIPPED_BYTES_MAX)]
    ZippedTooLarge,
    #[error("Unzipped size must be smaller than {} bytes", crate::limits::UNZIPPED_BYTES_MAX)]
    UnzippedTooLarge,
    /// An entry that would leave the tree, or is no file, directory or link.
    #[error("Could not unzip uploaded file: {0}")]
    Hostile(String),
    /// The disk failed.
    #[error("cannot keep the package")]
    Io(#[source] std::io::Error),
}

/// Takes packages in and knows where they lie. Calls block; call them off the event loop.
pub trait Packages: Send + Sync {
    /// Checks, keeps and unpacks a zip. After `Ok` both the zip and its tree survive a crash.
    fn admit(&self, zip: &[u8]) -> Result<Package, PackageError>;
    /// The same checks, nothing kept.
    fn examine(&self, zip: &[u8]) -> Result<Package, PackageError>;
    /// The zip as it was sent.
    fn zip(&self, sha256: &[u8; 32]) -> Result<Vec<u8>, PackageError>;
    /// The directory with its content, read-only.
    fn tree(&self, sha256: &[u8; 32]) -> PathBuf;
    /// Lays packages that have been taken in over each other, a later one over the earlier ones, and
    /// keeps the result.
    fn merge(&self, packages: &[[u8; 32]]) -> Result<(), PackageError>;
    /// The directory that [`Packages::merge`] made of them; of one package its own.
    fn merged(&self, packages: &[[u8; 32]]) -> PathBuf;
    /// Every directory there is: of packages, and of what was made of several.
    fn trees(&self) -> Vec<PathBuf>;
    /// Puts a package, or what was made of several, out of the way, by its directory: from now on it
    /// isn't there. Quick.
    fn discard(&self, tree: &Path) -> Result<(), PackageError>;
    /// Deletes what was put out of the way.
    fn clear(&self);
}
