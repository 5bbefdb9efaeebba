//! `http.check`: whether a server answers over HTTP, as it should, in time, with a certificate that
//! still holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::{Expected, check_path};
use crate::base::Duration;
use crate::base::field::{Pattern, SecretText};
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::http::{BodyEnd, HttpAnswer, HttpRequest, SafeMethod, as_written};
use crate::host::tls::{Certificate, Trust};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};
use crate::steps::latency::{self, Limits};
use crate::steps::reach;

/// The type.
#[derive(Debug)]
pub struct Check;

/// How it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// With the body.
    #[default]
    Get,
    /// Without the body.
    Head,
}

/// Asks a server over HTTP and judges its answer: status, time, body, JSON, certificate.
///
/// Each is a finding of its own. Nobody listening, no answer within `timeout`, an answer that
/// breaks off, and a certificate that is not to be trusted are `critical`. A name that does not
/// resolve, a network of this machine that does not work and a `ca_file` that cannot be read say
/// nothing about the server: `unknown`.
///
/// `timeout` bounds everything from the name to the last byte of the body, so that a server that
/// sends one byte a second ends it too. At most 1 MiB of the body is read. No proxy is used,
/// whatever the environment says. Headers are not sent to other origins that a redirect leads to.
///
/// Secrets may flow into `url` and `headers`. Findings call the server by its URL as it is written,
/// without user and password and with secrets hidden; of the URL that a redirect leads to they show
/// neither user and password nor query and fragment.
///
/// # Changes
///
/// Nothing: GET and HEAD only.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: api-health
/// secrets:
///   api_token: { env: API_TOKEN }
/// steps:
///   - id: health
///     http.check:
///       url: https://api.example.org/health
///       headers: { Authorization: "Bearer ${{ secrets.api_token }}" }
///       warn: 500ms
///       fail: 2s
///       json: { status: ok, db.connected: true }
///       tls_warn: 21d
///       tls_fail: 7d
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What to ask for; `http://…` or `https://…`. Secrets may flow in here: as
    /// they are, so that one with `#`, `?` or `/` in it has to be percent-encoded already.
    pub url: SecretText,
    /// How to ask.
    #[serde(default)]
    pub method: Method,
    /// Headers to send; secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub headers: BTreeMap<String, String>,
    /// The statuses that are right; 200 to 299 by default.
    #[serde(default)]
    pub status: Vec<u16>,
    /// A longer time to the last byte is a warning.
    pub warn: Option<Duration>,
    /// A longer time to the last byte is critical.
    pub fail: Option<Duration>,
    /// What the body must contain.
    pub body_contains: Option<String>,
    /// What the body must match somewhere.
    pub body_matches: Option<Pattern>,
    /// Values that the body, as JSON, must have: paths such as `db.replicas.0.name` (or a JSON
    /// Pointer such as `/a.b/c`) and what stands there.
    #[serde(default)]
    pub json: Map<String, Value>,
    /// A certificate that holds no longer than this is a warning.
    #[serde(default = "three_weeks")]
    pub tls_warn: Duration,
    /// A certificate that holds no longer than this is critical.
    #[serde(default = "one_week")]
    pub tls_fail: Duration,
    /// A PEM file: the only authorities to trust, or the server's own certificate. This machine's
    /// authorities by default.
    pub ca_file: Option<PathBuf>,
    /// For everything, from the name to the last byte.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
    /// How many redirects are followed.
    #[serde(default)]
    #[schemars(range(max = 10))]
    pub follow_redirects: u8,
}

fn three_weeks() -> Duration {
    Duration::from_secs(21 * 86_400)
}

fn one_week() -> Duration {
    Duration::from_secs(7 * 86_400)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// How much of a body is read, in bytes.
const BODY_LIMIT: usize = 1 << 20;

/// What was answered. A value is null where it did not come to it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The status.
    pub status: Option<u16>,
    /// From the beginning to the last byte, in milliseconds.
    pub latency_ms: Option<f64>,
    /// How many bytes of the body were read.
    pub bytes: Option<u64>,
    /// The body, where it is JSON.
    pub json: Value,
    /// The certificate, where there is one.
    pub tls: Option<TlsOutputs>,
}

/// A server's certificate.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TlsOutputs {
    /// How many whole days it still holds; negative once it has expired.
    pub days_left: i64,
    /// Until when it holds; RFC 3339.
    pub not_after: String,
    /// Who signed it.
    pub issuer: String,
    /// The names and addresses that it is made out to.
    pub names: Vec<String>,
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            warn: self.warn,
            fail: self.fail,
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            contains: self.body_contains.as_deref(),
            matches: self.body_matches.as_ref(),
            json: &self.json,
        }
    }

    fn parsed_url(&self) -> Result<Url, String> {
        // The URL may hold a password: what the parser says of it does not repeat it.
        let url = Url::parse(self.url.expose()).map_err(|e| format!("`url` is not a URL: {e}"))?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            "http" | "https" => Err("`url` names no host".to_owned()),
            other => Err(format!(
                "`url` begins with `{other}:`; write `http://…` or `https://…`"
            )),
        }
    }

    fn header_map(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is not the name of a header"))?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| format!("the value of header `{name}` cannot be sent: it has a line break or a control character in it"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }

    fn is_right(&self, status: u16) -> bool {
        if self.status.is_empty() {
            (200..300).contains(&status)
        } else {
            self.status.contains(&status)
        }
    }
}

