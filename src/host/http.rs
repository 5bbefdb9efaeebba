//! HTTP, to look: GET and HEAD, whose semantics are to change nothing (RFC 9110, 9.2.1).
//!
//! - One deadline, ours, for everything from the name to the last byte of the body.
//! - Redirects are followed here and not by the library, because headers of the author's may hold
//!   secrets: they go to the origin that they were written for and to no other.
//! - No proxy, whatever the environment says: what is asked is the server that the URL names.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{HeaderMap, LOCATION};

use super::net::{Allowance, Stopped, resolve};
use super::reach::{Obstacle, ReachError};
use super::tls::{Certificate, Tls, Trust, Verify, handshake_cause};
use super::{Observe, Scope};
use crate::base::Duration;

/// A method that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SafeMethod {
    /// The answer with its body.
    Get,
    /// The answer without its body.
    Head,
}

/// What to ask for.
#[derive(Debug)]
pub struct HttpRequest {
    /// How.
    pub method: SafeMethod,
    /// What; `http` or `https`.
    pub url: Url,
    /// The same for people, without secrets: what messages call it.
    pub name: String,
    /// Sent to the origin of `url`, and to no other that it redirects to.
    pub headers: HeaderMap,
    /// Whose signature counts, with `https`.
    pub trust: Trust,
    /// For everything.
    pub timeout: Duration,
    /// How many redirects are followed.
    pub redirects: u8,
    /// How much of the body is kept, in bytes; the rest is not read.
    pub body_limit: usize,
}

/// How the reading of a body ended.
#[derive(Debug)]
pub enum BodyEnd {
    /// All of it is there.
    Complete,
    /// There is more than was wanted.
    Truncated,
    /// It broke off.
    Failed(ReachError),
}

/// What a server answered.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Where it points to, if it does.
    pub location: Option<String>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// How the reading of it ended.
    pub body_end: BodyEnd,
    /// From the beginning to the last byte that was read.
    pub took: Duration,
}

/// A question and what came of it.
#[derive(Debug)]
pub struct HttpExchange {
    /// The answer.
    pub answer: Result<HttpAnswer, ReachError>,
    /// The certificate that the server showed last, trusted or not.
    pub certificate: Option<Certificate>,
}

/// `text`, a URL as its author wrote it, for people: without user and password. Nothing else is cut
/// off or written in another way, so that secrets in it are found and hidden.
pub fn as_written(text: &str) -> String {
    let nobody = |url: Url| url.username().is_empty() && url.password().is_none();
    let plain = match Url::parse(text) {
        Ok(url) => nobody(url),
        Err(_) => !text.contains('@'),
    };
    if plain {
        return text.to_owned();
    }
    // Where a second `@` leaves open which of them ends the password, none of it is shown.
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((user, rest)) = rest.split_once('@')
        && !scheme.contains('@')
        && !rest.contains('@')
        && !user.contains('/')
    {
        return format!("{scheme}://{rest}");
    }
    match text.get(..8) {
        Some("https://") => "https://…".to_owned(),
        _ => "http://…".to_owned(),
    }
}

/// `url`, that a server named, for people: without what may be a password or a token.
fn shown(mut url: Url) -> String {
    // Both refuse only on URLs without a host, which have neither.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

impl Observe {
    /// Asks, and reads what comes.
    pub async fn http(&self, request: HttpRequest) -> HttpExchange {
        // A certificate can only come where TLS can: else this machine's authorities, which take
        // milliseconds to read, are of no interest.
        let may_be_tls = request.url.scheme() == "https" || request.redirects > 0;
        let verify = if may_be_tls {
            Verify::Full
        } else {
            Verify::Nothing
        };
        let protocols: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let tls = match self.tls(&request.trust, verify, &protocols).await {
            Ok(tls) => tls,
            Err(error) => {
                return HttpExchange {
                    answer: Err(error),
                    certificate: None,
                };
            }
        };
        let answer = Exchange::new(self.scope(), &request, &tls);
        let answer = match answer {
            Ok(exchange) => exchange.run().await,
            Err(error) => Err(error),
        };
        HttpExchange {
            answer,
            certificate: tls.certificate(),
        }
    }
}

struct Exchange<'a> {
    scope: &'a Scope,
    request: &'a HttpRequest,
    tls: &'a Tls,
    client: reqwest::Client,
}

impl<'a> Exchange<'a> {
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn new(scope: &'a Scope, request: &'a HttpRequest, tls: &'a Tls) -> Result<Self, ReachError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls.config()))
            .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .dns_resolver(Arc::new(Names))
            .build()
            .map_err(|e| ReachError::new(Obstacle::OurSide, "set up HTTP", innermost(&e)))?;
        Ok(Self {
            scope,
            request,
            tls,
            client,
        })
    }

    async fn run(&self) -> Result<HttpAnswer, ReachError> {
        let clock = self.scope.clock();
        let start = clock.now();
        let allowance = self.scope.allow(self.request.timeout);
        let mut url = self.request.url.clone();
        let mut name = self.request.name.clone();
        let mut left = self.request.redirects;
        let (mut response, location) = loop {
            let response = self.ask(&url, &name, allowance).await?;
            let location = self.redirect_of(&response, &url);
            match location {
                Some((next, its_name)) if left > 0 && may_follow(&url, &next) => {
                    left -= 1;
                    url = next;
                    name = its_name;
                }
                location => break (response, location),
            }
        };
        let status = response.status().as_u16();
        let (body, body_end) = self.read(&mut response, &name, allowance).await?;
        Ok(HttpAnswer {
            status,
            location: location.map(|(_, name)| name),
            body,
            body_end,
            took: clock.now().since(start),
        })
    }

