//! Packages of functions and layers: how much of them an account may keep (service-api.md §2.14), and
//! the end of those that nothing needs any more.
//!
//! ```text
//! a change leaves a package behind ─► suspected ─► named by no function or layer, run by nobody ─► gone
//! ```
//! Nothing is suspected while somebody brings a package: it is on the disk before it is named. At the
//! start everything on the disk is suspected, as the last service may have been killed before it
//! came to it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use coldframe_core::FunctionVersion;
use coldframe_store::{Function, FunctionRecord, LayerRecord};
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock};

use crate::layer::{hashes, layer_arn};
use crate::{Caller, Error, Service, blocking, code};

/// Between looks at what is still run by environments that are to end.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is on its way in, and on its way out.
#[derive(Default)]
pub(crate) struct Storage {
    /// Read by who brings packages, written by the one who clears them away.
    uploads: Arc<RwLock<()>>,
    leaving: Mutex<Leaving>,
    /// Told when there may be something to clear away.
    changed: Notify,
}

#[derive(Default)]
struct Leaving {
    /// Trees that may not be needed any more.
    suspects: HashSet<PathBuf>,
    /// Versions that serve no more; environments may still run them.
    retired: Vec<Weak<FunctionVersion>>,
}

/// Somebody brings packages. What he has made and doesn't keep is suspected when this is dropped.
pub(crate) struct Upload {
    storage: Arc<Storage>,
    guard: Option<OwnedRwLockReadGuard<()>>,
    made: Vec<PathBuf>,
}

impl Upload {
    pub(crate) fn made(&mut self, trees: impl IntoIterator<Item = PathBuf>) {
        self.made.extend(trees);
    }

    /// All that was made is named now.
    pub(crate) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The one who clears away must find nobody here.
        drop(self.guard.take());
        self.storage.suspect(self.made.drain(..));
    }
}

impl Storage {
    fn leaving(&self) -> MutexGuard<'_, Leaving> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, until it is dropped, no package goes.
    pub(crate) async fn upload(self: &Arc<Self>) -> Upload {
        let guard = Some(self.uploads.clone().read_owned().await);
        Upload { storage: self.clone(), guard, made: Vec::new() }
    }

    pub(crate) fn suspect(&self, trees: impl IntoIterator<Item = PathBuf>) {
        let mut leaving = self.leaving();
        leaving.suspects.extend(trees);
        if !leaving.suspects.is_empty() {
            self.changed.notify_one();
        }
    }

    /// These serve no more.
    pub(crate) fn retire(&self, versions: &[&Arc<FunctionVersion>]) {
        let mut leaving = self.leaving();
        leaving.retired.retain(|version| version.strong_count() > 0);
        leaving.retired.extend(versions.iter().map(|version| Arc::downgrade(version)));
    }
}

impl Service {
    /// What environments of the version are made of.
    pub(crate) fn trees(&self, record: &FunctionRecord) -> impl Iterator<Item = PathBuf> + use<> {
        let sha256 = code::parse_hex(&record.code_sha256).unwrap_or_default();
        let layers =
            (!record.layers.is_empty()).then(|| self.packages.merged(&hashes(&record.layers)));
        std::iter::once(self.packages.tree(&sha256)).chain(layers)
    }

    pub(crate) fn tree_of_layer(&self, layer: &LayerRecord) -> PathBuf {
        self.packages.tree(&code::parse_hex(&layer.sha256).unwrap_or_default())
    }

    fn trees_of_all(&self, function: &Function) -> HashSet<PathBuf> {
        versions(function).flat_map(|record| self.trees(record)).collect()
    }

    /// What the function had before a change and has no more may go.
    pub(crate) fn suspect_left(&self, old: Option<&Function>, new: Option<&Function>) {
        let Some(old) = old else { return };
        let mut left = self.trees_of_all(old);
        if let Some(new) = new {
            let kept = self.trees_of_all(new);
            left.retain(|tree| !kept.contains(tree));
        }
        self.storage.suspect(left);
    }

    pub(crate) fn suspect_layer(&self, layer: &LayerRecord) {
        self.storage.suspect([self.tree_of_layer(layer)]);
    }

    /// Clears packages away as long as the event loop runs. Called once, inside of it.
    pub fn clear_away(self: &Arc<Self>) {
        let service = self.clone();
        tokio::spawn(async move {
            let kept = service.clone();
            let kept = blocking(move || Ok(kept.packages.trees())).await;
            service.storage.suspect(kept.unwrap_or_default());
            loop {
                service.storage.changed.notified().await;
                loop {
                    let sweeping = service.clone();
                    let waits = blocking(move || Ok(sweeping.sweep())).await;
                    if !waits.unwrap_or_default() {
                        break;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        });
    }

    /// Clears away what is suspected and not needed; whether something has to wait for environments.
    fn sweep(&self) -> bool {
        let waits = {
            // Who brings something now tells at his end.
            let Ok(_nobody) = self.storage.uploads.try_write() else { return false };
            let mut leaving = self.storage.leaving();
            let mut suspects = std::mem::take(&mut leaving.suspects);
            for (_, function) in self.store.all() {
                for tree in versions(&function).flat_map(|record| self.trees(record)) {
                    suspects.remove(&tree);
                }
            }
            for (_, layer) in self.store.all_layers() {
                for record in layer.versions.values() {
                    suspects.remove(&self.tree_of_layer(record));
                }
            }
            // What serves is not what is named while an update is on its way.
            self.serving.spare(&mut suspects);
            let run: Vec<_> = leaving.retired.iter().filter_map(Weak::upgrade).collect();
            for version in &run {
                for tree in std::iter::once(&version.code).chain(&version.layers) {
                    if let Some(tree) = suspects.take(tree) {
                        leaving.suspects.insert(tree);
                    }
                }
            }
            for tree in &suspects {
                if let Err(error) = self.packages.discard(tree) {
                    tracing::warn!(%error, tree = %tree.display(), "a package stays until the next start");
                }
            }
            !leaving.suspects.is_empty()
        };
        self.packages.clear();
        waits
    }

    /// Zips of the caller's functions and layers together, bytes: every version counts with its whole
    /// zip, whether it is another's or not.
    pub(crate) fn code_bytes(&self, caller: &Caller) -> u64 {
        let functions = self.store.list(&caller.arn(""), usize::MAX);
        let of_functions: u64 = functions.iter().map(|(_, function)| code_size(function)).sum();
        let first = layer_arn(caller.account.clone(), &caller.region, "");
        let layers = self.store.list_layers(&first);
        let of_layers: u64 = layers
            .iter()
            .flat_map(|(_, layer)| layer.versions.values())
            .map(|version| version.code_size)
            .sum();
        of_functions + of_layers
    }

    /// Whether the caller may keep so much instead of so much that he keeps already.
    pub(crate) fn check_code_storage(
        &self,
        caller: &Caller,
        more: u64,
        less: u64,
    ) -> Result<(), Error> {
        if more <= less || self.code_bytes(caller) - less + more <= self.code_storage {
            return Ok(());
        }
        Err(Error::new("CodeStorageExceededException", "Code storage limit exceeded."))
    }
}

/// Zips of one function, bytes.
pub(crate) fn code_size(function: &Function) -> u64 {
    versions(function).map(|record| record.code_size).sum()
}

fn versions(function: &Function) -> impl Iterator<Item = &Arc<FunctionRecord>> {
    std::iter::once(&function.latest).chain(function.versions.values())
}
