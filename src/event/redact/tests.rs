//! What is hidden, and in which forms.

use base64::Engine as _;
use proptest::prelude::*;

use super::Redactor;

const SECRET: &str = "s3cr3t/pa+ss'w\"ord";

#[test]
fn hides_every_encoding() {
    let redactor = Redactor::new([SECRET], b"key").unwrap();
    let b64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for shown in [
        SECRET.to_owned(),
        hex::encode(SECRET),
        serde_json::to_string(SECRET).unwrap(),
        format!("'{}'", SECRET.replace('\'', "'\\''")),
        b64(&format!("a{SECRET}z")),
        b64(&format!("ab{SECRET}yz")),
        b64(&format!("abc{SECRET}xyz")),
        "s3cr3t%2Fpa%2Bss%27w%22ord".to_owned(),
    ] {
        assert!(redactor.text(&shown).contains("***"), "{shown}");
        assert!(!redactor.text(&shown).contains("3cr3t"), "{shown}");
    }
    assert_eq!(redactor.text("nothing here"), "nothing here");
}

const KEY: &str = "wJalrXUt/nFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY=";
const SIGNS: &str = "k3y/+= va'";
const UMLAUT: &str = "gr\u{fc}n\u{1f511}#\"&/x";

#[test]
fn hides_what_other_tools_make_of_it() {
    let redactor = Redactor::new([KEY, SIGNS, UMLAUT], b"key").unwrap();
    for shown in [
        // Python: `quote`, `quote(safe="")`, `quote_plus`, `json.dumps`, `shlex.quote`.
        r##"wJalrXUt/nFEMI%2BK7MDENG/bPxRfiCYEXAMPLEKEY%3D"##,
        r##"wJalrXUt%2FnFEMI%2BK7MDENG%2FbPxRfiCYEXAMPLEKEY%3D"##,
        r##"wJalrXUt/nFEMI%2bK7MDENG/bPxRfiCYEXAMPLEKEY%3d"##,
        r##"wJalrXUt/nFEMI+K7MDENG/bPxRfiCYEXAMPLEKEY="##,
        r##"k3y/%2B%3D%20va%27"##,
        r##"k3y%2F%2B%3D%20va%27"##,
        r##"k3y%2F%2B%3D+va%27"##,
        r##"k3y/%2b%3d%20va%27"##,
        r##"k3y/+= va'"##,
        r##"gr%C3%BCn%F0%9F%94%91%23%22%26/x"##,
        r##"gr%C3%BCn%F0%9F%94%91%23%22%26%2Fx"##,
        r##"gr%c3%bcn%f0%9f%94%91%23%22%26/x"##,
        r##"gr\u00fcn\ud83d\udd11#\"&/x"##,
        r##"k3y/+= va'"'"'"##,
        // JavaScript: `encodeURIComponent`, `encodeURI`; a form.
        r##"k3y%2F%2B%3D%20va'"##,
        r##"gr%C3%BCn%F0%9F%94%91%23%22%26%2Fx"##,
        r##"k3y/+=%20va'"##,
        r##"gr%C3%BCn%F0%9F%94%91#%22&/x"##,
        r##"k3y%2F%2B%3D+va%27"##,
        // JSON as PHP and .NET write it.
        r##"wJalrXUt\/nFEMI+K7MDENG\/bPxRfiCYEXAMPLEKEY="##,
        r##"k3y\/+= va'"##,
        r##"gr\u00fcn\ud83d\udd11#\"&\/x"##,
        r##"gr\u00FCn\uD83D\uDD11#\u0022\u0026/x"##,
        r##"k3y/\u002B= va\u0027"##,
        // `od -tx1`, `openssl`, `xxd` at an even and an odd place, a shell's `$'...'`.
        r##"6b 33 79 2f 2b 3d 20 76 61 27"##,
        r##"6B:33:79:2F:2B:3D:20:76:61:27"##,
        r##"6b33 792f 2b3d 2076 6127"##,
        r##"6b 3379 2f2b 3d20 7661 27"##,
        r##"k3y/+= va\'"##,
        // SQL, `printf %q`, the name of a host.
        r##"k3y/+= va''"##,
        r##"k3y/+=\ va\'"##,
        r##"wjalrxut/nfemi+k7mdeng/bpxrficyexamplekey="##,
    ] {
        assert_eq!(redactor.text(&format!("<{shown}>")), "<***>", "{shown}");
    }
}

#[test]
fn hides_what_a_url_makes_of_it() {
    let redactor = Redactor::new([KEY, SIGNS, UMLAUT], b"key").unwrap();
    for secret in [KEY, SIGNS, UMLAUT] {
        let mut url = reqwest::Url::parse("http://h/").unwrap();
        url.query_pairs_mut().append_pair("k", secret);
        assert_eq!(redactor.text(url.as_str()), "http://h/?k=***");
        url.set_query(Some(secret));
        assert_eq!(redactor.text(url.as_str()), "http://h/?***");
        url.set_query(None);
        url.set_password(Some(secret)).unwrap();
        assert_eq!(redactor.text(url.as_str()), "http://:***@h/");
        url.set_password(None).unwrap();
        url.set_fragment(Some(secret));
        assert_eq!(redactor.text(url.as_str()), "http://h/#***");
        url.set_fragment(None);
        url.set_path(secret);
        assert_eq!(redactor.text(url.as_str()), "http://h/***");
        url.path_segments_mut().unwrap().clear().push(secret);
        assert_eq!(redactor.text(url.as_str()), "http://h/***");
    }
}

#[test]
fn what_cannot_be_hidden_is_an_error() {
    let error = Redactor::within(100, [KEY], b"key").unwrap_err();
    assert!(error.to_string().contains("and 100 is the most"), "{error}");
    assert!(!error.to_string().contains("wJal"));
}

#[test]
fn a_stream_holds_back_only_what_may_be_a_secret() {
    let long = format!("{KEY}\n").repeat(40);
    let redactor = Redactor::new([&*long, SIGNS], b"key").unwrap();
    let mut stream = redactor.stream();
    assert_eq!(*stream.push(b"one\ntwo: wJal"), *b"one\ntwo: ");
    assert_eq!(*stream.push(b"k3"), *b"wJal");
    assert_eq!(*stream.push(b"y/+= va'\n"), *b"***\n");
    assert!(!format!("{redactor:?}").contains("k3y"));
}

proptest! {
    #[test]
    fn a_stream_hides_what_the_whole_hides(
        before in "[a-z ]{0,40}", after in "[a-z ]{0,40}", alike in "[a-d]{0,60}", sizes in prop::collection::vec(1usize..9, 1..40),
    ) {
        let secrets = [SECRET, "other secret", "aaab", "aaabaaac", "baaa", "abcabcabd"];
        let redactor = Redactor::new(secrets, b"key").unwrap();
        let text = format!("{before}{SECRET}{after}other secret{before}{alike}");
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, more) = rest.split_at((*size).min(rest.len()));
            out.extend_from_slice(&stream.push(chunk));
            rest = more;
        }
        out.extend(stream.finish());
        prop_assert_eq!(String::from_utf8(out).unwrap(), redactor.text(&text).into_owned());
    }
}
