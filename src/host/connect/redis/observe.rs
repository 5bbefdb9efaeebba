//! Sessions that may only look: a method for each command that does, and no way to send any other.

use redis::{Value, cmd};

use super::info::Info;
use super::session::Session;
use super::stale::{Rest, Stale};
use crate::host::Scope;
use crate::host::net::Allowance;
use crate::host::reach::ReachError;

/// A session that may only look.
#[derive(Debug)]
pub struct RedisObserve<'a> {
    pub(super) scope: &'a Scope,
    pub(super) session: Session,
}

/// What is scanned in portions: where to go on, 0 at the end, and what was found. A portion may be
/// empty before the end, and what was found may be found again: `SCAN`'s guarantees.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Where to go on.
    pub cursor: u64,
    /// What was found.
    pub found: Vec<T>,
}

/// For how long a key will live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// There is no such key.
    Gone,
    /// It has no time to live.
    Unlimited,
    /// So many milliseconds.
    Millis(u64),
}

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowCommand {
    /// Its number in the log.
    pub id: u64,
    /// When, in seconds since 1970 by the server's clock.
    pub at: i64,
    /// How long it ran, in microseconds.
    pub micros: u64,
    /// Its words; the server cuts long ones and many.
    pub words: Vec<Vec<u8>>,
    /// Who sent it: address and port.
    pub client: String,
    /// What that one calls itself.
    pub name: String,
}

