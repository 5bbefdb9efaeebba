//! The forms in which a secret may appear, other than as it is: encoded, escaped, quoted.
//!
//! What is here is what common tools and libraries make of a text in one step, not every way to
//! write it: secrets are hidden from mistakes, not from somebody who means to show them.

use base64::Engine as _;

use super::SHORTEST;

/// Whole secrets are looked for as hex with separators up to this length, in bytes: such dumps
/// break longer ones into lines.
const DUMPED: usize = 128;

/// Adds every form of `secret`, as a whole, trimmed, and by line; to `wrapped` those that tools break
/// into lines. Some come twice.
pub(super) fn add(patterns: &mut Vec<Vec<u8>>, wrapped: &mut Vec<Vec<u8>>, secret: &str) {
    let mut raws = vec![secret, secret.trim()];
    if secret.contains('\n') {
        raws.extend(secret.lines().map(str::trim).filter(|line| line.len() >= 8));
    }
    raws.dedup();
    for raw in raws.into_iter().filter(|raw| raw.len() >= SHORTEST) {
        let forms = [percent(raw), json(raw), quoted(raw), markup(raw)].concat();
        patterns.extend(forms.into_iter().map(String::into_bytes));
        patterns.extend(hexes(raw.as_bytes()).into_iter().map(String::into_bytes));
        // Names of hosts are told in small letters, however they are written.
        patterns.push(raw.to_ascii_lowercase().into_bytes());
        patterns.push(raw.as_bytes().to_vec());
        let mut broken = quoted_printable(raw);
        for offset in 0..3 {
            broken.extend(base64_core(raw.as_bytes(), offset));
        }
        patterns.extend(broken.iter().cloned());
        wrapped.extend(broken);
        wrapped.push(hex::encode(raw).into_bytes());
        wrapped.push(hex::encode_upper(raw).into_bytes());
    }
    patterns.retain(|pattern| pattern.len() >= SHORTEST);
    wrapped.retain(|pattern| pattern.len() >= SHORTEST);
}

/// What stays as it is where a text is percent-encoded, besides letters and digits.
const KEPT: [&str; 6] = [
    // RFC 3986's unreserved characters; Python's `quote(…, safe="")`.
    "-._~",
    // Python's `quote`.
    "-._~/",
    // JavaScript's `encodeURIComponent`.
    "-._~!*'()",
    // JavaScript's `encodeURI`.
    "-._~!*'();/?:@&=+$,#",
    // Forms (WHATWG URL, 5.2; Java's `URLEncoder`).
    "*-._",
    // PHP's `urlencode`.
    "-._",
];

/// What does not stay, besides controls, space and what is not ASCII, in the parts of a URL that a
/// parser writes out again (WHATWG URL, 1.3): fragment, query with and without `'`, path with and
/// without `^`, segment of a path, userinfo, component.
const ENCODED: [&str; 8] = [
    "\"<>`",
    "\"#<>",
    "\"#<>'",
    "\"#<>?`{}",
    "\"#<>?`{}^",
    "\"#<>?`{}/%",
    "\"#<>?`{}/:;=@[\\]^|",
    "\"#<>?`{}/:;=@[\\]^|$%&+,",
];

fn percent(raw: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for kept in KEPT {
        let keeps = |byte: u8| byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte);
        forms.extend(percent_keeping(raw, keeps));
    }
    // A parser of URLs leaves these three out.
    let joined = raw.replace(['\t', '\n', '\r'], "");
    for encoded in ENCODED {
        let keeps = |byte: u8| byte.is_ascii_graphic() && !encoded.as_bytes().contains(&byte);
        forms.extend(percent_keeping(raw, keeps));
        if joined != raw {
            forms.extend(percent_keeping(&joined, keeps));
        }
    }
    forms
}

/// In large and small hex digits, and with a space as `%20` and as `+`.
fn percent_keeping(raw: &str, keeps: impl Fn(u8) -> bool) -> Vec<String> {
    let encode = |upper: bool| -> String {
        let each = raw.bytes().map(|byte| match byte {
            _ if keeps(byte) => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        });
        each.collect()
    };
    let (upper, lower) = (encode(true), encode(false));
    if raw.contains(' ') {
        let plus = [upper.replace("%20", "+"), lower.replace("%20", "+")];
        return [vec![upper, lower], plus.to_vec()].concat();
    }
    vec![upper, lower]
}

/// In a JSON text: with and without `\/`, and as much in `\u` escapes as is usual.
fn json(raw: &str) -> Vec<String> {
    let control = |c: char| c < ' ';
    let ascii = |c: char| !(' '..='~').contains(&c);
    // Go's `encoding/json`, and what is safe inside HTML.
    let html = |c: char| control(c) || "<>&\u{2028}\u{2029}".contains(c);
    // .NET's `System.Text.Json`.
    let strict = |c: char| ascii(c) || "\"'`<>&+".contains(c);
    let mut forms = Vec::new();
    for upper in [false, true] {
        forms.extend([
            json_escaping(raw, control, upper),
            json_escaping(raw, ascii, upper),
            json_escaping(raw, html, upper),
            json_escaping(raw, strict, upper),
        ]);
    }
    let slashes: Vec<String> = forms.iter().map(|form| form.replace('/', "\\/")).collect();
    forms.extend(slashes);
    forms
}