    /// Where `response` points to, and what to call that.
    fn redirect_of(&self, response: &reqwest::Response, url: &Url) -> Option<(Url, String)> {
        if !response.status().is_redirection() {
            return None;
        }
        let location = response.headers().get(LOCATION)?.to_str().ok()?;
        let next = url.join(location).ok()?;
        // A server may repeat a secret: it is hidden before the URL's parts are told apart.
        let name = match self.scope.shared.redactor.text(location) {
            Cow::Borrowed(_) => shown(next.clone()),
            Cow::Owned(masked) => url.join(&masked).map_or(masked, shown),
        };
        Some((next, name))
    }

    async fn ask(
        &self,
        url: &Url,
        name: &str,
        allowance: Allowance,
    ) -> Result<reqwest::Response, ReachError> {
        let action = || format!("get an answer from {name}");
        let request = match self.request.method {
            SafeMethod::Get => self.client.get(url.clone()),
            SafeMethod::Head => self.client.head(url.clone()),
        };
        let request = if url.origin() == self.request.url.origin() {
            request.headers(self.request.headers.clone())
        } else {
            request
        };
        match self.scope.within(allowance, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.error(action(), &error)),
            Err(stopped) => Err(stopped.error(action())),
        }
    }

    /// The body up to the limit. A body that breaks off is an answer still; to be told to end is
    /// none.
    async fn read(
        &self,
        response: &mut reqwest::Response,
        name: &str,
        allowance: Allowance,
    ) -> Result<(Vec<u8>, BodyEnd), ReachError> {
        let action = || format!("read the body of {name}");
        let mut body = Vec::new();
        loop {
            let error = match self.scope.within(allowance, response.chunk()).await {
                Ok(Ok(None)) => return Ok((body, BodyEnd::Complete)),
                Ok(Ok(Some(chunk))) => {
                    body.extend_from_slice(&chunk);
                    if body.len() > self.request.body_limit {
                        body.truncate(self.request.body_limit);
                        return Ok((body, BodyEnd::Truncated));
                    }
                    continue;
                }
                Ok(Err(error)) => {
                    let mut error = self.error(action(), &error);
                    error.cause = format!("{} after {} bytes of it", error.cause, body.len());
                    error
                }
                Err(Stopped::Late(limit)) => {
                    let cause = format!(
                        "it had not ended after {limit}; {} bytes had come",
                        body.len()
                    );
                    ReachError::new(Obstacle::NoAnswer, action(), cause)
                }
                Err(stopped) => return Err(stopped.error(action())),
            };
            return Ok((body, BodyEnd::Failed(error)));
        }
    }

    /// What an error of the library means: the first of its causes that says something.
    fn error(&self, action: String, error: &reqwest::Error) -> ReachError {
        if let Some(rejected) = self.tls.rejection(&action) {
            return rejected;
        }
        for cause in causes(error) {
            if let Some(reach) = cause.downcast_ref::<ReachError>() {
                return reach.clone();
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return ReachError::new(Obstacle::Tls, action, handshake_cause(tls));
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && (io.get_ref().is_none() || io.kind() == std::io::ErrorKind::UnexpectedEof)
            {
                return ReachError::io(action, io);
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_incomplete_message() || hyper.is_closed() {
                    let cause = "the server closed the connection";
                    return ReachError::new(Obstacle::HungUp, action, cause);
                }
                if hyper.is_parse() {
                    let cause = format!("what it answers is not HTTP: {hyper}");
                    return ReachError::new(Obstacle::Garbled, action, cause);
                }
            }
        }
        let obstacle = if error.is_builder() {
            Obstacle::OurSide
        } else {
            Obstacle::Garbled
        };
        ReachError::new(obstacle, action, innermost(error))
    }
}

/// The causes of an error, from the outside in. An `io::Error` that holds another error does not
/// name it as its source, so that it is asked for what it holds.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(error) = next {
        causes.push(error);
        next = match error.downcast_ref::<std::io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    causes
}

/// The innermost cause; the outer ones repeat the URL, which may hold a password.
fn innermost(error: &reqwest::Error) -> String {
    match causes(error).last() {
        Some(cause) => cause.to_string(),
        None => "the request could not be made".to_owned(),
    }
}

/// Never from TLS to plain text, and never to something that is not HTTP.
fn may_follow(from: &Url, to: &Url) -> bool {
    match to.scheme() {
        "https" => true,
        "http" => from.scheme() == "http",
        _ => false,
    }
}

/// Resolves names through our own door, so that a name without an address can be told from a
/// server that does not answer.
struct Names;

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let addresses = resolve(name.as_str(), 0).await?;
            let addresses: reqwest::dns::Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{as_written, may_follow, shown};
    use reqwest::Url;

    #[test]
    fn never_shows_a_password() {
        let url = Url::parse("https://user:hunter2@example.org/health?token=x#y").unwrap();
        assert_eq!(shown(url), "https://example.org/health");
        for (written, wanted) in [
            (
                "https://u:p@Example.org/a?x=1#y",
                "https://Example.org/a?x=1#y",
            ),
            ("https://example.org?to=a@b", "https://example.org?to=a@b"),
            ("https://u:p@example.org?to=a@b", "https://…"),
            ("http:u:p@example.org//x", "http://…"),
            ("http://u:p@example.org:***/", "http://example.org:***/"),
        ] {
            assert_eq!(as_written(written), wanted);
        }
    }

    #[test]
    fn follows_never_down_to_plain_text() {
        let url = |text| Url::parse(text).unwrap();
        assert!(may_follow(&url("http://a/"), &url("https://a/")));
        assert!(may_follow(&url("http://a/"), &url("http://b/")));
        assert!(!may_follow(&url("https://a/"), &url("http://a/")));
        assert!(!may_follow(&url("https://a/"), &url("ftp://a/")));
    }
}
