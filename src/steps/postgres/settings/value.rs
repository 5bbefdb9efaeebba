//! Whether a value that somebody writes is the one that a setting has, as the server reads such values:
//! PostgreSQL's manual, "Setting Parameters", "Parameter Names and Values".

use serde_json::Value;

/// What the server says of a setting's values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Domain<'a> {
    /// The setting's name, as the server spells it.
    pub name: &'a str,
    /// `bool`, `integer`, `real`, `string` or `enum`.
    pub vartype: &'a str,
    /// What a number counts: `8kB`, `ms`, `min`, ….
    pub unit: Option<&'a str>,
}

/// The settings that are lists: their elements count, not the space between them (`GUC_LIST_INPUT` in
/// PostgreSQL's `guc_tables.c`; no view tells).
const LISTS: [&str; 14] = [
    "createrole_self_grant",
    "DateStyle",
    "debug_io_direct",
    "listen_addresses",
    "local_preload_libraries",
    "log_destination",
    "restrict_nonsystem_relation_kind",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "synchronized_standby_slots",
    "temp_tablespaces",
    "unix_socket_directories",
    "wal_consistency_checking",
];

impl Domain<'_> {
    /// Whether `wanted` is the same value as `actual`, which is the server's own text for it.
    ///
    /// # Errors
    /// Why the server would not take `wanted`.
    pub fn is_same(self, wanted: &str, actual: &str) -> Result<bool, String> {
        match self.vartype {
            "bool" => {
                let wanted = boolean(wanted)
                    .ok_or_else(|| format!("`{wanted}` is no boolean: `on` and `off` are"))?;
                Ok(Some(wanted) == boolean(actual))
            }
            "integer" => {
                let wanted = self.number(wanted)?.round_ties_even();
                Ok(actual.parse::<f64>().is_ok_and(|actual| actual == wanted))
            }
            // The server tells a real number to six digits.
            "real" => {
                let wanted = self.number(wanted)?;
                let is_near =
                    |actual: f64| (actual - wanted).abs() <= 5e-6 * actual.abs().max(wanted.abs());
                Ok(actual.parse().is_ok_and(is_near))
            }
            "enum" => Ok(same_word(wanted, actual)),
            _ if LISTS.iter().any(|it| it.eq_ignore_ascii_case(self.name)) => {
                Ok(elements(wanted) == elements(actual))
            }
            _ => Ok(wanted == actual),
        }
    }

    /// A number, in the setting's own unit.
    fn number(self, text: &str) -> Result<f64, String> {
        let text = text.trim();
        let no_number = || format!("`{text}` is no number");
        let (number, unit) = split(text).ok_or_else(no_number)?;
        if unit.is_empty() {
            return Ok(number);
        }
        let base = self
            .unit
            .and_then(base)
            .ok_or_else(|| format!("`{text}` has a unit, and `{}` takes none", self.name))?;
        let wrong = || {
            let units: Vec<&str> = base.units.iter().map(|(name, _)| *name).collect();
            format!(
                "`{text}` has no unit that `{}` takes: {}",
                self.name,
                units.join(", ")
            )
        };
        let at = base.units.iter().position(|(name, _)| *name == unit);
        let at = at.ok_or_else(wrong)?;
        // A fraction of a unit is a whole number of the next smaller one.
        let number = number * base.units[at].1;
        let number = match at.checked_sub(1).and_then(|at| base.units.get(at)) {
            Some((_, smaller)) => (number / smaller).round_ties_even() * smaller,
            None => number,
        };
        Ok(number / base.size)
    }
}

/// A unit that settings count in.
struct Base {
    /// Bytes, or microseconds.
    size: f64,
    /// All that can be written, from small to large.
    units: &'static [(&'static str, f64)],
}

const MEMORY: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1024.0),
    ("MB", 1_048_576.0),
    ("GB", 1_073_741_824.0),
    ("TB", 1_099_511_627_776.0),
];

