//! One JSON value a line, one line an event: for programs that follow a run.
//!
//! A line is `{"schema_version":1,"t":…,"kind":"step.result","path":"…","attempt":…,"data":{…}}`: the
//! words of the journal, without its chain. `path` and `attempt` are there where the event has them.
//! `schema_version` stands in each line, so that a program may start to read anywhere. Readers skip
//! kinds that they do not know. What passes by has the kinds `step.output` and `step.progress`, and is
//! told on request alone.

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::json::SCHEMA_VERSION;
use super::pen::{Pen, Plain};
use crate::base::StepPath;
use crate::event::{Happening, Sink, Transient};

/// Writes a line an event.
pub struct Jsonl {
    pen: Pen,
    passing: bool,
}

impl Jsonl {
    /// To `out`; with what passes by too (output of processes, progress), where `passing` is set.
    pub fn new(out: impl Write + Send + 'static, passing: bool) -> Self {
        Self {
            pen: Pen::new(Plain(out)),
            passing,
        }
    }
}

impl Sink for Jsonl {
    fn happening(&mut self, happening: &Happening) {
        self.pen.write(&line(happening));
    }

    fn transient(&mut self, transient: &Transient) {
        if self.passing {
            self.pen
                .write_passing(&passing(Timestamp::now(), transient));
        }
    }
}

/// The events of an old run, as they were told when it ran.
pub fn render<'a>(happenings: impl IntoIterator<Item = &'a Happening>) -> String {
    happenings.into_iter().map(line).collect()
}

#[derive(Serialize)]
struct Line<'a, T> {
    schema_version: u32,
    t: Timestamp,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a StepPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    data: T,
}

/// A happening on its line, with the line break.
pub(crate) fn line(happening: &Happening) -> String {
    write(&Line {
        schema_version: SCHEMA_VERSION,
        t: happening.at,
        kind: happening.event.kind(),
        path: happening.path.as_ref(),
        attempt: happening.attempt,
        data: &happening.event,
    })
}

fn passing(t: Timestamp, transient: &Transient) -> String {
    let (kind, path, data) = match transient {
        Transient::Output { path, stream, text } => (
            "step.output",
            path,
            json!({ "stream": stream, "text": text }),
        ),
        Transient::Progress {
            path,
            done,
            total,
            unit,
        } => (
            "step.progress",
            path,
            json!({ "done": done, "total": total, "unit": unit }),
        ),
    };
    write(&Line {
        schema_version: SCHEMA_VERSION,
        t,
        kind,
        path: Some(path),
        attempt: None,
        data,
    })
}

fn write<T: Serialize>(line: &Line<T>) -> String {
    // Writing to memory cannot fail, and these types have nothing that JSON cannot hold.
    let mut text = serde_json::to_string(line).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{passing, render};
    use crate::event::{Event, Stream, Transient};
    use crate::report::script;

    #[test]
    fn a_line_an_event() {
        insta::assert_snapshot!(render(&script::cancelled()));
    }

    #[test]
    fn lines_read_back() {
        let happenings = script::daily_check();
        let text = render(&happenings);
        assert_eq!(text.lines().count(), happenings.len());
        for (line, happening) in text.lines().zip(&happenings) {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let kind = line["kind"].as_str().unwrap().to_owned();
            let event = Event::from_parts(&kind, line["data"].take()).unwrap();
            assert_eq!(event.as_ref(), Some(&happening.event));
        }
    }

    #[test]
    fn what_passes_by() {
        let t = "2026-11-24T03:30:49Z".parse().unwrap();
        let output = Transient::Output {
            path: script::path("a[1]"),
            stream: Stream::Stderr,
            text: "half a \"line\"\n".to_owned(),
        };
        let progress = Transient::Progress {
            path: script::path("b"),
            done: 3,
            total: None,
            unit: "rows",
        };
        insta::assert_snapshot!(passing(t, &output) + &passing(t, &progress));
    }
}
