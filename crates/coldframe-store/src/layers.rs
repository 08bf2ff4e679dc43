//! Layers and their versions, as [`crate::functions`] keeps functions.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use coldframe_core::{FunctionArn, LayerArn};
use rusqlite::{Connection, params};

use crate::functions::{changed, json, parse};
use crate::{Error, Layer, Store, key, read, write};

impl Store {
    /// The layer with its versions.
    pub fn layer(&self, arn: &LayerArn) -> Option<Arc<Layer>> {
        read(&self.layers).get(arn).cloned()
    }

    /// Layers of an account and region in order of name, beginning behind `after`.
    pub fn list_layers(&self, after: &LayerArn) -> Vec<(LayerArn, Arc<Layer>)> {
        read(&self.layers)
            .range((Bound::Excluded(after), Bound::Unbounded))
            .take_while(|(arn, _)| arn.account == after.account && arn.region == after.region)
            .map(|(arn, layer)| (arn.clone(), layer.clone()))
            .collect()
    }

    /// Every layer of every account.
    pub fn all_layers(&self) -> Vec<(LayerArn, Arc<Layer>)> {
        read(&self.layers).iter().map(|(arn, layer)| (arn.clone(), layer.clone())).collect()
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
        let mut writer = self.writer();
        let old = self.layer(arn).unwrap_or_default();
        let mut new = (*old).clone();
        let decided = decide(&mut new)?;
        let mut write_all = || -> Result<(), Error> {
            let LayerArn { account, region, name } = arn;
            let transaction = writer.transaction()?;
            for (number, record) in changed(Some(&old.versions), &new.versions) {
                let number = i64::try_from(*number).unwrap_or(i64::MAX);
                let record = record.map(json).transpose()?;
                transaction.execute(
                    "INSERT OR REPLACE INTO layer VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![account.as_str(), region, name, number, record],
                )?;
            }
            Ok(transaction.commit()?)
        };
        write_all()?;
        write(&self.layers).insert(arn.clone(), Arc::new(new));
        Ok(decided)
    }
}

/// Every layer, into memory.
pub(crate) fn load(connection: &Connection) -> Result<BTreeMap<LayerArn, Arc<Layer>>, Error> {
    let mut layers: BTreeMap<LayerArn, Layer> = BTreeMap::new();
    let mut statement =
        connection.prepare("SELECT account, region, name, number, record FROM layer")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(FunctionArn { account, region, name }) = key(row)? else { continue };
        let arn = LayerArn { account, region, name };
        let number = row.get::<_, i64>(3)?.unsigned_abs();
        let record = match row.get_ref(4)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(parse(row, 4, || arn.version(number))?),
        };
        let layer = layers.entry(arn).or_default();
        layer.last_version = layer.last_version.max(number);
        layer.versions.extend(record.map(|record| (number, Arc::new(record))));
    }
    Ok(layers.into_iter().map(|(arn, layer)| (arn, Arc::new(layer))).collect())
}