const TIME: &[(&str, f64)] = &[
    ("us", 1.0),
    ("ms", 1e3),
    ("s", 1e6),
    ("min", 6e7),
    ("h", 3.6e9),
    ("d", 8.64e10),
];

/// What `unit` of `pg_settings` is: one of the units above, or several of one (`8kB`).
fn base(unit: &str) -> Option<Base> {
    let (many, name) = split(unit).unwrap_or((1.0, unit));
    [MEMORY, TIME].into_iter().find_map(|units| {
        let (_, size) = units.iter().find(|(it, _)| *it == name)?;
        Some(Base {
            size: many * size,
            units,
        })
    })
}

/// A number, and the unit behind it. As in C: decimal, with a fraction or an exponent, `0x…`, `0…`.
fn split(text: &str) -> Option<(f64, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let end_of =
        |digits: &str, is: fn(char) -> bool| digits.find(|c| !is(c)).unwrap_or(digits.len());
    if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        let end = end_of(hex, |c| c.is_ascii_hexdigit());
        let number = i64::from_str_radix(&hex[..end], 16).ok()?;
        return Some((sign * number as f64, hex[end..].trim_start()));
    }
    let whole = end_of(digits, |c| c.is_ascii_digit());
    let mut end = end_of(digits, |c| c.is_ascii_digit() || c == '.');
    if end == whole && whole > 1 && digits.starts_with('0') {
        let number = i64::from_str_radix(&digits[..whole], 8).ok()?;
        return Some((sign * number as f64, digits[whole..].trim_start()));
    }
    let behind = &digits[end..];
    if let Some(exponent) = behind.strip_prefix(['e', 'E']) {
        let signed = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let length = end_of(signed, |c| c.is_ascii_digit());
        if length > 0 {
            end = digits.len() - signed.len() + length;
        }
    }
    let number: f64 = digits[..end].parse().ok()?;
    Some((sign * number, digits[end..].trim_start()))
}

/// `true`, `yes`, `on`, `1` and their opposites, and what they begin with where that is clear.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// Whether two words of an enumeration are the same. Some have words that can be written and are never
/// shown (`guc_tables.c`): booleans for `on` and `off`, and where `on` has a better name by now
/// (`wal_compression`); `debug` among the levels of messages.
fn same_word(wanted: &str, actual: &str) -> bool {
    let hidden = match actual {
        "on" | "pglz" => boolean(wanted) == Some(true),
        "off" => boolean(wanted) == Some(false),
        "debug2" => wanted.eq_ignore_ascii_case("debug"),
        _ => false,
    };
    hidden || wanted.eq_ignore_ascii_case(actual)
}

/// The elements of a list: names without their quotes. What is not quoted is not a matter of case.
fn elements(list: &str) -> Vec<String> {
    let mut elements = vec![String::new()];
    let mut quoted = false;
    for c in list.chars() {
        let Some(last) = elements.last_mut() else {
            break;
        };
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => elements.push(String::new()),
            c if quoted => last.push(c),
            c if c.is_whitespace() && (last.is_empty() || last.ends_with(' ')) => {}
            c if c.is_whitespace() => last.push(' '),
            c => last.extend(c.to_lowercase()),
        }
    }
    { elements.iter() }
        .map(|element| element.trim_end().to_owned())
        .filter(|element| !element.is_empty())
        .collect()
}

