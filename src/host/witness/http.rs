//! A web server as a witness: it is sent each checkpoint with POST, and gives back what it was sent
//! with GET from the same address, one a line or as a JSON list.

#![expect(clippy::disallowed_methods, reason = "this is the door to it")]

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Credential, Doing, Kind, LARGEST, Notice};
use crate::host::HostError;
use crate::host::error::io_cause;
use crate::host::http::as_written;
use crate::host::tls::{Tls, Trust, Verify};

/// A web server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where it takes and gives them; `http` or `https`
    url: String,
    /// Sent as `Authorization: Bearer …`
    #[serde(default)]
    token: Option<Credential>,
    /// A PEM file, with `https`: the only authorities to trust, or the server's own certificate
    #[serde(default)]
    ca_file: Option<PathBuf>,
}

impl Http {
    fn url(&self) -> Result<Url, String> {
        let url = Url::parse(&self.url).map_err(|error| format!("`url` is no URL: {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            other => Err(format!("`url` is `http` or `https`, not `{other}`")),
        }
    }

    fn request(&self, method: reqwest::Method) -> Result<reqwest::RequestBuilder, HostError> {
        let action = || format!("ask {}", as_written(&self.url));
        let url = self
            .url()
            .map_err(|cause| HostError::permanent(action(), cause))?;
        let trust = match &self.ca_file {
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        // Without TLS there is nothing to verify: this machine's authorities are not read then.
        let verify = match url.scheme() {
            "https" => Verify::Full,
            _ => Verify::Nothing,
        };
        let tls = Tls::of(&trust, verify);
        let tls = tls.map_err(|error| HostError::permanent(action(), error.to_string()))?;
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls.config()))
            .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        let client = builder.build();
        let client = client.map_err(|error| HostError::permanent(action(), cause(&error)))?;
        let mut request = client.request(method, url);
        if let Some(token) = &self.token {
            let token = token.read("the witness's token")?;
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| HostError::permanent(action(), "its token does not fit a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        Ok(request)
    }

    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, HostError> {
        let action = || format!("ask {}", as_written(&self.url));
        let response = request.send().await;
        let response = response.map_err(|error| HostError::transient(action(), cause(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(HostError::permanent(
            action(),
            format!("it answered {}", status.as_u16()),
        ))
    }
}

impl Kind for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn check(&self) -> Result<(), String> {
        if let Some(token) = &self.token {
            token.check("token")?;
        }
        self.url().map(drop)
    }

    fn send<'a>(&'a self, notice: &'a Notice) -> Doing<'a, ()> {
        Box::pin(async move {
            let request = self.request(reqwest::Method::POST)?;
            let request = request
                .header(CONTENT_TYPE, "application/json")
                .body(notice.line.clone());
            self.answer(request).await.map(drop)
        })
    }

    fn recall(&self) -> Doing<'_, String> {
        Box::pin(async move {
            let mut response = self.answer(self.request(reqwest::Method::GET)?).await?;
            let action = || format!("read what {} has", as_written(&self.url));
            let mut body = Vec::new();
            loop {
                let chunk = response.chunk().await;
                match chunk.map_err(|error| HostError::transient(action(), cause(&error)))? {
                    Some(chunk) => body.extend_from_slice(&chunk),
                    None => return Ok(String::from_utf8_lossy(&body).into_owned()),
                }
                if body.len() as u64 > LARGEST {
                    let cause = format!("it is more than {LARGEST} bytes");
                    return Err(HostError::permanent(action(), cause));
                }
            }
        })
    }
}

/// The innermost cause; the outer ones repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<std::io::Error>() {
        Some(io) => io_cause(io),
        None => innermost.to_string(),
    }
}
