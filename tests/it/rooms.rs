//! The rooms of the code know of each other in one direction alone: every `crate::` path is read,
//! and an edge that goes back fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms in their order; those in one row do not know of each other.
const ORDER: &[&[&str]] = &[
    &["base"],
    &["diag"],
    &["doc"],
    &["expr"],
    &["event"],
    &["host"],
    &["step"],
    &["steps", "model"],
    &["compile"],
    &["plan"],
    &["exec"],
    &["trial"],
    &["audit", "report", "schema"],
    &["cli"],
];

/// Where the registry is handed down: the one place that names `steps`.
const MAY_NAME_STEPS: &[&str] = &["cli"];

fn rank(room: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&room))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a text names by `crate::room`, also in a group: `crate::{base, diag::Code}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        // `$crate::`, `mycrate::` are others.
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let word = |text: &str| -> String {
            text.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        match rest.strip_prefix('{') {
            None => drop(rooms.insert(word(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && c.is_alphabetic() => {
                            rooms.insert(word(&group[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms.retain(|room| rank(room).is_some());
    rooms
}

/// The text without comments, which may name any room.
fn code(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_room_looks_only_back() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut edges: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    files(&src, &mut all);
    for path in all {
        let below = path.strip_prefix(&src).unwrap().display().to_string();
        let Some((room, _)) = below.split_once('/') else {
            continue;
        };
        assert!(
            rank(room).is_some(),
            "`src/{room}` is no room of the design"
        );
        seen.insert(room.to_owned());
        for other in rooms_named(&code(&std::fs::read_to_string(&path).unwrap())) {
            edges
                .entry((room.to_owned(), other))
                .or_insert_with(|| below.clone());
        }
    }
    // The test would pass on an empty folder: every room must have been looked at.
    for room in ORDER.iter().flat_map(|row| row.iter()) {
        assert!(seen.contains(*room), "there is no room `src/{room}`");
    }
    let mut wrong = Vec::new();
    for ((from, to), file) in &edges {
        if from == to {
            continue;
        }
        if rank(to) >= rank(from) {
            wrong.push(format!(
                "`{from}` knows of `{to}`, which stands after it: src/{file}"
            ));
        }
        if to == "steps" && !MAY_NAME_STEPS.contains(&from.as_str()) {
            wrong.push(format!(
                "`{from}` names `steps`, which the registry hides: src/{file}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_found_in_every_form() {
    let text = "use crate::{base::{Span, X}, diag};\nlet x = crate::host::files::open();\n";
    let rooms: Vec<String> = rooms_named(text).into_iter().collect();
    assert_eq!(rooms, ["base", "diag", "host"]);
    assert!(rooms_named("$crate::host::x mycrate::base").is_empty());
}
