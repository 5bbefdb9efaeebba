//! What the tree holds, where it says that it is written, and findings that leave a tree.

use super::{SOURCE, good, json, places, read, slice, told};
use crate::base::Span;
use crate::diag::codes;
use crate::doc::{Node, Resolved};

#[test]
fn places_are_exact() {
    assert_eq!(
        places("a: &x !!str  12 # c\n'b' :  'it''s'   # d\n"),
        [
            "a: &x !!str  12 # c\n'b' :  'it''s'",
            "a",
            "12",
            "'b'",
            "'it''s'",
        ]
    );
    assert_eq!(
        places("- [ x, {y: z} , \"q\":1 ] # c\n-\n- n:\n  m: \n"),
        [
            "- [ x, {y: z} , \"q\":1 ] # c\n-\n- n:\n  m:",
            "[ x, {y: z} , \"q\":1 ]",
            "x",
            "{y: z}",
            "y",
            "z",
            "\"q\":1",
            "\"q\"",
            "1",
            "",
            "n:\n  m:",
            "n",
            "",
            "m",
            "",
        ]
    );
    assert_eq!(
        places("a: | # c\n\n  x\n  y \n\nb:\n- 1\n- - 2\n"),
        [
            "a: | # c\n\n  x\n  y \n\nb:\n- 1\n- - 2",
            "a",
            "| # c\n\n  x\n  y ",
            "b",
            "- 1\n- - 2",
            "1",
            "- 2",
            "2",
        ]
    );
    assert_eq!(
        places("ü: [日本, \"ä\"] # €\nö: >-\n  é\n\r\n"),
        [
            "ü: [日本, \"ä\"] # €\nö: >-\n  é",
            "ü",
            "[日本, \"ä\"]",
            "日本",
            "\"ä\"",
            "ö",
            ">-\n  é",
        ]
    );
}

#[test]
fn values_left_out_have_a_place() {
    let starts = |text| -> Vec<u32> {
        let root = good(text);
        let map = root.as_map().unwrap();
        map.iter().map(|entry| entry.value.span.start).collect()
    };
    assert_eq!(starts("a:\nb: # c\n"), [2, 5]);
    assert_eq!(
        starts("{a, b: , ? c, d: &x , e: !!null , \"f\":}"),
        [2, 6, 12, 19, 31, 38]
    );
    assert_eq!(told("a: {b, : c}\n"), [(codes::YAML_KEY, "1:8".to_owned())]);
}

#[test]
fn texts_are_unescaped_and_folded() {
    let root = good(
        "- \"a\\tb\\u00e4\\\n  c\"\n- 'it''s'\n- |\n  x\n   y\n\n- >-\n  x\n  y\n\n  z\n- p\n  q\n",
    );
    assert_eq!(
        json(&root),
        serde_json::json!(["a\tbäc", "it's", "x\n y\n", "x y\nz", "p q"])
    );
    let windows = good("a: |\r\n  x\r\n  y\r\nb: [1,\r\n  2]\r\n");
    assert_eq!(
        json(&windows),
        serde_json::json!({"a": "x\ny\n", "b": ["1", "2"]})
    );
}

#[test]
fn json_is_read() {
    let text = "{\n\t\"a\": [\n\t\t1,\n\t\t{\"b\":null}\n\t],\n\t\"ü\": \"\\u00fc\"\n}\n";
    let root = good(text);
    assert_eq!(
        json(&root),
        serde_json::json!({"a": ["1", {"b": {"null": "null"}}], "ü": "ü"})
    );
    assert_eq!(slice(text, root.span), text.trim_end());
    let last = &root.as_map().unwrap().entries[1];
    assert_eq!(slice(text, last.key.span), "\"ü\"");
    assert_eq!(slice(text, last.value.span), "\"\\u00fc\"");
}

#[test]
fn scalars_keep_their_spelling_and_have_a_type() {
    let root =
        good("[no, 0755, 1.20, '1', ~, '~', true, !!str 1, !!int '1', !!float 1, ! 1, 0x1F]");
    let items = root.as_seq().unwrap();
    let types: Vec<_> = items.iter().map(Node::describe).collect();
    assert_eq!(
        types,
        [
            "a text",
            "an integer",
            "a number",
            "a text",
            "nothing",
            "a text",
            "a boolean",
            "a text",
            "an integer",
            "a number",
            "a text",
            "an integer",
        ]
    );
    assert_eq!(items[1].as_str(), Some("0755"));
    assert_eq!(items[2].as_str(), Some("1.20"));
    assert_eq!(items[4].as_str(), None);
    assert_eq!(items[5].resolve(), Resolved::Str("~"));
    assert_eq!(items[11].resolve(), Resolved::Int(31));
    assert_eq!(good("a: {b: c}").describe(), "a mapping");
    assert_eq!(root.describe(), "a sequence");
}

