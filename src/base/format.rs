//! The formats that something can be told in: `--format`, `--report FORMAT=FILE`, and a playbook's
//! `reports:`.
//!
//! The words live here because the language and the command line both take them; how each looks is
//! the business of `report`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::suggest::nearest;

/// A format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For a person at a terminal.
    Text,
    /// One JSON value with a `schema_version`.
    Json,
    /// One JSON value a line, one line an event.
    Jsonl,
    /// JUnit XML, which CI servers draw.
    Junit,
    /// SARIF 2.1.0, which code-scanning services read. About playbooks, never about runs.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
    /// A record that a ticket can quote.
    Markdown,
}

impl Format {
    /// Every format.
    pub const ALL: &[Self] = &[
        Self::Text,
        Self::Json,
        Self::Jsonl,
        Self::Junit,
        Self::Sarif,
        Self::Github,
        Self::Markdown,
    ];

    /// What a run can be told in: `run`, `resume`, `retry`, `status`, `--report` and `reports:`.
    pub const FOR_RUNS: &[Self] = &[
        Self::Text,
        Self::Json,
        Self::Jsonl,
        Self::Junit,
        Self::Github,
        Self::Markdown,
    ];

    /// What the diagnostics of playbooks can be told in: `validate`.
    pub const FOR_DIAGNOSTICS: &[Self] = &[
        Self::Text,
        Self::Json,
        Self::Junit,
        Self::Sarif,
        Self::Github,
    ];

    /// What a plan can be told in: `plan`, `run --dry-run`.
    pub const FOR_PLANS: &[Self] = &[Self::Text, Self::Json, Self::Markdown];

    /// What tests of playbooks can be told in: `test`.
    pub const FOR_TESTS: &[Self] = &[Self::Text, Self::Json, Self::Junit];

    /// What everything else can be told in: `list`, `show`, `steps`, `history`, `audit`, `doctor`.
    pub const FOR_LISTS: &[Self] = &[Self::Text, Self::Json];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Junit => "junit",
            Self::Sarif => "sarif",
            Self::Github => "github",
            Self::Markdown => "markdown",
        }
    }

    /// This format, where it is one of `takes`.
    ///
    /// # Errors
    /// When it is not; the message lists those that are.
    pub fn one_of(self, takes: &[Self]) -> Result<Self, FormatError> {
        if takes.contains(&self) {
            Ok(self)
        } else {
            Err(FormatError::NotHere {
                format: self,
                takes: list(takes),
            })
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text names no format, or not one that is taken here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is no format at all.
    #[error("`{word}` is not a format; {hint}")]
    Unknown {
        /// What was written.
        word: String,
        /// What was probably meant, or all that there are.
        hint: String,
    },
    /// It is one, but not for this.
    #[error("the format `{format}` does not fit here; there are {takes}")]
    NotHere {
        /// Which.
        format: Format,
        /// Those that fit.
        takes: String,
    },
    /// A report on the command line that is not `FORMAT=FILE`.
    #[error("`{0}` is not `FORMAT=FILE`, as in `markdown=report.md`")]
    NoFile(String),
}

fn list(formats: &[Format]) -> String {
    let words: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
    words.join(", ")
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|format| format.as_str() == word);
        found.copied().ok_or_else(|| FormatError::Unknown {
            word: word.to_owned(),
            hint: nearest(word, Self::ALL.iter().map(|format| format.as_str())).map_or_else(
                || format!("there are {}", list(Self::ALL)),
                |near| format!("did you mean `{near}`?"),
            ),
        })
    }
}

/// A report that goes to a file: `--report FORMAT=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// How it looks.
    pub format: Format,
    /// Where it goes.
    pub path: PathBuf,
}

impl FromStr for ReportFile {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((format, path)) if !path.is_empty() => Ok(Self {
                format: format.parse::<Format>()?.one_of(Format::FOR_RUNS)?,
                path: path.into(),
            }),
            _ => Err(FormatError::NoFile(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, ReportFile};

    #[test]
    fn reads_what_it_writes() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(*format));
            assert_eq!(
                serde_json::to_value(format).unwrap(),
                serde_json::json!(format.as_str())
            );
        }
    }

    #[test]
    fn says_what_would_be_right() {
        let said = |text: &str| text.parse::<ReportFile>().unwrap_err().to_string();
        assert_eq!(
            said("markdwn=x"),
            "`markdwn` is not a format; did you mean `markdown`?"
        );
        assert_eq!(
            said("pdf=x"),
            "`pdf` is not a format; there are text, json, jsonl, junit, sarif, github, markdown"
        );
        assert_eq!(
            said("sarif=x"),
            "the format `sarif` does not fit here; there are text, json, jsonl, junit, github, markdown"
        );
        assert_eq!(
            said("json="),
            "`json=` is not `FORMAT=FILE`, as in `markdown=report.md`"
        );
        let file: ReportFile = "markdown=a=b.md".parse().unwrap();
        assert_eq!(file.path.to_str(), Some("a=b.md"));
    }
}
