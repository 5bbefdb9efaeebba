//! Properties that hold for every text.

use proptest::prelude::*;

use super::{json, read};
use crate::doc::{Kind, Node, ScalarStyle};

/// Every place in the tree is in the text, on character boundaries; plain one-liners are spelled
/// in the source as in the tree.
fn check_places(node: &Node, text: &str) -> Result<(), TestCaseError> {
    let spelled = text.get(node.span.start as usize..node.span.end as usize);
    prop_assert!(spelled.is_some(), "{:?} in {text:?}", node.span);
    match &node.kind {
        Kind::Scalar(scalar) => {
            let spelled = spelled.unwrap();
            if scalar.style == ScalarStyle::Plain && !spelled.contains(['\n', '\r']) {
                prop_assert_eq!(spelled, &*scalar.text);
            }
            let part = scalar.text.char_indices().map(|(at, _)| at).nth(1);
            for range in [0..scalar.text.len(), part.unwrap_or(0)..scalar.text.len()] {
                let found = scalar.locate(node.span, text, range);
                prop_assert!(text.get(found.start as usize..found.end as usize).is_some());
                prop_assert!(node.span.start <= found.start && found.end <= node.span.end);
            }
        }
        Kind::Seq(items) => {
            for item in items {
                check_places(item, text)?;
            }
        }
        Kind::Map(map) => {
            for entry in map {
                let key = entry.key.span;
                prop_assert!(text.get(key.start as usize..key.end as usize).is_some());
                check_places(&entry.value, text)?;
            }
        }
    }
    Ok(())
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let (document, out) = read(text);
    prop_assert!(document.is_some() || out.has_errors());
    for diagnostic in out.iter() {
        let labels = diagnostic.primary.iter().chain(&diagnostic.secondary);
        let fix = diagnostic.fix.iter().map(|fix| fix.span);
        for span in labels.map(|label| label.span).chain(fix) {
            let place = text.get(span.start as usize..span.end as usize);
            prop_assert!(place.is_some(), "{diagnostic:?} in {text:?}");
        }
    }
    document.map_or(Ok(()), |document| check_places(&document.root, text))
}

const SEEDS: [&str; 4] = [
    "runbook: v1\nname: x # c\nsteps:\n  - id: a\n    exec.command: { argv: [ls, \"-l\"] }\n",
    "a: &x |-\n  one\n   two\n\n  three\nb: >2\n    f\n  g\nc: *x\nd: 'it''s'\n? e\n: - f\n  -\n",
    "- - a\n  - {b: , c: [d: e, \"f\":g]}\n- !!str 1\n- \"x\\ty\\u00e4\\\n  z\"\n-\n  p\n  q\n",
    "---\nü: [日本, ${{ a }}]\n\"k\": {{ x }}\n<<: 1\n...\n",
];

/// Pieces that YAML gives a meaning.
const PIECES: [&str; 40] = [
    "a", "b", ":", ": ", "- ", "-", "? ", "\n", "\n  ", "\n    ", "\n- ", " ", "\t", "\r\n", "[",
    "]", "{", "}", ",", ", ", "\"", "'", "|", ">", "|2-\n", "#", " # c", "&a ", "*a", "!!str ",
    "!x ", "---\n", "...\n", "${{ x }}", "{{ y }}", "ä", "\\", "%", "@", "<<",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_pieces_are_read_or_refused(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn broken_documents_are_read_or_refused(
        seed in prop::sample::select(&SEEDS[..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, prop::sample::select(&PIECES[..])), 1..5),
    ) {
        let mut characters: Vec<String> = seed.chars().map(String::from).collect();
        for (at, removed, piece) in edits {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, [piece.to_owned()]);
        }
        check(&characters.concat())?;
    }

    #[test]
    fn what_is_emitted_comes_back(value in tree()) {
        let text = serde_yaml::to_string(&value).unwrap();
        let (document, out) = read(&text);
        prop_assert!(out.is_empty(), "{text}: {out:?}");
        prop_assert_eq!(json(&document.unwrap().root), value, "{}", text);
    }
}

/// A tree of texts that are no YAML nulls.
fn tree() -> impl Strategy<Value = serde_json::Value> {
    let text = "[a-zä0-9:#'\"\\\\{}, \n.!&*-]{0,12}x";
    let leaf = text.prop_map(serde_json::Value::from);
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(serde_json::Value::from),
            prop::collection::vec((text, inner), 1..4)
                .prop_map(|entries| { serde_json::Value::Object(entries.into_iter().collect()) }),
        ]
    })
}
