//! `http.check` against servers that misbehave on purpose.

#![expect(clippy::disallowed_methods, reason = "a test's own servers")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration as StdDuration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::check::{Check, Config, Outputs};
use crate::base::EndReason;
use crate::event::Level;
use crate::host::Observe;
use crate::host::testing::{self, TestScope};
use crate::step::{Look as _, Outcome, StepError, StepErrorKind, StepType as _};

/// A server whose every connection is one call of `script`.
fn serve_raw(script: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(script));
    port
}

/// As [`serve_raw`], once it was asked for something: `script` gets the question too.
fn serve(script: impl Fn(TcpStream, String) + Send + 'static) -> u16 {
    serve_raw(move |mut stream| {
        let asked = read_head(&mut stream);
        script(stream, asked);
    })
}

fn read_head(stream: &mut impl std::io::Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that gives everybody this answer.
fn answer(status: &'static str, body: &'static str) -> u16 {
    serve(move |mut stream, _| {
        let length = body.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    })
}

async fn look_in(scope: &TestScope, config: Value) -> Result<Outcome<Outputs>, StepError> {
    let config: Config = serde_json::from_value(config).unwrap();
    Check::check(&config).unwrap();
    Check::look(config, &Observe::new(scope.scope.clone())).await
}

async fn look(config: Value) -> Outcome<Outputs> {
    look_in(&testing::scope(), config).await.unwrap()
}

fn levels(outcome: &Outcome<Outputs>) -> Vec<Level> {
    outcome.findings.iter().map(|f| f.level).collect()
}

fn said(outcome: &Outcome<Outputs>) -> String {
    let messages: Vec<&str> = outcome.findings.iter().map(|f| &*f.message).collect();
    messages.join("; ")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/health")
}

#[tokio::test]
async fn a_good_answer_is_ok_in_every_respect() {
    let port = answer("200 OK", r#"{"status":"ok","db":{"up":true}}"#);
    let outcome = look(json!({
        "url": url(port), "warn": "2s", "fail": "5s", "body_contains": "ok",
        "body_matches": "\"up\": *true", "json": { "status": "ok", "db.up": true },
    }))
    .await;
    assert_eq!(levels(&outcome), [Level::Ok; 6], "{}", said(&outcome));
    assert_eq!(outcome.outputs.status, Some(200));
    assert_eq!(outcome.outputs.json["db"]["up"], true);
    assert_eq!(outcome.outputs.bytes, Some(32));
    assert!(outcome.outputs.latency_ms.unwrap() > 0.0);
}

#[tokio::test]
async fn wrong_statuses_and_bodies_are_critical_one_by_one() {
    let port = answer("500 Internal Server Error", "<h1>sorry</h1>");
    let outcome =
        look(json!({ "url": url(port), "json": { "status": "ok" }, "body_contains": "sorry" }))
            .await;
    assert_eq!(
        levels(&outcome),
        [Level::Critical, Level::Ok, Level::Critical]
    );
    let outcome = look(json!({ "url": url(port), "status": [500, 503] })).await;
    assert_eq!(levels(&outcome), [Level::Ok]);
}

#[tokio::test]
async fn slowness_is_measured_to_the_last_byte() {
    let port = serve(|mut stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
        std::thread::sleep(StdDuration::from_millis(150));
        let _ = write!(stream, "k");
    });
    let outcome = look(json!({ "url": url(port), "warn": "100ms", "fail": "9s" })).await;
    assert_eq!(levels(&outcome), [Level::Ok, Level::Warning]);
    let outcome = look(json!({ "url": url(port), "warn": "50ms", "fail": "100ms" })).await;
    assert_eq!(levels(&outcome), [Level::Ok, Level::Critical]);
}

#[tokio::test]
async fn a_black_hole_ends_in_time() {
    let port = serve(|stream, _| std::mem::forget(stream));
    let outcome = look(json!({ "url": url(port), "timeout": "200ms" })).await;
    assert_eq!(levels(&outcome), [Level::Critical]);
    assert!(
        said(&outcome).contains("no answer in 200ms"),
        "{}",
        said(&outcome)
    );
}

#[tokio::test]
async fn one_byte_at_a_time_ends_in_time() {
    let port = serve(|mut stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(StdDuration::from_millis(20));
        }
    });
    let outcome = look(json!({ "url": url(port), "timeout": "300ms" })).await;
    assert_eq!(levels(&outcome), [Level::Ok, Level::Critical]);
    assert!(
        said(&outcome).contains("had not ended after 300ms"),
        "{}",
        said(&outcome)
    );
    assert!(outcome.outputs.bytes.unwrap() > 0);
    let port = serve(|mut stream, _| {
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: "
            .iter()
            .chain([b'x'; 500].iter())
        {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(StdDuration::from_millis(20));
        }
    });
    let outcome = look(json!({ "url": url(port), "timeout": "300ms" })).await;
    assert_eq!(levels(&outcome), [Level::Critical]);
}

