//! `postgres.settings`: what a server is set to, and whether it is what it should be.

mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::value::{Domain, shown};
use super::asking::{self, Asking, Server, thirty_seconds};
use crate::base::Duration;
use crate::base::suggest::nearest;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Settings;

/// Puts out the settings of a PostgreSQL server, and compares them with what they should be.
///
/// Values are those that a new session of this login gets: what its role or its database is set to
/// counts. They are compared as the server itself reads them: `1GB` and `1024MB` are the same, and `5min`
/// and `300s`; `true` is `on`; in lists the space between does not count. What differs is critical. A
/// setting that waits for a restart of the server is a warning, whether it is expected or not.
///
/// What this login may not see is not there, and expected it is `unknown`. Values in which a password
/// stands, as it may in `primary_conninfo`, are put out as null.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: settings-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: settings
///     postgres.settings:
///       connection: main
///       expect: { shared_buffers: 4GB, max_connections: 200, autovacuum: on, fsync: on }
///   - id: timeout
///     flow.set: { values: { timeout: "${{ steps.settings.outputs.settings.statement_timeout.value }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Postgres>,
    /// What settings should be, by name: text, a number or a boolean.
    #[serde(default)]
    pub expect: BTreeMap<String, Value>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// What the server is set to.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// Every setting that this login may see, by name.
    pub settings: BTreeMap<String, Setting>,
    /// The names of those that are not as expected.
    pub deviating: Vec<String>,
    /// The names of those that wait for a restart.
    pub pending_restart: Vec<String>,
}

/// A setting.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Setting {
    /// Its value, as a text; a number counts in `unit`. Null where a password stands in it.
    pub value: Option<String>,
    /// What a number counts: `8kB`, `ms`, …; null where it is none, or just a number.
    pub unit: Option<String>,
    /// Where it comes from: `default`, `configuration file`, `database`, `user`, `client`, …; null for
    /// the few that this very look is asked under.
    pub source: Option<String>,
    /// Whether it was changed in the configuration, and waits for a restart of the server.
    pub pending_restart: bool,
}

/// A row of `pg_settings`.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    name: String,
    value: String,
    unit: Option<String>,
    vartype: String,
    source: Option<String>,
    pending_restart: bool,
}

// What our own transaction is begun with (`statement_timeout`, `search_path`) is ours alone: `reset_val` is
// what the session had before, and where that came from the server does not say.
const SETTINGS: &str = "SELECT name, unit, vartype, pending_restart, \
     coalesce(CASE source WHEN 'session' THEN reset_val ELSE setting END, '') AS value, \
     CASE WHEN source <> 'session' THEN source END AS source \
     FROM pg_settings ORDER BY 1";

impl StepType for Settings {
    const NAME: &'static str = "postgres.settings";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        match { config.expect.iter() }.find(|(_, wanted)| value::text(wanted).is_none()) {
            Some((name, _)) => Err(format!(
                "`expect.{name}` is neither a text nor a number nor a boolean"
            )),
            None => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("look at the settings of `{connection}`"))
    }
}

impl Look for Settings {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let rows = ask(asking).await?;
            let findings = judge(&config, asking.shown(), &rows, outputs);
            outputs.settings = rows
                .into_iter()
                .map(|row| (row.name.clone(), row.into()))
                .collect();
            Ok(findings)
        })
        .await
    }
}

async fn ask(asking: &Asking<'_>) -> Result<Vec<Row>, ReachError> {
    asking.records(SETTINGS, &[]).await
}

impl From<Row> for Setting {
    fn from(row: Row) -> Self {
        Self {
            value: (!row.holds_password()).then_some(row.value),
            unit: row.unit,
            source: row.source,
            pending_restart: row.pending_restart,
        }
    }
}

impl Row {
    /// Whether there is a password in it: in a connection string (libpq, "Connection Strings") of either
    /// kind, wherever it stands.
    fn holds_password(&self) -> bool {
        let value = self.value.to_ascii_lowercase();
        let pair = { value.match_indices("password") }.any(|(at, word)| {
            let behind = value[at + word.len()..].trim_start();
            behind.starts_with('=') && !behind[1..].trim_start().is_empty()
        });
        let in_url = { value.split("://").skip(1) }.any(|rest| {
            let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
            { authority.rsplit_once('@') }.is_some_and(|(user, _)| user.contains(':'))
        });
        pair || in_url
    }

    fn shown(&self) -> String {
        match self.holds_password() {
            true => "(there is a password in it)".to_owned(),
            false => shown(&self.value, self.unit.as_deref()),
        }
    }

    fn is(&self, wanted: &str) -> Result<bool, String> {
        let domain = Domain {
            name: &self.name,
            vartype: &self.vartype,
            unit: self.unit.as_deref(),
        };
        domain.is_same(wanted, &self.value)
    }
}

