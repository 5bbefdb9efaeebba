//! Nobody goes round the doors: what the lints forbid is forbidden without exceptions outside of
//! `src/host/`, and the rooms that say what would be done do not name the outside at all.
//!
//! The lints cannot be tested by what they let through; so the sources are read.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path below `src/`, and its text without what is compiled for tests alone and
/// without comments.
struct Source {
    path: String,
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// The program's own sources. Files of tests are left out if the file that declares them says so.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let texts: Vec<(PathBuf, String)> = paths
        .iter()
        .map(|path| (path.clone(), read(path)))
        .collect();
    let tests: Vec<PathBuf> = texts
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    let of_tests = |path: &Path| {
        tests
            .iter()
            .any(|test| path == test.with_extension("rs") || path.starts_with(test))
    };
    let sources = texts.iter().filter(|(path, _)| !of_tests(path));
    let sources = sources.map(|(path, text)| Source {
        path: path.strip_prefix(&src).unwrap().display().to_string(),
        code: without_tests(text),
    });
    sources.collect()
}

/// Where the modules of a file's `#[cfg(test)] mod name;` are, without `.rs`.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = match path.file_stem().unwrap().to_str().unwrap() {
        "mod" | "lib" | "main" => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let declared = text.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let line = rest
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))?;
        let name = line.rsplit("mod ").next()?.strip_suffix(';')?;
        line.contains("mod ").then(|| folder.join(name))
    });
    declared.collect()
}

/// The text up to its `#[cfg(test)] mod tests {`, which stands last, and without comments.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // Attributes may follow, over several lines.
            let attribute = |line: &&str| line.starts_with(['#', ' ', ')']);
            let item = lines.clone().find(|line| !attribute(line));
            if item == Some("mod tests {") {
                break;
            }
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// The names of the lint, and of the groups that it is in.
const LINTS: &[&str] = &[
    "disallowed_methods",
    "clippy::all",
    "clippy::style",
    "allow(warnings",
];

#[test]
fn the_lint_has_no_exceptions_outside_of_host() {
    let sources = sources();
    let excepted = |source: &Source| LINTS.iter().any(|lint| source.code.contains(lint));
    let (host, others): (Vec<&Source>, Vec<&Source>) = { sources.iter() }
        .filter(|source| excepted(source))
        .partition(|source| source.path.starts_with("host/"));
    let others: Vec<&str> = others.iter().map(|source| source.path.as_str()).collect();
    assert!(others.is_empty(), "they go round src/host: {others:#?}");
    // It finds what there is.
    assert!(host.len() > 10, "{}", host.len());
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for lint in ["disallowed_methods = \"deny\"", "unsafe_code = \"deny\""] {
        assert!(manifest.contains(lint), "{lint}");
    }
    // Every system call can be made without a library, by unsafe code.
    for source in sources.iter().filter(|s| !s.path.starts_with("host/")) {
        assert!(!source.code.contains("unsafe_code"), "{}", source.path);
    }
}

/// What reaches outside. Types of files and errors, which the host hands out, do not.
const OUTSIDE: &str = r"(?x)
    \bfs::[a-z]\w* | \bfs::\{[^}]*\b[a-z]\w*
  | \b(?:File|OpenOptions|DirBuilder|Command)::[a-z]\w*
  | \.(?:exists|try_exists|canonicalize|read_dir|read_link|symlink_metadata)\(\)
  | \bstd::(?:net|process|env)::\w+
  | \b(?:tokio::(?:fs|net|process|signal)|rustix|duct|procfs|sysinfo|zbus)::\w+
  | \breqwest::(?:get|blocking|Client) | \btokio_postgres::(?:Config|Client|connect)
  | (?:^|[^:\w])redis::(?:Client|aio|cmd)";

/// The rooms whose code a dry-run goes through.
const ROOMS: &[&str] = &[
    "base", "diag", "doc", "expr", "event", "step", "steps", "model", "compile", "plan",
];

/// What they name of it.
const KNOWN: &[(&str, &[&str])] = &[
    ("base/clock.rs", &["rustix::time"]),
    // Whose playbook it is, and where it lies.
    (
        "compile/load.rs",
        &["std::env::current_dir", "fs::metadata", "rustix::process"],
    ),
];

#[test]
fn what_a_dry_run_goes_through_does_not_name_the_outside() {
    let outside = regex::Regex::new(OUTSIDE).unwrap();
    let mut found = Vec::new();
    let mut known = 0;
    for source in sources() {
        let room = source.path.split(['/', '.']).next().unwrap();
        if !ROOMS.contains(&room) {
            continue;
        }
        let allowed = KNOWN.iter().find(|(path, _)| *path == source.path);
        for name in outside.find_iter(&source.code).map(|found| found.as_str()) {
            match allowed {
                Some((_, names)) if names.contains(&name) => known += 1,
                _ => found.push(format!("{}: {name}", source.path)),
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    // It would find nothing in no files.
    assert!(known >= 4, "{known}");
    for around in [
        "std::fs::read(path)",
        "use std::fs::{File, read_dir};",
        "std::os::unix::fs::symlink(a, b)",
        "path.exists()",
        "File::open(path)",
        "std::net::TcpStream::connect(a)",
        "use redis::Client;",
        "reqwest::Client::new()",
    ] {
        assert!(outside.is_match(around), "{around}");
    }
    assert!(
        !outside
            .is_match("use std::fs::{File, Metadata}; use crate::host::connect::redis::Client;")
    );
}

/// The engine gives the means to touch, in one place; the host makes them.
#[test]
fn the_means_to_touch_are_given_in_one_place() {
    let mut givers = Vec::new();
    for source in sources() {
        let gives = ["Effect::new", "Observe::claimed", "Processes::new"];
        let gives = gives.iter().any(|name| source.code.contains(name));
        if gives && !source.path.starts_with("host/") {
            givers.push(source.path);
        }
    }
    assert_eq!(givers, ["exec/attempt.rs"]);
}

#[test]
fn the_sources_are_read_right() {
    let text = "use a;\n// std::fs\n#[cfg(test)]\npub mod testing;\nfn f() {}\n#[cfg(test)]\n#[expect(\n    x\n)]\nmod tests {\n    std::fs\n}\n";
    assert_eq!(
        without_tests(text),
        "use a;\n#[cfg(test)]\npub mod testing;\nfn f() {}\n"
    );
    let modules = test_modules(Path::new("src/host/mod.rs"), text);
    assert_eq!(modules, [PathBuf::from("src/host/testing")]);
    let modules = test_modules(Path::new("src/step/any.rs"), "#[cfg(test)]\nmod tests;\n");
    assert_eq!(modules, [PathBuf::from("src/step/any/tests")]);
}