#[test]
fn mappings_know_their_braces() {
    let root = good("a: {b: [c: d]}\ne:\n  f: g\n");
    let map = root.as_map().unwrap();
    assert!(!map.flow);
    let a = map.get("a").unwrap().value.as_map().unwrap();
    assert!(a.flow);
    let pair = a.get("b").unwrap().value.as_seq().unwrap()[0].as_map();
    assert!(pair.unwrap().flow);
    assert!(!map.get("e").unwrap().value.as_map().unwrap().flow);
}

#[test]
fn aliases_are_copies_with_the_places_of_the_original() {
    let text = "a: &x {b: [1, 2]}\nc: *x\nd: [&y k, *y]\n*y : v\n";
    let root = good(text);
    assert_eq!(
        json(&root),
        serde_json::json!({
            "a": {"b": ["1", "2"]}, "c": {"b": ["1", "2"]}, "d": ["k", "k"], "k": "v",
        })
    );
    let map = root.as_map().unwrap();
    let (a, c) = (&map.get("a").unwrap().value, &map.get("c").unwrap().value);
    assert_eq!(a, c);
    assert_eq!(slice(text, map.get("k").unwrap().key.span), "*y");
    assert_eq!(slice(text, root.span), text.trim_end());
    // The later of two anchors with one name counts.
    assert_eq!(
        json(&good("[&a 1, &a 2, *a]")),
        serde_json::json!(["1", "2", "2"])
    );
}

#[test]
fn the_first_of_two_keys_wins() {
    let (document, out) = read("a: 1\nb: 2\na: 3\na: 4\n");
    assert_eq!(
        json(&document.unwrap().root),
        serde_json::json!({"a": "1", "b": "2"})
    );
    assert_eq!(out.len(), 2);
    let first = out.iter().next().unwrap();
    assert_eq!(first.code, codes::YAML_DUPLICATE_KEY);
    assert_eq!(
        first.primary.as_ref().unwrap().span,
        Span::new(SOURCE, 10, 11)
    );
    assert_eq!(first.secondary[0].span, Span::new(SOURCE, 0, 1));
    let many: String = (0..50).map(|at| format!("k{}: {at}\n", at % 49)).collect();
    let (document, out) = read(&many);
    assert_eq!(document.unwrap().root.as_map().unwrap().entries.len(), 49);
    assert_eq!(out.len(), 1);
}

#[test]
fn what_leaves_a_tree_is_told_all_at_once() {
    let text = "a: !vault x\nb: !!int abc\n[c]: d\n<<: e\ne: {{ f }}\ng: 1\ng: 2\n: h\n";
    assert_eq!(
        told(text),
        [
            (codes::YAML_TAG, "1:4".to_owned()),
            (codes::YAML_TAG, "2:4".to_owned()),
            (codes::YAML_KEY, "3:1".to_owned()),
            (codes::UNKNOWN_KEY, "4:1".to_owned()),
            (codes::EXPR_FLOW_STYLE, "5:4".to_owned()),
            (codes::YAML_DUPLICATE_KEY, "7:1".to_owned()),
            (codes::YAML_KEY, "8:1".to_owned()),
        ]
    );
    let (document, _) = read(text);
    assert_eq!(
        json(&document.unwrap().root),
        serde_json::json!({"a": "x", "b": "abc", "e": {}, "g": "1"})
    );
}

#[test]
fn one_document_is_read() {
    assert_eq!(
        told("a: 1\n---\nb: 2\n"),
        [(codes::YAML_DOCUMENTS, "2:1".to_owned())]
    );
    assert_eq!(
        told("---\na: 1\n...\nb: 2\n"),
        [(codes::YAML_DOCUMENTS, "4:1".to_owned())]
    );
    assert_eq!(
        told("{a: 1}\n---\n"),
        [(codes::YAML_DOCUMENTS, "2:1".to_owned())]
    );
    assert_eq!(
        json(&good("%YAML 1.2\n---\na: 1\n...\n")),
        serde_json::json!({"a": "1"})
    );
    assert_eq!(
        json(&good("# c\n  {a: 1}\n")),
        serde_json::json!({"a": "1"})
    );
    for text in [
        "",
        "\n\n",
        "# only\n",
        "---\n",
        "--- # c\n...\n",
        "\u{feff}",
    ] {
        let (document, out) = read(text);
        assert!(document.is_none());
        assert_eq!(
            out.iter().next().unwrap().code,
            codes::YAML_EMPTY,
            "{text:?}"
        );
    }
}
