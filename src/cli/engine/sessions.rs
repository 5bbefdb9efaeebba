//! Sessions on PostgreSQL servers that are left of a run whose engine is gone: ended before anything
//! of it goes on.

use serde_json::{Map, Value};

use super::{Refusal, Setup};
use crate::base::RunId;
use crate::cli::exit;
use crate::cli::output::Output;
use crate::event::RunState;
use crate::exec::Seek;
use crate::host::HostErrorKind;
use crate::host::connect::ConnectionKind as _;
use crate::host::connect::postgres::Postgres;

impl Setup<'_> {
    /// Ends what is left of `run` on every server that the playbook uses, and says what there was.
    /// Where the run has changed something, it has to be the database that it was then. A server that
    /// does not answer is told of where the run has only looked; else it may still be changing
    /// something there, and nothing goes on.
    pub(in crate::cli) async fn end_sessions(
        &self,
        out: &Output,
        run: &RunId,
        params: &Map<String, Value>,
        past: &RunState,
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
                Ok((sessions, now)) => {
                    ended.extend(sessions);
                    if let Some(then) = past.targets.get(name).filter(|then| **then != now) {
                        return Err(Refusal::new(
                            exit::REFUSED,
                            format!(
                                "`{name}` is not the database that this run has changed: it was \
                                 {then}, and is {now}; nothing ran"
                            ),
                            Some("find out why the connection leads elsewhere".to_owned()),
                        ));
                    }
                }
                Err(error)
                    if error.kind == HostErrorKind::Transient
                        && !past.targets.contains_key(name) =>
                {
                    out.warn(&format!(
                        "whether sessions of run {run} are left on `{name}` is not known: {error}"
                    ))
                }
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