#[tokio::test]
async fn endless_bodies_are_cut() {
    let port = serve(|mut stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let outcome = look(json!({ "url": url(port), "body_contains": "y", "json": { "a": 1 } })).await;
    assert_eq!(
        levels(&outcome),
        [Level::Ok, Level::Unknown, Level::Unknown]
    );
    assert_eq!(outcome.outputs.bytes, Some(1 << 20));
}

#[tokio::test]
async fn hanging_up_is_critical_and_says_so() {
    let at_once = serve(|_, _| ());
    let halfway = serve(|mut stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    });
    // To close with something unread is a reset.
    let reset = serve_raw(|mut stream| {
        let _ = stream.read(&mut [0]);
    });
    let mail = serve(|mut stream, _| {
        let _ = write!(stream, "220 mail.example.org ESMTP\r\n");
    });
    for (port, expected) in [
        (at_once, "closed the connection"),
        (halfway, "closed the connection after 4 bytes of it"),
        (reset, "closed the connection"),
        (mail, "not HTTP"),
    ] {
        let outcome = look(json!({ "url": url(port) })).await;
        let last = outcome.findings.last().unwrap();
        assert_eq!(last.level, Level::Critical);
        assert!(last.message.contains(expected), "{}", last.message);
    }
}

#[tokio::test]
async fn nobody_there_is_critical_and_no_such_name_is_unknown() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let outcome = look(json!({ "url": url(port) })).await;
    assert_eq!(levels(&outcome), [Level::Critical]);
    assert!(
        said(&outcome).contains("nobody listens"),
        "{}",
        said(&outcome)
    );
    let outcome = look(json!({ "url": "http://nobody.invalid/" })).await;
    assert_eq!(levels(&outcome), [Level::Unknown]);
    let outcome = look(json!({ "url": "https://127.0.0.1/", "ca_file": "/nonexistent" })).await;
    assert_eq!(levels(&outcome), [Level::Unknown]);
}

#[tokio::test]
async fn an_end_is_no_finding() {
    let port = serve(|stream, _| std::mem::forget(stream));
    let test = testing::scope();
    let cancel = test.scope.cancel.clone();
    let (result, ()) = tokio::join!(look_in(&test, json!({ "url": url(port) })), async {
        cancel.end(EndReason::Timeout);
    });
    assert_eq!(result.unwrap_err().kind, StepErrorKind::TimedOut);
}

