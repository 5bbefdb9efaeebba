//! Texts that are too large, too deep, or expand too far.

use super::read;
use crate::diag::{Code, codes};

fn refused(text: &str, code: Code) {
    let (document, out) = read(text);
    assert!(document.is_none());
    let codes: Vec<_> = out.iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, [code]);
}

/// Runs `test` with a stack on which nothing that recurses with the text could stand.
fn on_a_small_stack(test: fn()) {
    let thread = std::thread::Builder::new().stack_size(128 * 1024);
    thread.spawn(test).unwrap().join().unwrap();
}

#[test]
fn depth_is_bounded() {
    on_a_small_stack(|| {
        refused(&"[".repeat(10_000), codes::YAML_BUDGET);
        refused(&"{a: ".repeat(10_000), codes::YAML_BUDGET);
        refused(&format!("a: {}", "[".repeat(10_000)), codes::YAML_BUDGET);
        refused(&"- ".repeat(10_000), codes::YAML_BUDGET);
        refused(&"? ".repeat(10_000), codes::YAML_BUDGET);
        let deep: String = (0..1000)
            .map(|at| format!("{}a:\n", " ".repeat(at)))
            .collect();
        refused(&deep, codes::YAML_BUDGET);
        assert!(
            read(&format!("{}{}", "[".repeat(128), "]".repeat(128)))
                .0
                .is_some()
        );
        refused(
            &format!("{}{}", "[".repeat(129), "]".repeat(129)),
            codes::YAML_BUDGET,
        );
    });
}

#[test]
fn sizes_are_bounded() {
    for style in ["\"", "'", ""] {
        let long = format!("a: {style}{}{style}\n", "x".repeat(10 * 1024 * 1024));
        refused(&long, codes::YAML_BUDGET);
    }
    refused(
        &format!("a: |\n{}", "  xxxxxxx\n".repeat(1_000_000)),
        codes::YAML_BUDGET,
    );
    refused(
        &format!("a: {}", "x".repeat(1024 * 1024 + 1)),
        codes::YAML_BUDGET,
    );
    let longest = format!("- {{ a: \"{}\" }}", "x".repeat(1024 * 1024));
    assert!(read(&longest).0.is_some());
    // Brackets that may be a key are read in one piece; those of the whole file are not.
    let items = "a, ".repeat(1024 * 1024);
    refused(&format!("- [{items}]"), codes::YAML_BUDGET);
    assert!(read(&format!("[{items}]")).0.is_some());
}

#[test]
fn aliases_cannot_explode() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    refused(&bomb, codes::YAML_BUDGET);
    // Few nodes, but long ones.
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1_000_000),
        "*a, ".repeat(1000)
    );
    refused(&long, codes::YAML_BUDGET);
    // Copies of copies may not get deeper than what is written.
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..200 {
        deep += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    refused(&deep, codes::YAML_BUDGET);
}

#[test]
fn findings_end() {
    let (document, out) = read(&"- !x a\n".repeat(10_000));
    assert!(document.is_none());
    assert!(out.len() < 300);
    let (document, out) = read(&"a: 1\n".repeat(10_000));
    assert!(document.is_none());
    assert!(out.len() < 300);
}
