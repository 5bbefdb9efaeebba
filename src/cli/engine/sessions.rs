//! Sessions on PostgreSQL servers that are left of a run whose engine is gone: ended before anything
//! of it goes on.

use serde_json::{Map, Value};

use super::{Refusal, Setup};
use crate::base::RunId;
use crate::cli::exit;
use crate::cli::output::Output;
use crate::exec::Seek;
use crate::host::HostErrorKind;
use crate::host::connect::ConnectionKind as _;
use crate::host::connect::postgres::Postgres;

impl Setup<'_> {
    /// Ends what is left of `run` on every server that the playbook uses, and says what there was. A
    /// server that does not answer is told of: sessions of ours there can only look.
    pub(in crate::cli) async fn end_sessions(
        &self,
        out: &Output,
        run: &RunId,
        params: &Map<String, Value>,
    ) -> Result<Vec<String>, Refusal> {
        let seek = Seek {
            program: self.program,
            run,
            params,
            secrets: &self.secrets,
            digest_key: &self.digest_key,
            clock: &self.clock,
            state: self.state.path(),
        };
        let declared = &self.program.playbook().connections;
        let mut ended = Vec::new();
        for name in self.program.used_connections() {
            if declared.get(name).is_none_or(|c| c.kind != Postgres::NAME) {
                continue;
            }
            match seek.end_strays(name).await {
                Ok(sessions) => ended.extend(sessions),
                Err(error) if error.kind == HostErrorKind::Transient => out.warn(&format!(
                    "whether sessions of run {run} are left on `{name}` is not known: {error}"
                )),
                Err(error) => {
                    let message = format!("{error}; nothing ran");
                    return Err(Refusal::new(exit::BUSY, message, error.help));
                }
            }
        }
        for line in &ended {
            out.note_line(&format!("ended what was left of the run: {line}"));
        }
        Ok(ended)
    }
}
