//! Sessions that may touch.
//!
//! Redis cannot be asked to take a command back. So a command that was sent and is not answered, because
//! the connection broke or time ran out, has or has not happened: that is what is told.

use redis::cmd;

use super::error::explain;
use super::identity::RedisIdentity;
use super::observe::RedisObserve;
use super::stale::{Fate, SCRIPT, Stale};
use super::{Conn, Redis};
use crate::base::Duration;
use crate::host::connect::ConnectionKind as _;
use crate::host::net::{Allowance, Stopped};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, HostError, Observe, Part};

/// How long an answer is waited for that is late, or that nobody wants to wait for any more.
const VERDICT_LIMIT: Duration = Duration::from_secs(3);

/// A session that may touch. Whoever may touch may look.
#[derive(Debug)]
pub struct RedisEffect<'a> {
    looking: RedisObserve<'a>,
}

/// When a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteIf {
    /// Only where there is no such key.
    Absent,
    /// Only where there is.
    Present,
    /// Either way.
    Always,
}

impl Observe {
    /// A session that looks at what is about to be changed. What may not be changed by us is refused as
    /// it is by [`Effect::redis`], so that a preview says so.
    ///
    /// # Errors
    /// When the connection is not declared or cannot be used, or what answers is a replica, a node of a
    /// cluster, or a sentinel.
    pub async fn redis_to_change(
        &self,
        conn: &Conn<Redis>,
        allowance: Allowance,
    ) -> Result<RedisObserve<'_>, HostError> {
        self.redis_of(conn, allowance)
            .await
            .map(|(looking, _)| looking)
    }

    async fn redis_of(
        &self,
        conn: &Conn<Redis>,
        allowance: Allowance,
    ) -> Result<(RedisObserve<'_>, RedisIdentity), HostError> {
        let looking = self.redis(conn, allowance).await??;
        let identity = looking.identity(allowance).await?;
        if let Some((cause, help)) = refusal(&identity) {
            let action = format!("write to {}", looking.shown());
            return Err(HostError::permanent(action, cause).with_help(help));
        }
        // Who looks what a step would do, looks at what the step would touch.
        if self.scope().part == Part::Preview {
            self.scope().shared.targets.see(&conn.name, &identity);
        }
        Ok((looking, identity))
    }
}

/// Why nothing is written there, and what to do.
fn refusal(identity: &RedisIdentity) -> Option<(&'static str, &'static str)> {
    match (identity.mode.as_str(), identity.role.as_str()) {
        ("cluster", _) => Some((
            "it is a node of a Redis Cluster, which keeps a part of the keys",
            "clusters are not supported: what is written, counted and removed would be a part only",
        )),
        ("sentinel", _) => Some((
            "it is a sentinel, which keeps no keys",
            "let the URL name the master: `SENTINEL GET-MASTER-ADDR-BY-NAME`",
        )),
        (_, "replica") => Some((
            "it is a replica",
            "let the URL name the master, after a fail-over the new one",
        )),
        _ => None,
    }
}

impl Effect {
    /// A session that may touch, with the master that `conn` names. Which database it is was recorded
    /// before this returns.
    ///
    /// # Errors
    /// As [`Observe::redis_to_change`], or when it is another database than the run has written to
    /// before.
    pub async fn redis(
        &self,
        conn: &Conn<Redis>,
        allowance: Allowance,
    ) -> Result<RedisEffect<'_>, HostError> {
        let (looking, identity) = self.observe().redis_of(conn, allowance).await?;
        let targets = &self.scope().shared.targets;
        targets.confirm(Redis::NAME, &conn.name, &identity).await?;
        Ok(RedisEffect { looking })
    }
}

