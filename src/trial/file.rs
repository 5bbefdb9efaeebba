//! A test file: the playbook that it is for, and its cases, read and checked.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::case::Case;
use crate::base::{SourceId, Span, Spanned, suggest};
use crate::compile::params::{self, Given, ParamError};
use crate::compile::{self, Program};
use crate::diag::{Diagnostic, Diagnostics, Sources, codes, did_you_mean};
use crate::doc::{self, Entry, MapReader, Node};
use crate::event::SHORTEST;
use crate::exec::Secrets;
use crate::host::files;
use crate::model::{Decoder, ParamType};
use crate::step::Registry;

/// The largest file that is read, in bytes; the limit on texts is `doc`'s own.
const LARGEST: u64 = 128 << 20;

/// The wall time at which a run begins where a case does not say it.
const BEGIN: &str = "2026-01-01T00:00:00Z";

/// A test file without errors, with its program.
#[derive(Debug)]
pub struct TestFile {
    /// The playbook, as people know its path.
    pub playbook: PathBuf,
    /// What is tested.
    pub program: Program,
    /// The cases, as they stand.
    pub cases: Vec<Case>,
}

/// A test file as far as it could be read.
#[derive(Debug)]
pub struct Loaded {
    /// What was found in it and in its playbook.
    pub diagnostics: Diagnostics,
    /// The file, where there is no error.
    pub file: Option<TestFile>,
}

/// Whether the file at `path` says that it holds tests: a line of it begins with `runbook-test:`.
pub fn says_test(path: &Path) -> bool {
    let Ok(bytes) = files::read_limited(path, LARGEST) else {
        return false;
    };
    bytes.starts_with(b"runbook-test:")
        || memchr::memmem::find(&bytes, b"\nrunbook-test:").is_some()
}

/// Reads the test file at `path` and compiles its playbook. Touches nothing but the test file, the
/// playbook and its project file; their texts are kept in `sources`.
pub fn load(path: &Path, registry: &Registry, sources: &mut Sources) -> Loaded {
    let mut diagnostics = Diagnostics::new();
    let file = read(path, registry, sources, &mut diagnostics);
    let file = file.filter(|_| !diagnostics.has_errors());
    Loaded { diagnostics, file }
}