fn json_escaping(raw: &str, escapes: impl Fn(char) -> bool, upper: bool) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if escapes(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if upper {
                        format!("\\u{unit:04X}")
                    } else {
                        format!("\\u{unit:04x}")
                    });
                }
            }
            '"' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// Within the quotes of a shell, of SQL, and of most programming languages.
fn quoted(raw: &str) -> Vec<String> {
    let backslashed = |special: &str| -> String {
        let mut out = String::with_capacity(raw.len());
        for c in raw.chars() {
            out.extend(special.contains(c).then_some('\\'));
            out.push(c);
        }
        out
    };
    let c_like = |text: String| {
        text.replace('\n', "\\n")
            .replace('\r', "\\r")
            .replace('\t', "\\t")
    };
    vec![
        // A shell's single quotes, as bash and as Python's `shlex` and dash write them; double
        // quotes; bash's `printf %q`.
        raw.replace('\'', "'\\''"),
        raw.replace('\'', "'\"'\"'"),
        backslashed("\\\"$`"),
        backslashed(" '\"\\|&;()<>!{}*[]?^$`,"),
        // SQL's texts and names; PostgreSQL's `E'…'`; MySQL's texts.
        raw.replace('\'', "''"),
        raw.replace('"', "\"\""),
        raw.replace('\\', "\\\\").replace('\'', "''"),
        c_like(backslashed("\\'\"")),
        // Python's `repr`, Rust's `{:?}`, bash's `$'…'`.
        c_like(backslashed("\\'")),
        c_like(backslashed("\\\"")),
    ]
}

/// In HTML and XML, by the ways that the quotes are written: Python, Go and Jinja, PHP, JavaScript
/// and Ruby, XML; with and without references for what is not ASCII.
fn markup(raw: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for (double, single) in [
        ("&quot;", "&#x27;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#039;"),
        ("&quot;", "&#39;"),
        ("&quot;", "&apos;"),
        ("&quot;", "'"),
        ("\"", "'"),
    ] {
        let escaped: String = { raw.chars() }
            .map(|c| match c {
                '&' => "&amp;".to_owned(),
                '<' => "&lt;".to_owned(),
                '>' => "&gt;".to_owned(),
                '"' => double.to_owned(),
                '\'' => single.to_owned(),
                c => c.to_string(),
            })
            .collect();
        if !escaped.is_ascii() {
            let references = escaped.chars().map(|c| match c {
                c if c.is_ascii() => c.to_string(),
                c => format!("&#{};", u32::from(c)),
            });
            forms.push(references.collect());
        }
        forms.push(escaped);
    }
    forms
}

/// As quoted-printable (RFC 2045, 6.7), without its line breaks: a secret's own ones stay, or are
/// encoded, and so are spaces and tabs.
fn quoted_printable(raw: &str) -> Vec<Vec<u8>> {
    let encode = |kept: &[u8]| -> Vec<u8> {
        let each = raw.bytes().map(|byte| match byte {
            b'=' => "=3D".to_owned(),
            b'!'..=b'~' => char::from(byte).to_string(),
            byte if kept.contains(&byte) => char::from(byte).to_string(),
            byte => format!("={byte:02X}"),
        });
        each.collect::<String>().into_bytes()
    };
    vec![encode(b" \t\n\r"), encode(b" \t"), encode(b"")]
}

/// As hex: in one piece; each byte on its own, as `od`, `openssl` and URLs have it; two and two, as
/// `xxd` has it.
fn hexes(bytes: &[u8]) -> Vec<String> {
    let lower = hex::encode(bytes);
    let mut forms = vec![lower.clone()];
    if bytes.len() <= DUMPED {
        let pairs: Vec<&str> = (0..bytes.len()).map(|n| &lower[2 * n..2 * n + 2]).collect();
        forms.extend([" ", ":", "%", "\\x"].map(|separator| pairs.join(separator)));
        for first in [0, 1] {
            let (head, rest) = lower.split_at(2 * first);
            let mut groups = vec![head.to_owned()];
            let rest = rest.as_bytes().chunks(4);
            groups.extend(rest.map(|four| String::from_utf8_lossy(four).into_owned()));
            forms.push(groups.join(" ").trim().to_owned());
        }
    }
    let upper: Vec<String> = forms
        .iter()
        .map(|form| form.to_ascii_uppercase().replace('X', "x"))
        .collect();
    forms.extend(upper);
    forms
}

/// The characters of a base64 text that depend on `bytes` alone, when they stand `offset` bytes
/// after a border of three; in both alphabets.
fn base64_core(bytes: &[u8], offset: usize) -> [Vec<u8>; 2] {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(bytes);
    // The first characters mix in what stands before, the last what follows.
    let skip = (offset * 8).div_ceil(6);
    let whole = padded.len() * 8 / 6;
    let cut = |text: String| {
        text.as_bytes()
            .get(skip..whole)
            .unwrap_or_default()
            .to_vec()
    };
    [
        cut(base64::engine::general_purpose::STANDARD.encode(&padded)),
        cut(base64::engine::general_purpose::URL_SAFE.encode(&padded)),
    ]
}
