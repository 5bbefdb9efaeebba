//! A bucket as a witness: one object a checkpoint, which object lock keeps from being changed or
//! deleted until a day that was set with it.
//!
//! A bucket with object lock keeps every version: one that somebody put over it later, or a marker
//! that it was deleted, hides nothing from [`Kind::recall`], which reads all versions.

use std::path::PathBuf;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation,
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{ObjectLockMode, ObjectVersion};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Credential, Doing, Kind, Notice};
use crate::base::Duration;
use crate::host::{HostError, files};

/// How many objects are read side by side.
const SIDE_BY_SIDE: usize = 16;

/// A bucket of S3, or of what speaks its protocol.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// The bucket. With `retain_for` it needs object lock.
    bucket: String,
    /// What the objects' names begin with, such as `runbook/`
    #[serde(default)]
    prefix: String,
    /// `us-east-1` by default
    #[serde(default)]
    region: Option<String>,
    /// The server, such as `https://s3.example.org`; that of AWS by default. The bucket's name is put
    /// into the path.
    #[serde(default)]
    endpoint: Option<String>,
    /// A PEM file, with `https`: the only authorities to trust
    #[serde(default)]
    ca_file: Option<PathBuf>,
    /// The id of the access key
    access_key_id: Credential,
    /// Its secret
    secret_access_key: Credential,
    /// How long object lock keeps each checkpoint; without it, nothing does
    #[serde(default)]
    retain_for: Option<Duration>,
    /// With `retain_for`: who may end that early. `compliance`, the default: nobody
    #[serde(default)]
    mode: Mode,
}

/// How object lock keeps an object.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Nobody may delete it before its time
    #[default]
    Compliance,
    /// Those with a permission of their own may
    Governance,
}

impl S3 {
    fn client(&self) -> Result<Client, HostError> {
        let id = self.access_key_id.read("`access_key_id`")?;
        let secret = self.secret_access_key.read("`secret_access_key`")?;
        let mut store = TrustStore::empty();
        match &self.ca_file {
            Some(path) => store.add_pem_certificate(files::read_limited(path, 4 << 20)?),
            None => {
                store = store.with_native_roots(true);
                &mut store
            }
        };
        let tls = TlsContext::builder().with_trust_store(store).build();
        let tls = tls.map_err(|e| HostError::permanent("set up TLS", e.to_string()))?;
        let http = Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(tls)
            .build_https();
        let region = self
            .region
            .clone()
            .unwrap_or_else(|| "us-east-1".to_owned());
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(Credentials::new(id, secret, None, None, "runbook"))
            .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .http_client(http);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        Ok(Client::from_conf(config.build()))
    }

    /// `s3://bucket/prefix`.
    fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    async fn versions(&self, client: &Client) -> Result<Vec<ObjectVersion>, HostError> {
        let mut found = Vec::new();
        let (mut key, mut version) = (None, None);
        loop {
            let page = client
                .list_object_versions()
                .bucket(&self.bucket)
                .prefix(&self.prefix)
                .set_key_marker(key)
                .set_version_id_marker(version)
                .send()
                .await;
            let page = page.map_err(|error| {
                HostError::transient(format!("list {}", self.place()), cause(&error))
            })?;
            found.extend(page.versions().iter().cloned());
            if page.is_truncated() != Some(true) {
                return Ok(found);
            }
            key = page.next_key_marker().map(str::to_owned);
            version = page.next_version_id_marker().map(str::to_owned);
            if key.is_none() {
                let action = format!("list {}", self.place());
                return Err(HostError::permanent(action, "the list breaks off"));
            }
        }
    }

    async fn read(&self, client: &Client, object: ObjectVersion) -> Result<String, HostError> {
        let key = object.key().unwrap_or_default();
        let action = format!("read s3://{}/{key}", self.bucket);
        let answer = client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .set_version_id(object.version_id().map(str::to_owned))
            .send()
            .await;
        let answer = answer.map_err(|error| HostError::transient(&action, cause(&error)))?;
        let bytes = answer.body.collect().await;
        let bytes = bytes.map_err(|error| HostError::transient(&action, error.to_string()))?;
        Ok(String::from_utf8_lossy(&bytes.into_bytes()).into_owned())
    }
}

impl Kind for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    fn check(&self) -> Result<(), String> {
        self.access_key_id.check("access_key_id")?;
        self.secret_access_key.check("secret_access_key")?;
        if self.bucket.is_empty() {
            return Err("`bucket` is empty".to_owned());
        }
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if !self.endpoint.as_ref().is_none_or(is_url) {
            return Err("`endpoint` is a URL: `https://s3.example.org`".to_owned());
        }
        Ok(())
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Doing<'a, ()> {
        Box::pin(async move {
            let client = self.client()?;
            let ledger = notice.ledger.get(..16).unwrap_or_default();
            let key = format!("{}{ledger}/{:012}.json", self.prefix, notice.records);
            let action = format!("write s3://{}/{key}", self.bucket);
            let mut put = client
                .put_object()
                .bucket(&self.bucket)
                .key(&key)
                .content_type("application/json")
                .body(ByteStream::from(notice.line.clone().into_bytes()));
            if let Some(keep) = self.retain_for {
                let until = jiff::Timestamp::now().checked_add(keep.as_std());
                let until = until.map_err(|e| HostError::permanent(&action, e.to_string()))?;
                put = put
                    .object_lock_mode(match self.mode {
                        Mode::Compliance => ObjectLockMode::Compliance,
                        Mode::Governance => ObjectLockMode::Governance,
                    })
                    .object_lock_retain_until_date(DateTime::from_secs(until.as_second()));
            }
            let put = put.send().await;
            put.map_err(|error| HostError::transient(&action, cause(&error)))?;
            Ok(())
        })
    }

    fn recall(&self) -> Doing<'_, String> {
        Box::pin(async move {
            let client = self.client()?;
            let objects = self.versions(&client).await?;
            let read = objects.into_iter().map(|object| self.read(&client, object));
            let lines: Vec<String> = stream::iter(read)
                .buffered(SIDE_BY_SIDE)
                .try_collect()
                .await?;
            Ok(lines.join("\n"))
        })
    }
}

/// What an error of the library says: what the server said, else its innermost cause.
fn cause<E, R>(error: &aws_sdk_s3::error::SdkError<E, R>) -> String
where
    E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + 'static,
{
    if let Some(service) = error.as_service_error() {
        let code = service.code().unwrap_or("an error");
        let message = service.message().map(|text| format!(": {text}"));
        return format!("the server answered {code}{}", message.unwrap_or_default());
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.to_string() {
        text if text.is_empty() => DisplayErrorContext(error).to_string(),
        text => text,
    }
}