impl StepType for Check {
    const NAME: &'static str = "http.check";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.parsed_url()?;
        config.header_map()?;
        config.limits().check(config.timeout)?;
        if let Some(status) = config.status.iter().find(|s| !(100..600).contains(*s)) {
            return Err(format!("{status} is not an HTTP status (100 to 599)"));
        }
        if config.method == Method::Head && !config.expected().is_empty() {
            return Err(
                "the answer to HEAD has no body to look at; write `method: GET`".to_owned(),
            );
        }
        if config.body_contains.as_deref() == Some("") {
            return Err("`body_contains` is empty: every body contains that".to_owned());
        }
        if config.tls_fail > config.tls_warn {
            let (warn, fail) = (config.tls_warn, config.tls_fail);
            return Err(format!(
                "`tls_fail` ({fail}) is more than `tls_warn` ({warn})"
            ));
        }
        if config.follow_redirects > 10 {
            return Err("at most 10 redirects are followed".to_owned());
        }
        config.json.keys().try_for_each(|path| check_path(path))
    }

    fn describe(config: &Partial) -> Description {
        let method = config.text("method").unwrap_or_else(|| "GET".to_owned());
        let url = config.text("url").map(|text| as_written(&text));
        let url = url.unwrap_or_default();
        Description::line(format!("ask {method} {url}"))
    }
}

impl Look for Check {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let url = config.parsed_url().map_err(StepError::permanent)?;
        // Hidden before anything is cut off: half a secret is not found any more.
        let subject = as_written(&host.scope().shared.redactor.text(config.url.expose()));
        let request = HttpRequest {
            method: match config.method {
                Method::Get => SafeMethod::Get,
                Method::Head => SafeMethod::Head,
            },
            headers: config.header_map().map_err(StepError::permanent)?,
            trust: config.ca_file.clone().map_or(Trust::System, Trust::File),
            timeout: config.timeout,
            redirects: config.follow_redirects,
            body_limit: BODY_LIMIT,
            url,
            name: subject.clone(),
        };
        let exchange = host.http(request).await;
        let now = host.scope().clock().wall();
        let mut findings = Vec::new();
        let mut outputs = Outputs::default();
        match exchange.answer {
            Ok(answer) => {
                judge(&config, &subject, answer, &mut findings, &mut outputs)?;
                let certificate = exchange.certificate.as_ref();
                findings.extend(certificate.map(|c| expiry(&config, &subject, c, now)));
            }
            Err(error) => findings.push(reach::finding(&subject, error)?),
        }
        outputs.tls = exchange.certificate.map(|certificate| TlsOutputs {
            days_left: certificate.days_left(now),
            not_after: certificate.not_after.to_string(),
            issuer: certificate.issuer,
            names: certificate.names,
        });
        Ok(Outcome::unchanged(outputs).with_findings(findings))
    }
}

fn judge(
    config: &Config,
    subject: &str,
    answer: HttpAnswer,
    findings: &mut Vec<Finding>,
    outputs: &mut Outputs,
) -> Result<(), StepError> {
    findings.push(status(config, subject, &answer));
    outputs.status = Some(answer.status);
    outputs.bytes = Some(answer.body.len() as u64);
    let truncated = matches!(answer.body_end, BodyEnd::Truncated);
    if let BodyEnd::Failed(error) = answer.body_end {
        // What the whole body holds, and how long it takes, is not known; that it breaks off is.
        findings.push(reach::finding(subject, error)?);
        return Ok(());
    }
    outputs.latency_ms = Some(latency::millis(answer.took));
    findings.extend(config.limits().finding(subject, answer.took));
    let (body, json) = config.expected().judge(subject, &answer.body, truncated);
    findings.extend(body);
    outputs.json = json;
    Ok(())
}

fn status(config: &Config, subject: &str, answer: &HttpAnswer) -> Finding {
    let status = answer.status;
    let took = latency::shown(answer.took);
    if config.is_right(status) {
        return Finding::ok(subject, format!("it answered {status} in {took}"));
    }
    let right = if config.status.is_empty() {
        "200 to 299".to_owned()
    } else {
        let right: Vec<String> = config.status.iter().map(u16::to_string).collect();
        right.join(" or ")
    };
    let finding = Finding::critical(
        subject,
        format!("it answered {status} in {took}, and {right} is right"),
    );
    match &answer.location {
        Some(location) => finding.with_help(format!(
            "it points to {location}: check that, or follow with `follow_redirects` (never from \
             https to http)"
        )),
        None => finding,
    }
}

fn expiry(
    config: &Config,
    subject: &str,
    certificate: &Certificate,
    now: jiff::Timestamp,
) -> Finding {
    let seconds = certificate.not_after.as_second() - now.as_second();
    let left = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let days = certificate.days_left(now);
    let day = certificate.not_after.strftime("%Y-%m-%d");
    let level = if left <= config.tls_fail {
        Level::Critical
    } else if left <= config.tls_warn {
        Level::Warning
    } else {
        Level::Ok
    };
    let (limit, than) = match level {
        Level::Critical => (config.tls_fail, "no more than"),
        Level::Warning => (config.tls_warn, "no more than"),
        _ => (config.tls_warn, "more than"),
    };
    let message = format!("its certificate holds {days} more days, until {day}: {than} {limit}");
    let finding = Finding::new(level, subject, message);
    match level {
        Level::Ok => finding,
        _ => finding.with_help("renew it"),
    }
}
