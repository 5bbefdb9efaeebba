//! A test file: the playbook that it is for, and its cases, read and checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::case::{Answers, Case, Target};
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
    let defaults = map.take("defaults");
    let tests = map.take("tests");
    if tests.is_none() {
        map.missing("tests", decoder.diagnostics);
    }
    map.finish(decoder.diagnostics);
    let (playbook, tests) = (playbook?, tests?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let playbook_path = folder.join(&playbook.value);
    // What is not even called one is not opened: its lines would stand in the diagnostics.
    let is_named = [".yaml", ".yml"]
        .iter()
        .any(|end| playbook.value.ends_with(end));
    if !is_named && playbook_path.is_file() {
        let message = "a playbook's name ends in `.yaml` or `.yml`";
        diagnostics.push(Diagnostic::error(codes::BAD_VALUE, message).at(playbook.span));
        return None;
    }
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
    let defaults = defaults.map(|entry| reader.defaults(entry));
    let cases = reader.cases(tests, &defaults.unwrap_or_default());
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

/// What the cases of a file have in common.
#[derive(Default)]
struct Defaults {
    params: IndexMap<String, Written>,
    secrets: IndexMap<String, String>,
    at: Option<jiff::Timestamp>,
    yes: bool,
    answers: Arc<IndexMap<Target, Answers>>,
}

/// A parameter as it is written.
#[derive(Clone)]
struct Written {
    value: Value,
    key: Span,
    span: Span,
}

/// Reads cases with the program that they are for at hand.
pub(super) struct Reader<'a> {
    pub decoder: Decoder<'a>,
    pub program: &'a Program,
}

impl Reader<'_> {
    fn cases(&mut self, entry: &Entry, defaults: &Defaults) -> Vec<Case> {
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
            let Some(case) = self.case(item, defaults) else {
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

    fn case(&mut self, node: &Node, defaults: &Defaults) -> Option<Case> {
        let mut map = self.decoder.map(node, "a case")?;
        let name = match map.take("name") {
            Some(entry) => self.decoder.text(entry),
            None => {
                map.missing("name", self.decoder.diagnostics);
                None
            }
        };
        let own = map.take("params").map(|entry| self.given(entry));
        let mut given = defaults.params.clone();
        given.extend(own.unwrap_or_default());
        let params = self.params(given, node.span);
        let own = map.take("secrets").map(|entry| self.secrets(entry));
        let mut secrets = defaults.secrets.clone();
        secrets.extend(own.unwrap_or_default());
        let at = match map.take("at") {
            Some(entry) => self.time(entry),
            None => defaults.at.or_else(|| BEGIN.parse().ok()),
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
            secrets: self.all_secrets(secrets),
            at: at?,
            yes: yes.unwrap_or(defaults.yes),
            max_parallel: max_parallel.map_or(4, |n| usize::try_from(n).unwrap_or(4)),
            answers: answers.unwrap_or_default(),
            shared: Arc::clone(&defaults.answers),
            approvals: approvals.unwrap_or_default(),
            cancel,
            resolve: resolve.unwrap_or_default(),
            expect: expect?,
        })
    }

    /// What the cases of a file have in common.
    fn defaults(&mut self, entry: &Entry) -> Defaults {
        let Some(mut map) = self.map(entry, "`defaults`") else {
            return Defaults::default();
        };
        let params = map.take("params").map(|entry| self.given(entry));
        let secrets = map.take("secrets").map(|entry| self.secrets(entry));
        let at = map.take("at").and_then(|entry| self.time(entry));
        let yes = map.take("yes").and_then(|entry| self.decoder.bool(entry));
        let answers = map.take("answers").map(|entry| self.answers(entry));
        map.finish(self.decoder.diagnostics);
        Defaults {
            params: params.unwrap_or_default(),
            secrets: secrets.unwrap_or_default(),
            at,
            yes: yes.unwrap_or(false),
            answers: Arc::new(answers.unwrap_or_default()),
        }
    }

    /// Parameters as they are written.
    fn given(&mut self, entry: &Entry) -> IndexMap<String, Written> {
        let mut given = IndexMap::new();
        for entry in self.decoder.named(entry, "params") {
            let name = entry.key.value.to_string();
            let param = self.program.playbook().params.get(&name);
            let as_text = matches!(
                param.map(|param| param.ty),
                Some(ParamType::String | ParamType::Duration | ParamType::Size)
            );
            let written = Written {
                value: self.decoder.plain(&entry.value, as_text),
                key: entry.key.span,
                span: entry.value.span,
            };
            given.insert(name, written);
        }
        given
    }

    /// The values of all parameters; what is not given has its default.
    fn params(
        &mut self,
        written: IndexMap<String, Written>,
        case: Span,
    ) -> Option<Map<String, Value>> {
        let playbook = self.program.playbook();
        let given = written.iter().map(|(name, written)| {
            let value = Given::Typed(written.value.clone());
            (name.clone(), value)
        });
        let given: IndexMap<String, Given> = given.collect();
        let place = |name: &String| written.get(name);
        let errors = match params::resolve(playbook, &given, &|_| None) {
            Ok(values) => return Some(values),
            Err(errors) => errors,
        };
        for error in errors {
            let (span, help) = match &error {
                ParamError::Unknown { name, .. } => (place(name).map(|w| w.key), None),
                ParamError::Bad { name, .. } => (place(name).map(|w| w.span), None),
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

    /// The values of the secrets that the program uses: those that are not given have one that tells
    /// which it is.
    fn all_secrets(&self, given: IndexMap<String, String>) -> Secrets {
        let used = self.program.used_secrets();
        let values = used.map(|name| (name.to_owned(), format!("test-secret-{name}")));
        let mut values: IndexMap<String, String> = values.collect();
        values.extend(given);
        values.into_iter().collect()
    }

    /// Secrets as they are written.
    fn secrets(&mut self, entry: &Entry) -> IndexMap<String, String> {
        let declared = &self.program.playbook().secrets;
        let mut values = IndexMap::new();
        for entry in self.decoder.named(entry, "secrets") {
            let name = &*entry.key.value;
            if !declared.contains_key(name) {
                let near = suggest::nearest(name, declared.keys().map(String::as_str));
                let message = format!("the playbook declares no secret `{name}`");
                self.decoder.diagnostics.push(
                    Diagnostic::error(codes::EXPR_UNKNOWN_FIELD, message)
                        .at(entry.key.span)
                        .maybe_help(did_you_mean(near)),
                );
                continue;
            }
            let Some(value) = self.decoder.text(entry) else {
                continue;
            };
            if value.value.len() < SHORTEST {
                let message = format!("a secret has at least {SHORTEST} characters");
                self.decoder.error(codes::BAD_VALUE, value.span, message);
            }
            values.insert(name.to_owned(), value.value);
        }
        values
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
