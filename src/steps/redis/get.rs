//! `redis.get`: what one key holds.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::asking::{self, Asking, check_timeout, thirty_seconds};
use crate::base::{ByteSize, Duration};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::redis::{Life, Redis};
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Get;

/// Reads what one key of a Redis database holds: a string as text, a hash as a mapping, a list or a set
/// as a list, a sorted set as a list of `{ member, score }`, the lowest score first.
///
/// A key that is not there is no error: `exists` is false. Of a long one the beginning is read, and
/// `truncated` is true. What is not text (UTF-8) is given as base64, then all that the key holds is, and
/// `encoding` says so. Streams and what modules keep are not read (`unknown`); `max: 0` asks for type,
/// length and time to live alone.
///
/// What is read is an output, and stands in the record of the run.
///
/// # Changes
///
/// Nothing. (To Redis, to read a key is to use it: its idle time begins anew.)
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: maintenance-mode
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: mode
///     redis.get: { connection: cache, key: maintenance }
///   - id: off
///     flow.assert:
///       that: [not steps.mode.outputs.exists]
///       message: The platform is in maintenance
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Redis>,
    /// The key.
    pub key: String,
    /// How many items of a hash, list, set or sorted set are read; 0 reads nothing of what it holds.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max: u64,
    /// How much of a string is read.
    #[serde(default = "sixty_four_kib")]
    pub max_size: ByteSize,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn hundred() -> u64 {
    100
}

fn sixty_four_kib() -> ByteSize {
    ByteSize(64 << 10)
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As they are: they are UTF-8.
    Text,
    /// In base64: they are not.
    Base64,
}

/// What the key holds.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// Whether there is such a key; null where that could not be asked.
    pub exists: Option<bool>,
    /// `string`, `hash`, `list`, `set`, `zset`, `stream`, …; null where it is not there.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// For how many more seconds it will live; null where it has no time to live, or is not there.
    pub ttl_s: Option<f64>,
    /// How much it holds: bytes of a string, items of others.
    pub length: Option<u64>,
    /// What it holds; null where that was not read.
    pub value: Value,
    /// How the texts in `value` are written; null where nothing was read.
    pub encoding: Option<Encoding>,
    /// Whether it holds more than what was read.
    pub truncated: bool,
}

impl StepType for Get {
    const NAME: &'static str = "redis.get";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_timeout(config.timeout)?;
        match config.max > 100_000 {
            true => Err("`max` is at most 100000".to_owned()),
            false => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let key = config.text("key").unwrap_or_default();
        Description::line(format!("read `{key}` of Redis `{connection}`"))
    }
}

impl Look for Get {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let (connection, timeout) = (&config.connection, config.timeout);
        let outputs = Outputs::default();
        asking::look(
            host,
            connection,
            timeout,
            outputs,
            async |asking, outputs| {
                let mut read = read(&config, asking, outputs).await;
                // It became something else between two questions.
                if read
                    .as_ref()
                    .is_err_and(|error| error.cause.starts_with("WRONGTYPE"))
                {
                    *outputs = Outputs::default();
                    read = self::read(&config, asking, outputs).await;
                }
                read
            },
        )
        .await
    }
}

/// What a key holds, as the server keeps it.
enum Held {
    Text(Vec<u8>),
    Fields(BTreeMap<Vec<u8>, Vec<u8>>),
    Items(Vec<Vec<u8>>),
    Ranked(Vec<(Vec<u8>, f64)>),
}

async fn read(
    config: &Config,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let Asking { session, allowance } = asking;
    let (key, allowance) = (config.key.as_str(), *allowance);
    let kind = session.kind(key, allowance).await?;
    let life = session.life(key, allowance).await?;
    outputs.exists = Some(kind != "none" && life != Life::Gone);
    if outputs.exists == Some(false) {
        return Ok(Vec::new());
    }
    if let Life::Millis(millis) = life {
        outputs.ttl_s = Some(millis as f64 / 1000.0);
    }
    let length = session.length(key, &kind, allowance).await?;
    outputs.length = length;
    outputs.kind = Some(kind.clone());
    if config.max == 0 {
        outputs.truncated = length != Some(0);
        return Ok(Vec::new());
    }
    let Some(held) = hold(config, asking, &kind).await? else {
        outputs.truncated = true;
        let message = format!("`{key}` is a {kind}, which is not read");
        let finding = Finding::unknown(&config.connection.name, message);
        return Ok(vec![finding.with_help(
            "`max: 0` asks for type, length and time to live alone",
        )]);
    };
    let length = length.unwrap_or(0);
    let whole = match &held {
        Held::Text(bytes) => bytes.len() as u64 >= length,
        Held::Fields(fields) => fields.len() as u64 >= length,
        Held::Items(items) => items.len() as u64 >= length,
        Held::Ranked(ranked) => ranked.len() as u64 >= length,
    };
    outputs.truncated = !whole;
    let (value, encoding) = written(held, whole);
    (outputs.value, outputs.encoding) = (value, Some(encoding));
    Ok(Vec::new())
}