/// What an author wrote, as text; none where it is no single value.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A value as people read it: a number with its unit.
pub(super) fn shown(value: &str, unit: Option<&str>) -> String {
    let base = unit.and_then(base);
    let (Some(base), Ok(number)) = (base, value.parse::<f64>()) else {
        return match value {
            "" => "empty".to_owned(),
            value => value.to_owned(),
        };
    };
    // 0 and -1 have meanings of their own.
    if number <= 0.0 {
        return value.to_owned();
    }
    let whole = number * base.size;
    let fits = |&&(_, size): &&(&str, f64)| whole % size == 0.0;
    match base.units.iter().rfind(fits) {
        Some((name, size)) => format!("{}{name}", whole / size),
        None => format!("{value}{}", unit.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Domain, shown};

    fn same(vartype: &str, unit: Option<&str>, wanted: &str, actual: &str) -> Result<bool, String> {
        let domain = Domain {
            name: "x",
            vartype,
            unit,
        };
        domain.is_same(wanted, actual)
    }

    #[test]
    fn sizes_and_durations_have_units() {
        for (unit, wanted, actual) in [
            ("8kB", "128MB", "16384"),
            ("8kB", "16384", "16384"),
            ("8kB", "0.125GB", "16384"),
            ("8kB", "131072 kB", "16384"),
            ("kB", "4MB", "4096"),
            ("kB", "0x1000", "4096"),
            ("kB", "010000", "4096"),
            ("MB", "1TB", "1048576"),
            ("B", "1kB", "1024"),
            ("16MB", "80MB", "5"),
            ("s", "5min", "300"),
            ("ms", "1.5s", "1500"),
            ("ms", "1h", "3600000"),
            ("ms", "-1", "-1"),
            ("min", "1d", "1440"),
            // 30.1 GB are a whole number of MB, as the server's own log would tell.
            ("kB", "30.1GB", "31561728"),
        ] {
            let found = same("integer", Some(unit), wanted, actual);
            assert_eq!(found, Ok(true), "{wanted} of {unit}");
        }
        assert_eq!(same("integer", Some("8kB"), "128MB", "16383"), Ok(false));
        assert_eq!(same("integer", None, "100.4", "100"), Ok(true));
        assert_eq!(same("real", Some("ms"), "2000us", "2"), Ok(true));
        assert_eq!(same("real", None, "0.3333333", "0.333333"), Ok(true));
        assert_eq!(same("real", None, "1.1", "1.2"), Ok(false));
        assert_eq!(same("real", None, "5e-1", "0.5"), Ok(true));
    }

    #[test]
    fn what_the_server_would_not_take_is_said() {
        for (vartype, unit, wanted, said) in [
            ("integer", Some("8kB"), "1GiB", "B, kB, MB, GB, TB"),
            ("integer", Some("8kB"), "1gb", "B, kB, MB, GB, TB"),
            ("integer", Some("ms"), "1m", "us, ms, s, min, h, d"),
            ("integer", None, "1MB", "takes none"),
            ("integer", None, "many", "no number"),
            ("bool", None, "o", "no boolean"),
        ] {
            let error = same(vartype, unit, wanted, "1").unwrap_err();
            assert!(error.contains(said), "{wanted}: {error}");
        }
    }

    #[test]
    fn words_are_the_servers() {
        for (vartype, wanted, actual, expected) in [
            ("bool", "true", "on", true),
            ("bool", "OF", "off", true),
            ("bool", "1", "off", false),
            ("enum", "REPLICA", "replica", true),
            ("enum", "true", "on", true),
            ("enum", "local", "on", false),
            ("enum", "on", "pglz", true),
            ("enum", "no", "none", false),
            ("string", "%m [%p] ", "%m [%p] ", true),
            ("string", "%m [%p]", "%m [%p] ", false),
        ] {
            let found = same(vartype, None, wanted, actual);
            assert_eq!(found, Ok(expected), "{wanted} and {actual}");
        }
    }

    #[test]
    fn lists_are_the_same_whatever_their_spaces() {
        let search_path = Domain {
            name: "search_path",
            vartype: "string",
            unit: None,
        };
        let same = |wanted, actual| search_path.is_same(wanted, actual).unwrap();
        assert!(same("\"$user\",public", "\"$user\", public"));
        assert!(same("Public", "public"));
        assert!(!same("\"Public\"", "public"));
        assert!(!same("public, a", "a, public"));
    }

    #[test]
    fn people_read_units() {
        for (value, unit, text) in [
            ("16384", Some("8kB"), "128MB"),
            ("300", Some("s"), "5min"),
            ("-1", Some("ms"), "-1"),
            ("100", None, "100"),
            ("", None, "empty"),
            ("2.5", Some("ms"), "2500us"),
        ] {
            assert_eq!(shown(value, unit), text);
        }
    }
}