impl<'a> RedisEffect<'a> {
    /// The means to look.
    pub fn looking(&self) -> &RedisObserve<'a> {
        &self.looking
    }

    /// The server, for people.
    pub fn shown(&self) -> &str {
        self.looking.shown()
    }

    /// The answer to one command that changes something.
    async fn change<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        let scope = self.looking.scope;
        let action = format!("change {}", self.shown());
        // Nothing is begun any more; what has been sent is waited for.
        if let Some(reason) = scope.cancel.state().reason() {
            return Err(Stopped::Told(reason).error(action));
        }
        let mut connection = self.looking.session.connection.clone();
        let mut answer = std::pin::pin!(command.query_async(&mut connection));
        let (answer, late) = match scope.within(allowance, &mut answer).await {
            Ok(answer) => (answer, None),
            Err(stopped) => {
                let last = scope.allow(VERDICT_LIMIT).despite_end();
                match scope.within(last, answer).await {
                    Ok(answer) => (answer, Some(stopped)),
                    Err(_) => {
                        let cause = stopped.error(&action).cause;
                        return Err(in_doubt(action, &cause));
                    }
                }
            }
        };
        match answer {
            Ok(value) => Ok(value),
            // The server's word: it did not do it.
            Err(error) if error.code().is_some() => Err(explain(&action, &error)),
            Err(error) => {
                let cause = late.map_or_else(
                    || explain(&action, &error).cause,
                    |stopped| stopped.error(&action).cause,
                );
                Err(in_doubt(action, &cause))
            }
        }
    }

    /// Writes a value, with a time to live or without any. Whether it did is the answer.
    ///
    /// # Errors
    /// Why it did not; [`Obstacle::InDoubt`] where nobody knows.
    pub async fn set(
        &self,
        key: &str,
        value: &str,
        ttl: Option<Duration>,
        when: WriteIf,
        allowance: Allowance,
    ) -> Result<bool, ReachError> {
        let mut command = cmd("SET");
        command.arg(key).arg(value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(ttl.as_millis());
        }
        match when {
            WriteIf::Absent => drop(command.arg("NX")),
            WriteIf::Present => drop(command.arg("XX")),
            WriteIf::Always => {}
        }
        let answer: Option<String> = self.change(&command, allowance).await?;
        Ok(answer.is_some())
    }

    /// Removes keys; their memory is freed in the background. How many of them there were is the answer.
    ///
    /// # Errors
    /// Why it did not; [`Obstacle::InDoubt`] where nobody knows.
    pub async fn unlink(&self, keys: &[Vec<u8>], allowance: Allowance) -> Result<u64, ReachError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let mut command = cmd("UNLINK");
        for key in keys {
            command.arg(key.as_slice());
        }
        self.change(&command, allowance).await
    }

    /// Removes those of `keys` that are stale in this very moment.
    ///
    /// # Errors
    /// Why it did not; [`Obstacle::InDoubt`] where nobody knows.
    pub async fn unlink_stale(
        &self,
        keys: &[Vec<u8>],
        stale: Stale,
        allowance: Allowance,
    ) -> Result<Vec<Fate>, ReachError> {
        let mut command = cmd("EVAL");
        command.arg(SCRIPT).arg(keys.len());
        for key in keys {
            command.arg(key.as_slice());
        }
        for argument in stale.arguments() {
            command.arg(argument);
        }
        let fates: Vec<i64> = self.change(&command, allowance).await?;
        let fate = |fate: i64| match fate {
            0 => Fate::Gone,
            1 => Fate::Removed,
            _ => Fate::Spared,
        };
        Ok(fates.into_iter().map(fate).collect())
    }
}

fn in_doubt(action: String, cause: &str) -> ReachError {
    let cause =
        format!("{cause} after the command had been sent; whether it happened is not known");
    ReachError::new(Obstacle::InDoubt, action, cause)
        .with_help("look at the server, and at the keys that it is about")
}

#[cfg(test)]
mod tests {
    use super::{RedisIdentity, refusal};

    #[test]
    fn only_a_master_of_its_own_is_written_to() {
        for (mode, role, refused) in [
            ("standalone", "master", false),
            ("standalone", "replica", true),
            ("cluster", "master", true),
            ("sentinel", "sentinel", true),
        ] {
            let identity = RedisIdentity {
                server: "h:6379".to_owned(),
                port: None,
                config_file: None,
                mode: mode.to_owned(),
                role: role.to_owned(),
                database: 0,
            };
            assert_eq!(refusal(&identity).is_some(), refused, "{mode} {role}");
        }
    }
}
