//! What a server says beside its answers: warnings are results.

use tokio_postgres::error::DbError;

/// The most notices that are kept of one statement; of the others, the count is.
const MOST: usize = 1_000;

/// A WARNING, NOTICE or the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `WARNING`, `NOTICE`, `INFO`, `LOG`, `DEBUG`; in English, whatever language the server speaks.
    pub severity: String,
    /// Its SQLSTATE.
    pub code: String,
    /// What it says.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Notice {
    /// Whether something was not done, or not as it was asked for.
    pub fn is_warning(&self) -> bool {
        self.severity == "WARNING"
    }
}

/// Notices, as they come in.
#[derive(Debug, Default)]
pub(super) struct Notices {
    kept: Vec<Notice>,
    dropped: usize,
}

impl Notices {
    pub fn add(&mut self, said: &DbError) {
        if self.kept.len() >= MOST {
            self.dropped += 1;
            return;
        }
        let severity = said.parsed_severity().map(|severity| severity.to_string());
        self.kept.push(Notice {
            severity: severity.unwrap_or_else(|| said.severity().to_owned()),
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
            detail: said.detail().map(str::to_owned),
            hint: said.hint().map(str::to_owned),
        });
    }

    pub fn take(&mut self) -> Vec<Notice> {
        let mut taken = std::mem::take(&mut self.kept);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            taken.push(Notice {
                severity: "WARNING".to_owned(),
                code: String::new(),
                message: format!("{dropped} more, which were not kept"),
                detail: None,
                hint: None,
            });
        }
        taken
    }
}