fn judge(config: &Config, at: &str, rows: &[Row], outputs: &mut Outputs) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, wanted) in &config.expect {
        let Some(wanted) = value::text(wanted) else {
            continue;
        };
        // The server does not care for the case of a name (`DateStyle`).
        let Some(row) = rows.iter().find(|row| row.name.eq_ignore_ascii_case(name)) else {
            findings.push(missing(name, rows));
            continue;
        };
        match row.is(&wanted) {
            Ok(true) => {}
            Ok(false) => {
                outputs.deviating.push(row.name.clone());
                findings.push(deviation(row, &wanted));
            }
            Err(why) => {
                let message = format!("{} cannot be compared: {why}", row.name);
                let help = "write the value as `postgresql.conf` would";
                findings.push(Finding::unknown(&row.name, message).with_help(help));
            }
        }
    }
    if findings.is_empty() {
        let what = match config.expect.len() {
            0 => format!("{at} has {} settings", rows.len()),
            1 => format!("{at} is set as expected: 1 setting"),
            many => format!("{at} is set as expected: {many} settings"),
        };
        findings.push(Finding::ok(&config.connection.name, what));
    }
    for row in rows.iter().filter(|row| row.pending_restart) {
        outputs.pending_restart.push(row.name.clone());
        let message = format!(
            "{} was changed in the configuration, and stays {} until the server is restarted",
            row.name,
            row.shown()
        );
        let help = "`pg_file_settings` says what it will be";
        findings.push(Finding::warning(&row.name, message).with_help(help));
    }
    findings
}

fn deviation(row: &Row, wanted: &str) -> Finding {
    let source = { row.source.as_ref() }.map_or_else(String::new, |source| format!(" ({source})"));
    let message = format!(
        "{} is {}{source}, and should be {wanted}",
        row.name,
        row.shown()
    );
    let finding = Finding::critical(&row.name, message);
    match row.pending_restart {
        true => finding.with_help("it waits for a restart of the server"),
        false => finding,
    }
}

fn missing(name: &str, rows: &[Row]) -> Finding {
    let message = format!("there is no setting `{name}`, or this login may not see it");
    let help = match nearest(name, rows.iter().map(|row| row.name.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            "some are shown to members of `pg_read_all_settings` alone; those of a library once it \
                 is loaded"
                .to_owned()
        }
    };
    Finding::unknown(name, message).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::{Config, Outputs, Row, Settings, judge};
    use crate::event::Level;
    use crate::step::StepType as _;
    use serde_json::{Value, json};

    fn config(expect: Value) -> Config {
        serde_json::from_value(json!({ "connection": "main", "expect": expect })).unwrap()
    }

    fn row(name: &str, value: &str, vartype: &str, unit: Option<&str>) -> Row {
        Row {
            name: name.to_owned(),
            value: value.to_owned(),
            unit: unit.map(str::to_owned),
            vartype: vartype.to_owned(),
            source: Some("default".to_owned()),
            pending_restart: false,
        }
    }

    #[test]
    fn deviations_are_critical_and_what_cannot_be_compared_unknown() {
        let rows = [
            row("shared_buffers", "16384", "integer", Some("8kB")),
            row("autovacuum", "on", "bool", None),
            row("DateStyle", "ISO, MDY", "string", None),
        ];
        for (expect, level, message) in [
            (json!({}), Level::Ok, "has 3 settings"),
            (
                json!({ "shared_buffers": "128MB", "autovacuum": true, "datestyle": "iso,mdy" }),
                Level::Ok,
                "as expected",
            ),
            (json!({ "shared_buffers": 16384 }), Level::Ok, "as expected"),
            (
                json!({ "shared_buffers": "1GB" }),
                Level::Critical,
                "shared_buffers is 128MB (default), and should be 1GB",
            ),
            (
                json!({ "autovacuum": "off" }),
                Level::Critical,
                "autovacuum is on",
            ),
            (
                json!({ "shared_buffers": "1GiB" }),
                Level::Unknown,
                "cannot be compared",
            ),
            (
                json!({ "shared_bufers": "1GB" }),
                Level::Unknown,
                "no setting",
            ),
        ] {
            let found = judge(
                &config(expect.clone()),
                "shop",
                &rows,
                &mut Outputs::default(),
            );
            assert_eq!(found.len(), 1, "{expect}");
            assert_eq!(found[0].level, level, "{expect}");
            assert!(found[0].message.contains(message), "{}", found[0].message);
        }
        assert!(Settings::check(&config(json!({ "x": [1] }))).is_err());
    }

    #[test]
    fn what_waits_for_a_restart_is_a_warning() {
        let pending = Row {
            pending_restart: true,
            ..row("max_connections", "100", "integer", None)
        };
        let mut outputs = Outputs::default();
        let found = judge(&config(json!({})), "shop", &[pending], &mut outputs);
        assert_eq!(found.last().unwrap().level, Level::Warning);
        assert_eq!(outputs.pending_restart, ["max_connections"]);
    }

    #[test]
    fn passwords_are_not_put_out() {
        for (value, holds) in [
            ("host=a user=b password=c", true),
            ("host=a password = 'c'", true),
            ("user=b sslPassword=c", true),
            ("postgres://b:c@a/d", true),
            ("cp %p s3://b:c@host/%f", true),
            ("host=a user=b passfile=/root/.pgpass", false),
            ("postgres://b@a:5432/d", false),
            ("scram-sha-256", false),
        ] {
            let row = row("primary_conninfo", value, "string", None);
            assert_eq!(row.holds_password(), holds, "{value}");
        }
    }
}
