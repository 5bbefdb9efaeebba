//! Standard output and standard error. Data goes to the former, everything else to the latter; a
//! closed one is quiet.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};

use super::args::{Color, Global};
use super::exit;
use crate::diag::{self, Code, Diagnostic, Sources};
use crate::report::clean;
use crate::report::terminal::Verbosity;

/// The two outputs of the program.
#[derive(Debug)]
pub(super) struct Output {
    /// When to use colours.
    pub color: ColorChoice,
    /// Problems and the verdict alone.
    pub quiet: bool,
    /// More.
    pub verbose: bool,
    failure: Failure,
}

/// Why standard output could not be written to, the first time.
#[derive(Clone, Debug, Default)]
struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    /// Keeps what went wrong. A reader that went away is fine; a full disk is not.
    fn keep(&self, error: &io::Error) {
        if !matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted
        ) {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| crate::host::error::io_cause(error));
        }
    }

    fn get(&self) -> Option<String> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone()
    }
}

/// Standard output whose failures are kept.
#[derive(Debug)]
pub(super) struct Watched(io::Stdout, Failure);

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect_err(|error| self.1.keep(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().inspect_err(|error| self.1.keep(error))
    }
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

impl Output {
    pub fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self {
            color,
            quiet: global.quiet,
            verbose: global.verbose,
            failure: Failure::default(),
        }
    }

    /// How much is told.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }

    /// Prints data, colours in it taken out where they are not wanted.
    pub fn data(&mut self, text: impl Display) {
        let stream = io::stdout();
        let color = match self.color {
            ColorChoice::Auto => anstream::AutoStream::choice(&stream),
            other => other,
        };
        let mut out = io::BufWriter::new(anstream::AutoStream::new(stream.lock(), color));
        let result = write!(out, "{text}").and_then(|()| out.flush());
        self.note(result);
    }

    /// Prints bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        let result = out.write_all(bytes).and_then(|()| out.flush());
        self.note(result);
    }

    /// Standard output for someone who writes while this does not; what fails there is told at the end.
    pub fn watched(&self) -> Watched {
        Watched(io::stdout(), self.failure.clone())
    }

    /// Prints one line of data.
    pub fn line(&mut self, text: impl Display) {
        self.data(format_args!("{text}\n"));
    }

    /// Prints JSON, indented.
    pub fn json(&mut self, value: &serde_json::Value) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(text),
            Err(error) => self.error(&format!("could not print JSON: {error}"), None),
        }
    }

    /// Says on standard error what went wrong, and what to do.
    pub fn error(&self, message: &str, help: Option<&str>) {
        let message = clean::block(message);
        self.tell(format_args!(
            "{ERROR}error{ERROR:#}{BOLD}: {message}{BOLD:#}\n"
        ));
        if let Some(help) = help.map(clean::block) {
            self.tell(format_args!("{HELP}help{HELP:#}: {help}\n"));
        }
    }

    /// Says on standard error what went wrong, under a code that `runbook explain` knows.
    pub fn coded_error(&self, code: Code, message: &str, help: Option<&str>) {
        let message = clean::block(message);
        self.tell(format_args!(
            "{ERROR}error[{code}]{ERROR:#}{BOLD}: {message}{BOLD:#}\n"
        ));
        if let Some(help) = help.map(clean::block) {
            self.tell(format_args!("{HELP}help{HELP:#}: {help}\n"));
        }
    }

    /// Says on standard error what is worth attention.
    pub fn warn(&self, message: &str) {
        let message = clean::block(message);
        self.tell(format_args!("{WARNING}warning{WARNING:#}: {message}\n"));
    }

    /// Says something on standard error, unless only problems are wanted.
    pub fn note_line(&self, message: &str) {
        if !self.quiet {
            let message = clean::block(message);
            self.tell(format_args!("{DIM}{message}{DIM:#}\n"));
        }
    }

    /// Draws diagnostics on standard error.
    pub fn diagnostics<'d>(
        &self,
        diagnostics: impl IntoIterator<Item = &'d Diagnostic>,
        sources: &Sources,
    ) {
        for diagnostic in diagnostics {
            let text = diag::render(diagnostic, sources, diag::Style::Colored);
            self.tell(format_args!("{text}\n\n"));
        }
    }

    /// Standard error, where nobody can be told that it is closed.
    fn tell(&self, text: impl Display) {
        let stream = io::stderr();
        let color = match self.color {
            ColorChoice::Auto => anstream::AutoStream::choice(&stream),
            other => other,
        };
        let mut out = io::BufWriter::new(anstream::AutoStream::new(stream.lock(), color));
        let _ = write!(out, "{text}").and_then(|()| out.flush());
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.failure.keep(&error);
        }
    }

    /// The exit code, after what could not be printed was told.
    pub fn finish(self, code: u8) -> u8 {
        match self.failure.get() {
            Some(cause) => {
                self.error(
                    &format!("could not write to standard output: {cause}"),
                    None,
                );
                if code == exit::DONE {
                    exit::FAILED
                } else {
                    code
                }
            }
            None => code,
        }
    }
}

/// What clap has to say: help and version on standard output, bad usage on standard error.
pub(super) fn usage(error: &clap::Error) -> u8 {
    let _ = error.print();
    if error.use_stderr() {
        exit::USAGE
    } else {
        exit::DONE
    }
}
