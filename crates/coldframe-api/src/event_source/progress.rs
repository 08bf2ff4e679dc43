//! How far the streams of mappings are done, kept with them.

use std::sync::Arc;

use coldframe_core::source::{NotNoted, Position, Positions, Processed, Progress};
use serde_json::json;
use uuid::Uuid;

use crate::Service;

impl Progress for Service {
    fn positions(&self, id: Uuid) -> Positions {
        let Some(record) = self.store.mapping(id) else { return Positions::new() };
        let shards = record.shards.iter();
        // What no program has written is read again from where the mapping begins.
        shards.filter_map(|(id, text)| Some((id.clone(), Position::parse(text)?))).collect()
    }

    fn keep(&self, id: Uuid, positions: Positions, processed: Processed) -> Result<(), NotNoted> {
        let texts = positions.into_iter().map(|(id, position)| (id, position.text())).collect();
        let kept = self.store.change_mapping(id, |record, _| {
            if let Some(record) = record {
                record.shards = texts;
                if processed != Processed::Nothing {
                    let result = json!(processed.as_str());
                    record.settings.insert("LastProcessingResult".to_owned(), result);
                }
            }
            Ok::<_, coldframe_store::Error>(())
        });
        kept.map_err(|error| NotNoted(Arc::new(error)))
    }
}
