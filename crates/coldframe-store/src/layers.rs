//! Layers and their versions, as [`crate::functions`] keeps functions.

use std::ops::Bound;
use std::sync::Arc;

use coldframe_core::LayerArn;

use crate::backend::Part;
use crate::document::{Document, Malformed, set, shared_since};
use crate::{Error, Layer, Store};

const LAST: &str = "last";
const VERSION: &str = "version/";

impl Document for Layer {
    const KIND: &'static str = "layer";
    type Key = LayerArn;

    fn parts_since(&self, old: Option<&Self>) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        if old.is_none_or(|old| old.last_version != self.last_version) {
            parts.push(Part::json(LAST.to_owned(), &self.last_version)?);
        }
        let name = |number: &u64| format!("{VERSION}{number}");
        shared_since(old.map(|old| &old.versions), &self.versions, name, &mut parts)?;
        Ok(parts)
    }

    fn with(old: Option<&Self>, parts: &[Part]) -> Result<Self, Malformed> {
        let mut layer = old.cloned().unwrap_or_default();
        for part in parts {
            if part.name == LAST {
                layer.last_version = part.parse()?.unwrap_or_default();
            } else if let Some(number) = part.name.strip_prefix(VERSION) {
                let Ok(number) = number.parse() else { continue };
                set(&mut layer.versions, number, part)?;
            }
        }
        Ok(layer)
    }
}

impl Store {
    /// The layer with its versions.
    pub fn layer(&self, arn: &LayerArn) -> Option<Arc<Layer>> {
        self.memory.layers.get(arn)
    }

    /// Layers of an account and region in order of name, beginning behind `after`.
    pub fn list_layers(&self, after: &LayerArn) -> Vec<(LayerArn, Arc<Layer>)> {
        let of_namespace =
            |arn: &LayerArn| arn.account == after.account && arn.region == after.region;
        let range = (Bound::Excluded(after), Bound::Unbounded);
        self.memory.layers.range(range, of_namespace, usize::MAX)
    }

    /// Every layer of every account.
    pub fn all_layers(&self) -> Vec<(LayerArn, Arc<Layer>)> {
        self.memory.layers.all()
    }

    /// Lets `decide` change the versions of a layer; one without versions is as good as absent.
    /// Otherwise as [`Store::change`].
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change_layer<T, E: From<Error>>(
        &self,
        arn: &LayerArn,
        decide: impl FnOnce(&mut Layer) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_document(
            |memory| &memory.layers,
            arn,
            |layer| {
                let mut changed = layer.take().unwrap_or_default();
                let decided = decide(&mut changed)?;
                // One that never had a version isn't there.
                *layer = (changed.last_version > 0).then_some(changed);
                Ok(decided)
            },
        )
    }
}
