//! What a store stands on: where state outlives the process.
//!
//! ```text
//! Store: records, in memory ── commit(seen, parts) ──► Backend ──► disk, or others' machines
//!            ▲                                            │
//!            └──────────── told: every change, in order ──┘
//! ```
//! The embedded one ([`crate::Embedded`]) is a file. Another one keeps the promises of [`Backend`]
//! and of [`crate::queue`], which its tests check by [`crate::backend_suite!`]. Code isn't here: it is
//! kept by its hash, beside the store (`core::packages`).

use std::sync::Weak;

use crate::Error;
use crate::queue::{Listener, Queue};

/// A document's age: higher than every one that was given before, to whatever document.
pub type Revision = u64;

/// State that outlives the process: a catalogue of documents, and a queue of events.
///
/// A document has a kind, a name and parts, each a text by a name. Kinds, names and parts are any
/// texts. All methods may be called from any thread, and block for the disk.
pub trait Backend: Send + Sync {
    /// Tells the watcher of every document there is, before this returns, and then of every change
    /// whoever makes it, in the order of revisions, until the watcher is dropped. It is told of
    /// [`Backend::commit`]'s change before that returns.
    ///
    /// # Errors
    /// If the documents can't be read, or what the watcher says of them.
    fn watch(&self, watcher: Weak<dyn Watcher>) -> Result<(), Error>;

    /// Makes a change, all of it or nothing, if the document still is what its author has seen.
    /// Once this returns, no crash undoes it.
    ///
    /// # Errors
    /// [`Error::Changed`] if somebody else has changed the document; that it could not be kept.
    fn commit(&self, change: &Change<'_>) -> Result<Revision, Error>;

    /// The durable queue; at most one at a time in one process. `listener` must not call it.
    ///
    /// # Errors
    /// If it can't be read.
    fn queue(&self, listener: Box<Listener>) -> Result<Box<dyn Queue>, Error>;
}

/// Who hears of documents. It must not call the back end.
pub trait Watcher: Send + Sync {
    /// The document is now such.
    ///
    /// # Errors
    /// If it can't be understood.
    fn hear(&self, told: &Told<'_>) -> Result<(), Error>;
}

/// A change of one document.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    /// What its author knows: the document's revision, or that there is none.
    pub seen: Option<Revision>,
    pub content: &'a Content,
}

/// A change that was made, or a document that was there.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    pub revision: Revision,
    pub content: &'a Content,
}

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These parts are others than before. All else stays. A document may be without parts.
    Parts(Vec<Part>),
    /// It is gone, with all its parts.
    Gone,
}

/// A part that is new, or another one than before, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub text: Option<String>,
}
