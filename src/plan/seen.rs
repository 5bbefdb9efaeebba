//! What a preview showed, kept to say what is another one now.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::step::Preview;

/// The most items that are named of those that are there or gone.
const MOST: usize = 3;

/// What a preview showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// Its counts.
    #[serde(default)]
    pub counts: Map<String, Value>,
    /// What it listed.
    #[serde(default)]
    pub items: Vec<String>,
}

impl Seen {
    /// Of a preview, where it is a known change.
    pub fn of(preview: &Preview) -> Option<Self> {
        match preview {
            Preview::Change(change) => Some(Self {
                counts: change.counts.clone(),
                items: change.items.clone(),
            }),
            _ => None,
        }
    }

    /// What is another one in `now`: counts before and now, or else the first items that are there or gone.
    pub fn otherwise(&self, now: &Self) -> Vec<String> {
        let names = self.counts.keys().chain(now.counts.keys());
        let mut found: Vec<String> = Vec::new();
        let told = |counts: &Map<String, Value>, name: &str| match counts.get(name) {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        for name in names {
            let (before, after) = (told(&self.counts, name), told(&now.counts, name));
            let line = format!("{name}: {before}, now {after}");
            if before != after && !found.contains(&line) {
                found.push(line);
            }
        }
        let changed = { self.items.iter() }
            .filter(|item| !now.items.contains(item))
            .map(|item| format!("no longer: {item}"))
            .chain(
                { now.items.iter() }
                    .filter(|item| !self.items.contains(item))
                    .map(|item| format!("now: {item}")),
            );
        if found.is_empty() {
            found.extend(changed.take(MOST));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Seen;

    fn seen(value: serde_json::Value) -> Seen {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn counts_are_told_and_else_items() {
        let before = seen(json!({ "counts": { "rows": 250, "batches": 1 }, "items": ["a"] }));
        let more = seen(json!({ "counts": { "rows": 251, "batches": 1 }, "items": ["a", "b"] }));
        assert_eq!(before.otherwise(&more), ["rows: 250, now 251"]);
        let other = seen(json!({ "counts": { "rows": 250, "batches": 1 }, "items": ["b"] }));
        assert_eq!(before.otherwise(&other), ["no longer: a", "now: b"]);
        assert!(before.otherwise(&before).is_empty());
    }
}