fn read(
    path: &Path,
    registry: &Registry,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<TestFile> {
    let (id, text) = text(path, sources, diagnostics)?;
    let document = doc::parse(id, &text, diagnostics)?;
    let root = &document.root;
    let mut decoder = Decoder {
        registry,
        text: &text,
        diagnostics,
    };
    let mut map = decoder.map(root, "a test file")?;
    if !decoder.header(&mut map, "runbook-test", root.span) {
        return None;
    }
    let playbook = match map.take("playbook") {
        Some(entry) => decoder.text(entry),
        None => {
            map.missing("playbook", decoder.diagnostics);
            None
        }
    };
    let tests = map.take("tests");
    if tests.is_none() {
        map.missing("tests", decoder.diagnostics);
    }
    map.finish(decoder.diagnostics);
    let (playbook, tests) = (playbook?, tests?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let playbook_path = folder.join(&playbook.value);
    let mut loaded = compile::load(&playbook_path, registry, sources);
    for diagnostic in std::mem::take(&mut loaded.diagnostics) {
        // A file that is not there has no place of its own: its name stands here.
        diagnostics.push(match diagnostic.primary {
            None => diagnostic.at(playbook.span),
            Some(_) => diagnostic,
        });
    }
    let program = loaded.program?;
    let mut reader = Reader {
        decoder: Decoder {
            registry,
            text: &text,
            diagnostics,
        },
        program: &program,
    };
    let cases = reader.cases(tests);
    Some(TestFile {
        playbook: playbook_path,
        cases,
        program,
    })
}

fn text(
    path: &Path,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<(SourceId, String)> {
    let bytes = match files::read_limited(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            diagnostics.push(Diagnostic::error(codes::FILE_UNREADABLE, error.to_string()));
            return None;
        }
    };
    let name = path.display().to_string();
    match doc::decode_utf8(bytes) {
        Ok(text) => Some((sources.add_once(&name, &text), text)),
        Err(place) => {
            let id = sources.add_once(&name, &place.text);
            diagnostics.push(place.diagnostic(id));
            None
        }
    }
}

/// Reads cases with the program that they are for at hand.
pub(super) struct Reader<'a> {
    pub decoder: Decoder<'a>,
    pub program: &'a Program,
}

impl Reader<'_> {
    fn cases(&mut self, entry: &Entry) -> Vec<Case> {
        let Some(items) = entry.value.as_seq() else {
            self.decoder
                .wrong_type("tests", "a list of cases", &entry.value);
            return Vec::new();
        };
        if items.is_empty() {
            let message = "a test file has at least one case";
            self.decoder
                .error(codes::BAD_VALUE, entry.value.span, message);
        }
        let mut names: IndexMap<String, Span> = IndexMap::new();
        let mut cases = Vec::with_capacity(items.len());
        for item in items {
            let Some(case) = self.case(item) else {
                continue;
            };
            let Spanned { value: name, span } = case.name.clone();
            if let Some(first) = names.get(&name) {
                let message = format!("there are two cases `{name}`");
                self.decoder.diagnostics.push(
                    Diagnostic::error(codes::BAD_NAME, message)
                        .label(span, "this one")
                        .also(*first, "and this one"),
                );
            }
            names.insert(name, span);
            cases.push(case);
        }
        cases
    }

    fn case(&mut self, node: &Node) -> Option<Case> {
        let mut map = self.decoder.map(node, "a case")?;
        let name = match map.take("name") {
            Some(entry) => self.decoder.text(entry),
            None => {
                map.missing("name", self.decoder.diagnostics);
                None
            }
        };
        let params = self.params(map.take("params"), node.span);
        let secrets = self.secrets(map.take("secrets"));
        let at = match map.take("at") {
            Some(entry) => self.time(entry),
            None => BEGIN.parse().ok(),
        };
        let yes = map.take("yes").and_then(|entry| self.decoder.bool(entry));
        let max_parallel = map
            .take("max_parallel")
            .and_then(|entry| self.decoder.int(entry, 1, 10_000));
        let answers = map.take("answers").map(|entry| self.answers(entry));
        let approvals = map.take("approvals").map(|entry| self.approvals(entry));
        let cancel = map.take("cancel").and_then(|entry| self.cancel(entry));
        let resolve = map.take("resolve").map(|entry| self.resolve(entry));
        let expect = self.expect(&mut map);
        map.finish(self.decoder.diagnostics);
        Some(Case {
            name: name?,
            params: params?,
            secrets: secrets?,
            at: at?,
            yes: yes.unwrap_or(false),
            max_parallel: max_parallel.map_or(4, |n| usize::try_from(n).unwrap_or(4)),
            answers: answers.unwrap_or_default(),
            approvals: approvals.unwrap_or_default(),
            cancel,
            resolve: resolve.unwrap_or_default(),
            expect: expect?,
        })
    }

    /// The values of all parameters; what is not given has its default.
    fn params(&mut self, entry: Option<&Entry>, case: Span) -> Option<Map<String, Value>> {
        let playbook = self.program.playbook();
        let mut given = IndexMap::new();
        let mut spans: IndexMap<String, (Span, Span)> = IndexMap::new();
        let named = entry.map_or_else(Vec::new, |entry| self.decoder.named(entry, "params"));
        for entry in named {
            let name = entry.key.value.to_string();
            let ty = playbook.params.get(&name).map(|param| param.ty);
            let as_text = matches!(
                ty,
                Some(ParamType::String | ParamType::Duration | ParamType::Size)
            );
            let value = self.decoder.plain(&entry.value, as_text);
            spans.insert(name.clone(), (entry.key.span, entry.value.span));
            given.insert(name, Given::Typed(value));
        }
        let errors = match params::resolve(playbook, &given, &|_| None) {
            Ok(values) => return Some(values),
            Err(errors) => errors,
        };
        for error in errors {
            let (span, help) = match &error {
                ParamError::Unknown { name, .. } => (spans.get(name).map(|(key, _)| *key), None),
                ParamError::Bad { name, .. } => (spans.get(name).map(|(_, value)| *value), None),
                ParamError::Missing { name } => (
                    None,
                    Some(format!("add it to the case: `params: {{ {name}: … }}`")),
                ),
            };
            let message = match &error {
                ParamError::Missing { name } => format!("parameter `{name}` has no value"),
                _ => error.to_string(),
            };
            // Of a case, its first key says where it is.
            let at = span.unwrap_or(Span {
                end: case.start,
                ..case
            });
            self.decoder.diagnostics.push(
                Diagnostic::error(error.code(), message)
                    .at(at)
                    .maybe_help(help),
            );
        }
        None
    }

    /// The values of the secrets that the program uses: those that are not given get one that tells
    /// where it is from.
    fn secrets(&mut self, entry: Option<&Entry>) -> Option<Secrets> {
        let program = self.program;
        let mut values: IndexMap<String, String> = { program.used_secrets() }
            .map(|name| (name.to_owned(), format!("test-secret-{name}")))
            .collect();
        let mut fine = true;
        for entry in entry.map_or_else(Vec::new, |entry| self.decoder.named(entry, "secrets")) {
            let name = &*entry.key.value;
            let declared = &program.playbook().secrets;
            if !declared.contains_key(name) {
                let near = suggest::nearest(name, declared.keys().map(String::as_str));
                let message = format!("the playbook declares no secret `{name}`");
                self.decoder.diagnostics.push(
                    Diagnostic::error(codes::EXPR_UNKNOWN_FIELD, message)
                        .at(entry.key.span)
                        .maybe_help(did_you_mean(near)),
                );
                fine = false;
                continue;
            }
            let Some(value) = self.decoder.text(entry) else {
                fine = false;
                continue;
            };
            if value.value.len() < SHORTEST {
                let message = format!("a secret has at least {SHORTEST} characters");
                self.decoder.error(codes::BAD_VALUE, value.span, message);
                fine = false;
            }
            values.insert(name.to_owned(), value.value);
        }
        fine.then(|| values.into_iter().collect())
    }

    fn time(&mut self, entry: &Entry) -> Option<jiff::Timestamp> {
        let text = self.decoder.text(entry)?;
        let time = text.value.parse();
        if time.is_err() {
            let message = format!(
                "`{}` is not a time such as `2026-03-01T02:00:00Z`",
                text.value
            );
            self.decoder.error(codes::BAD_VALUE, text.span, message);
        }
        time.ok()
    }

    /// The mapping at an entry, to be read key by key.
    pub fn map<'n>(&mut self, entry: &'n Entry, what: &'static str) -> Option<MapReader<'n>> {
        self.decoder.map(&entry.value, what)
    }
}