async fn hold(
    config: &Config,
    asking: &Asking<'_>,
    kind: &str,
) -> Result<Option<Held>, ReachError> {
    let Asking { session, allowance } = asking;
    let (key, max, allowance) = (config.key.as_str(), config.max, *allowance);
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    Ok(Some(match kind {
        "string" => Held::Text(session.text(key, config.max_size.0, allowance).await?),
        "list" => Held::Items(session.items(key, max, allowance).await?),
        "zset" => Held::Ranked(session.ranked(key, max, allowance).await?),
        "hash" => {
            let mut fields = BTreeMap::new();
            let mut cursor = 0;
            loop {
                let page = session.fields(key, cursor, max, allowance).await?;
                fields.extend(page.found);
                cursor = page.cursor;
                if cursor == 0 || fields.len() >= most {
                    break Held::Fields(fields.into_iter().take(most).collect());
                }
            }
        }
        "set" => {
            let mut members = BTreeSet::new();
            let mut cursor = 0;
            loop {
                let page = session.members(key, cursor, max, allowance).await?;
                members.extend(page.found);
                cursor = page.cursor;
                if cursor == 0 || members.len() >= most {
                    break Held::Items(members.into_iter().take(most).collect());
                }
            }
        }
        _ => return Ok(None),
    }))
}

/// As JSON: as text where all of it is, else all of it in base64.
fn written(mut held: Held, whole: bool) -> (Value, Encoding) {
    if let Held::Text(bytes) = &mut held
        && !whole
    {
        // A character that was cut in two.
        if let Err(error) = std::str::from_utf8(bytes)
            && error.error_len().is_none()
        {
            bytes.truncate(error.valid_up_to());
        }
    }
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
    let all_text = match &held {
        Held::Text(bytes) => is_text(bytes),
        Held::Fields(fields) => fields
            .iter()
            .all(|(name, value)| is_text(name) && is_text(value)),
        Held::Items(items) => items.iter().all(|item| is_text(item)),
        Held::Ranked(ranked) => ranked.iter().all(|(member, _)| is_text(member)),
    };
    let encoding = if all_text {
        Encoding::Text
    } else {
        Encoding::Base64
    };
    let text = |bytes: Vec<u8>| match encoding {
        Encoding::Text => String::from_utf8_lossy(&bytes).into_owned(),
        Encoding::Base64 => STANDARD.encode(bytes),
    };
    let value = match held {
        Held::Text(bytes) => Value::String(text(bytes)),
        Held::Fields(fields) => {
            let fields = fields.into_iter();
            let fields: Map<String, Value> = fields
                .map(|(name, value)| (text(name), Value::String(text(value))))
                .collect();
            Value::Object(fields)
        }
        Held::Items(items) => items.into_iter().map(text).collect(),
        Held::Ranked(ranked) => ranked
            .into_iter()
            // An infinite score is no number of JSON's.
            .map(|(member, score)| match score.is_finite() {
                true => json!({ "member": text(member), "score": score }),
                false => json!({ "member": text(member), "score": score.to_string() }),
            })
            .collect(),
    };
    (value, encoding)
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Held, written};
    use serde_json::json;

    #[test]
    fn text_is_text_and_everything_else_is_base64() {
        let (value, encoding) = written(Held::Text("a\né".into()), true);
        assert_eq!((value, encoding), (json!("a\né"), Encoding::Text));
        let (value, encoding) = written(Held::Text(vec![0xff, 0]), true);
        assert_eq!((value, encoding), (json!("/wA="), Encoding::Base64));
        let items = vec![b"a".to_vec(), vec![0xff]];
        let (value, encoding) = written(Held::Items(items), true);
        assert_eq!(
            (value, encoding),
            (json!(["YQ==", "/w=="]), Encoding::Base64)
        );
        let ranked = vec![(b"a".to_vec(), 1.5), (b"b".to_vec(), f64::INFINITY)];
        let (value, _) = written(Held::Ranked(ranked), true);
        assert_eq!(value[0], json!({ "member": "a", "score": 1.5 }));
        assert_eq!(value[1]["score"], "inf");
    }

    #[test]
    fn a_character_that_was_cut_in_two_makes_no_binary_of_a_text() {
        let cut = "aé".as_bytes()[..2].to_vec();
        assert_eq!(
            written(Held::Text(cut.clone()), false),
            (json!("a"), Encoding::Text)
        );
        assert_eq!(written(Held::Text(cut), true).1, Encoding::Base64);
    }
}