impl RedisObserve<'_> {
    /// The server, for people: `127.0.0.1:6379 as app`.
    pub fn shown(&self) -> &str {
        &self.session.shown
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.session.encrypted
    }

    /// The number of the database.
    pub fn database(&self) -> i64 {
        self.session.database
    }

    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        self.session.ask(self.scope, command, allowance).await
    }

    /// Whether it answers at all.
    ///
    /// # Errors
    /// When it does not, or with something else than it should.
    pub async fn ping(&self, allowance: Allowance) -> Result<(), ReachError> {
        let answer: String = self.ask(&cmd("PING"), allowance).await?;
        if answer == "PONG" {
            return Ok(());
        }
        let cause = format!("it answers `{answer}`, not `PONG`");
        Err(self.session.garbled(cause))
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn info(&self, allowance: Allowance) -> Result<Info, ReachError> {
        let text: String = self.ask(&cmd("INFO"), allowance).await?;
        Ok(Info::parse(&text))
    }

    /// A setting, such as `slowlog-max-len`; none where it does not know one of this name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn setting(
        &self,
        name: &str,
        allowance: Allowance,
    ) -> Result<Option<String>, ReachError> {
        let command = cmd("CONFIG").arg("GET").arg(name).to_owned();
        let found: Vec<String> = self.ask(&command, allowance).await?;
        Ok(found.into_iter().nth(1))
    }

    /// The server's clock, in seconds since 1970.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn now(&self, allowance: Allowance) -> Result<f64, ReachError> {
        let (seconds, micros): (f64, f64) = self.ask(&cmd("TIME"), allowance).await?;
        Ok(seconds + micros / 1e6)
    }

    /// The newest `limit` commands that took long, the newest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn slow_commands(
        &self,
        limit: u32,
        allowance: Allowance,
    ) -> Result<Vec<SlowCommand>, ReachError> {
        let command = cmd("SLOWLOG").arg("GET").arg(limit).to_owned();
        let entries: Vec<Value> = self.ask(&command, allowance).await?;
        let read = entries.iter().map(slow_command).collect::<Option<_>>();
        read.ok_or_else(|| self.session.garbled("its slow log is not one"))
    }

    /// How many keys the database has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn key_count(&self, allowance: Allowance) -> Result<u64, ReachError> {
        self.ask(&cmd("DBSIZE"), allowance).await
    }

    /// A portion of the keys that `pattern` matches.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn scan(
        &self,
        cursor: u64,
        pattern: &str,
        count: u32,
        allowance: Allowance,
    ) -> Result<Page<Vec<u8>>, ReachError> {
        let mut command = cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern);
        command.arg("COUNT").arg(count);
        let (cursor, found) = self.ask(&command, allowance).await?;
        Ok(Page { cursor, found })
    }

    /// Which of `keys` there are.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn are_there(
        &self,
        keys: &[Vec<u8>],
        allowance: Allowance,
    ) -> Result<Vec<bool>, ReachError> {
        let mut commands = redis::pipe();
        for key in keys {
            commands.cmd("EXISTS").arg(key.as_slice());
        }
        let answers = self
            .session
            .ask_all(self.scope, &commands, allowance)
            .await?;
        Ok(answers
            .iter()
            .map(|answer| *answer == Value::Int(1))
            .collect())
    }

    /// How each of `keys` stands, as far as `stale` asks; none where it is gone. Asking touches none, but
    /// each question counts as a read that found its key (`keyspace_hits`).
    ///
    /// # Errors
    /// When it does not answer, or does not know: under an LFU policy.
    pub async fn rests(
        &self,
        keys: &[Vec<u8>],
        stale: Stale,
        allowance: Allowance,
    ) -> Result<Vec<Option<Rest>>, ReachError> {
        let (idle, ttl) = (stale.idle_s.is_some(), stale.without_ttl);
        let mut commands = redis::pipe();
        for key in keys {
            if idle {
                commands.cmd("OBJECT").arg("IDLETIME").arg(key.as_slice());
            }
            if ttl {
                commands.cmd("PTTL").arg(key.as_slice());
            }
        }
        let answers = self
            .session
            .ask_all(self.scope, &commands, allowance)
            .await?;
        let of = |answers: &[Value]| {
            let mut answers = answers.iter();
            let mut rest = Rest::default();
            if idle {
                let Some(Value::Int(seconds)) = answers.next() else {
                    return None;
                };
                rest.idle_s = Some(u64::try_from(*seconds).unwrap_or(0));
            }
            if ttl {
                match answers.next() {
                    Some(Value::Int(-2)) | None => return None,
                    Some(life) => rest.has_ttl = Some(*life != Value::Int(-1)),
                }
            }
            Some(rest)
        };
        let size = usize::from(idle) + usize::from(ttl);
        Ok(answers.chunks(size.max(1)).map(of).collect())
    }

    /// What a key holds: `string`, `hash`, `list`, `set`, `zset`, `stream`, …; `none` where it is not
    /// there.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn kind(&self, key: &str, allowance: Allowance) -> Result<String, ReachError> {
        self.ask(cmd("TYPE").arg(key), allowance).await
    }

    /// For how long a key will live.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn life(&self, key: &str, allowance: Allowance) -> Result<Life, ReachError> {
        let millis: i64 = self.ask(cmd("PTTL").arg(key), allowance).await?;
        Ok(match u64::try_from(millis) {
            Ok(millis) => Life::Millis(millis),
            Err(_) if millis == -1 => Life::Unlimited,
            Err(_) => Life::Gone,
        })
    }

    /// How much a key of `kind` holds: bytes of a string, items of others; none for kinds that are not
    /// known.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn length(
        &self,
        key: &str,
        kind: &str,
        allowance: Allowance,
    ) -> Result<Option<u64>, ReachError> {
        let command = match kind {
            "string" => "STRLEN",
            "hash" => "HLEN",
            "list" => "LLEN",
            "set" => "SCARD",
            "zset" => "ZCARD",
            "stream" => "XLEN",
            _ => return Ok(None),
        };
        self.ask(cmd(command).arg(key), allowance).await.map(Some)
    }

    /// The first `bytes` bytes of a string; empty where it is not there.
    ///
    /// # Errors
    /// When it does not answer, or the key holds something else.
    pub async fn text(
        &self,
        key: &str,
        bytes: u64,
        allowance: Allowance,
    ) -> Result<Vec<u8>, ReachError> {
        let Some(last) = bytes.checked_sub(1) else {
            return Ok(Vec::new());
        };
        self.ask(cmd("GETRANGE").arg(key).arg(0).arg(last), allowance)
            .await
    }

    /// A portion of a hash's fields with their values.
    ///
    /// # Errors
    /// When it does not answer, or the key holds something else.
    pub async fn fields(
        &self,
        key: &str,
        cursor: u64,
        count: u64,
        allowance: Allowance,
    ) -> Result<Page<(Vec<u8>, Vec<u8>)>, ReachError> {
        let mut command = cmd("HSCAN");
        command.arg(key).arg(cursor).arg("COUNT").arg(count);
        let (cursor, found) = self.ask(&command, allowance).await?;
        Ok(Page { cursor, found })
    }

    /// A portion of a set's members.
    ///
    /// # Errors
    /// When it does not answer, or the key holds something else.
    pub async fn members(
        &self,
        key: &str,
        cursor: u64,
        count: u64,
        allowance: Allowance,
    ) -> Result<Page<Vec<u8>>, ReachError> {
        let mut command = cmd("SSCAN");
        command.arg(key).arg(cursor).arg("COUNT").arg(count);
        let (cursor, found) = self.ask(&command, allowance).await?;
        Ok(Page { cursor, found })
    }

    /// The first `max` items of a list.
    ///
    /// # Errors
    /// When it does not answer, or the key holds something else.
    pub async fn items(
        &self,
        key: &str,
        max: u64,
        allowance: Allowance,
    ) -> Result<Vec<Vec<u8>>, ReachError> {
        let Some(last) = max.checked_sub(1) else {
            return Ok(Vec::new());
        };
        self.ask(cmd("LRANGE").arg(key).arg(0).arg(last), allowance)
            .await
    }

    /// The `max` members of a sorted set with the lowest scores, and these.
    ///
    /// # Errors
    /// When it does not answer, or the key holds something else.
    pub async fn ranked(
        &self,
        key: &str,
        max: u64,
        allowance: Allowance,
    ) -> Result<Vec<(Vec<u8>, f64)>, ReachError> {
        let Some(last) = max.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut command = cmd("ZRANGE");
        command.arg(key).arg(0).arg(last).arg("WITHSCORES");
        self.ask(&command, allowance).await
    }
}

/// An entry of the slow log: number, time, microseconds, words, and from Redis 4 on who sent it.
fn slow_command(entry: &Value) -> Option<SlowCommand> {
    fn read<T: redis::FromRedisValue>(value: Option<&Value>) -> Option<T> {
        redis::from_redis_value_ref(value?).ok()
    }
    let Value::Array(parts) = entry else {
        return None;
    };
    Some(SlowCommand {
        id: read(parts.first())?,
        at: read(parts.get(1))?,
        micros: read(parts.get(2))?,
        words: read(parts.get(3))?,
        client: read(parts.get(4)).unwrap_or_default(),
        name: read(parts.get(5)).unwrap_or_default(),
    })
}