#[tokio::test]
async fn headers_stay_at_their_origin() {
    let other = serve(|mut stream, asked| {
        let leaked = asked.to_lowercase().contains("x-token");
        let status = if leaked { "500 Leaked" } else { "200 OK" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    });
    let first = serve(move |mut stream, asked| {
        assert!(asked.to_lowercase().contains("x-token: s3cret"));
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{other}/\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let config = json!({ "url": url(first), "headers": { "X-Token": "s3cret" } });
    let outcome = look(config.clone()).await;
    assert_eq!(outcome.outputs.status, Some(302));
    assert!(
        outcome.findings[0]
            .help
            .as_ref()
            .unwrap()
            .contains("points to")
    );
    let mut following = config;
    following["follow_redirects"] = json!(1);
    let outcome = look(following).await;
    assert_eq!(outcome.outputs.status, Some(200));
}

#[tokio::test]
async fn no_part_of_a_secret_in_the_url_is_shown() {
    let secret = "k3y/+= va'#Zt9";
    let port = serve(|mut stream, _| {
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /x/k3y/+= va'#Zt9\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let mut test = testing::scope();
    let scope = Arc::get_mut(&mut test.scope).unwrap();
    Arc::get_mut(&mut scope.shared).unwrap().redactor =
        Arc::new(crate::event::Redactor::new([secret, "Pa55.Localhost"], b"key").unwrap());
    for url in [
        format!("http://127.0.0.1:{port}/?k={secret}"),
        format!("http://127.0.0.1:{port}/{secret}"),
        format!("http://127.0.0.1:1/{secret}"),
        "http://Pa55.Localhost:1/".to_owned(),
    ] {
        for redirects in [0, 1] {
            let config = json!({ "url": url, "follow_redirects": redirects });
            let outcome = look_in(&test, config).await.unwrap();
            assert!(!outcome.findings.is_empty());
            let shown = serde_json::to_string(&outcome.findings).unwrap();
            let shown = scope_text(&test, &shown);
            assert!(shown.contains("***"), "{shown}");
            for part in ["k3y", "va'", "va%27", "Zt9", "55."] {
                assert!(!shown.contains(part), "{part}: {shown}");
            }
        }
    }
}

fn scope_text(test: &TestScope, text: &str) -> String {
    test.scope.shared.redactor.text(text).into_owned()
}

#[tokio::test]
async fn head_reads_no_body() {
    let port = serve(|mut stream, asked| {
        assert!(asked.starts_with("HEAD /health "));
        let _ = write!(
            stream,
            "HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n"
        );
    });
    let outcome = look(json!({ "url": url(port), "method": "HEAD" })).await;
    assert_eq!(levels(&outcome), [Level::Ok], "{}", said(&outcome));
}

/// A server with a certificate for `name` that holds from and until so many days from now, and the
/// certificate's PEM in a file.
fn serve_tls(name: &str, from: i64, until: i64) -> (u16, tempfile::NamedTempFile) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let day = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let at = at.to_zoned(jiff::tz::TimeZone::UTC);
        let (month, day) = (at.month() as u8, at.day() as u8);
        rcgen::date_time_ymd(i32::from(at.year()), month, day)
    };
    params.not_before = day(from);
    params.not_after = day(until);
    let certificate = params.self_signed(&key).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(certificate.pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let config = Arc::new(config);
    let port = serve_raw(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        if !read_head(&mut stream).is_empty() {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (port, file)
}

async fn look_tls(port: u16, ca_file: Option<&tempfile::NamedTempFile>) -> Outcome<Outputs> {
    let mut config = json!({ "url": format!("https://localhost:{port}/") });
    if let Some(file) = ca_file {
        config["ca_file"] = json!(file.path());
    }
    look(config).await
}

#[tokio::test]
async fn a_certificate_is_judged_by_its_days() {
    for (until, level) in [(100, Level::Ok), (15, Level::Warning), (3, Level::Critical)] {
        let (port, file) = serve_tls("localhost", -10, until);
        let outcome = look_tls(port, Some(&file)).await;
        assert_eq!(levels(&outcome), [Level::Ok, level], "{}", said(&outcome));
        let left = outcome.outputs.tls.unwrap().days_left;
        assert!((until - 1..=until).contains(&left), "{left}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_to_be_trusted_is_critical_with_its_cause() {
    let (expired, file) = serve_tls("localhost", -30, -2);
    let outcome = look_tls(expired, Some(&file)).await;
    assert_eq!(levels(&outcome), [Level::Critical]);
    assert!(
        said(&outcome).contains("certificate expired on"),
        "{}",
        said(&outcome)
    );
    assert!(outcome.outputs.tls.unwrap().days_left < 0);

    let (early, file) = serve_tls("localhost", 2, 30);
    let outcome = look_tls(early, Some(&file)).await;
    assert!(
        said(&outcome).contains("does not hold yet, only from 2"),
        "{}",
        said(&outcome)
    );

    let (other, file) = serve_tls("other.example", -1, 100);
    let outcome = look_tls(other, Some(&file)).await;
    assert!(
        said(&outcome).contains("made out to other.example"),
        "{}",
        said(&outcome)
    );

    let (unknown, _) = serve_tls("localhost", -1, 100);
    let (_, file) = serve_tls("localhost", -1, 100);
    let outcome = look_tls(unknown, Some(&file)).await;
    assert!(
        said(&outcome).contains("we do not trust"),
        "{}",
        said(&outcome)
    );
    assert_eq!(levels(&outcome), [Level::Critical]);
}

#[tokio::test]
async fn plain_text_where_tls_is_expected_is_told() {
    let plain = serve_raw(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = write!(stream, "HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let (_, file) = serve_tls("localhost", -1, 100);
    let outcome = look_tls(plain, Some(&file)).await;
    assert_eq!(levels(&outcome), [Level::Critical]);
    assert!(said(&outcome).contains("not TLS"), "{}", said(&outcome));
}

#[test]
fn refuses_configurations_that_make_no_sense() {
    for wrong in [
        json!({ "url": "ftp://example.org/" }),
        json!({ "url": "no url" }),
        json!({ "url": "http://a/", "warn": "2s", "fail": "1s" }),
        json!({ "url": "http://a/", "tls_warn": "2d", "tls_fail": "3d" }),
        json!({ "url": "http://a/", "method": "HEAD", "body_contains": "x" }),
        json!({ "url": "http://a/", "status": [20] }),
        json!({ "url": "http://a/", "headers": { "a b": "c" } }),
        json!({ "url": "http://a/", "headers": { "a": "c\nd: e" } }),
        json!({ "url": "http://a/", "json": { "a..b": 1 } }),
        json!({ "url": "http://a/", "follow_redirects": 11 }),
        json!({ "url": "http://user:hunter2@:99999/" }),
    ] {
        let config: Config = serde_json::from_value(wrong.clone()).unwrap();
        let error = Check::check(&config).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
