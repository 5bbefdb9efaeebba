//! What processes write, as whole lines with the step in front.
//!
//! It comes in chunks that end anywhere; lines of steps that run side by side must not mix.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::look::{Ink, Look};
use super::step::Columns;
use crate::base::StepPath;
use crate::event::Stream;
use crate::report::clean;

/// A line is told when it is this long although it has not ended, in bytes.
const MAX_LINE: usize = 8192;

/// Lines that have not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Output {
    open: HashMap<(StepPath, Stream), String>,
}

impl Output {
    /// Takes a chunk in; writes the lines that it ends.
    pub(crate) fn push(
        &mut self,
        out: &mut String,
        look: &Look,
        columns: Columns,
        (path, stream): (&StepPath, Stream),
        chunk: &str,
    ) {
        let open = self.open.entry((path.clone(), stream)).or_default();
        open.push_str(chunk);
        let mut start = 0;
        while let Some(length) = open[start..].find('\n') {
            line(out, look, columns, path, &open[start..start + length]);
            start += length + 1;
        }
        open.drain(..start);
        if open.len() > MAX_LINE {
            line(out, look, columns, path, open);
            open.clear();
        }
    }

    /// Writes the lines of a step that has ended.
    pub(crate) fn end(&mut self, out: &mut String, look: &Look, columns: Columns, path: &StepPath) {
        if self.open.is_empty() {
            return;
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(open) = self.open.remove(&(path.clone(), stream))
                && !open.is_empty()
            {
                line(out, look, columns, path, &open);
            }
        }
    }
}

fn line(out: &mut String, look: &Look, columns: Columns, path: &StepPath, text: &str) {
    // A progress bar redraws itself after `\r`: its last state is what counts.
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or(text);
    // Colours that a program chose are for its own terminal.
    let text = anstream::adapter::strip_str(text).to_string();
    let prefix = columns.pad(&path.to_string());
    let bar = look.symbol("│", "|");
    let _ = writeln!(
        out,
        "  {} {}",
        look.paint(Ink::Dim, format_args!("{prefix} {bar}")),
        clean::block(&text)
    );
}

#[cfg(test)]
mod tests {
    use super::{Columns, Look, Output};
    use crate::base::StepPath;
    use crate::event::Stream;

    #[test]
    fn lines_are_whole() {
        let mut output = Output::default();
        let mut out = String::new();
        let a: StepPath = "a".parse().unwrap();
        let b: StepPath = "b[1]".parse().unwrap();
        let columns = Columns::of(&Look::PLAIN, ["a", "abcd"].into_iter());
        let mut push = |path: &StepPath, stream, chunk: &str| {
            output.push(&mut out, &Look::PLAIN, columns, (path, stream), chunk);
        };
        push(&a, Stream::Stdout, "one\r\ntw");
        push(&b, Stream::Stdout, "10 %\r50 %\r100 %\n");
        push(&a, Stream::Stderr, "\x1b[31moops\x1b[0m \x07");
        push(&a, Stream::Stdout, "o\n\n");
        output.end(&mut out, &Look::PLAIN, columns, &a);
        assert_eq!(
            out,
            "  a    │ one\n  b[1] │ 100 %\n  a    │ two\n  a    │ \n  a    │ oops \n"
        );
    }
}
