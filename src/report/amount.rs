//! Numbers as people read them: how long, how many, how much.

use serde_json::Value;

use crate::base::ByteSize;
pub use crate::base::count::{count, plural};

/// `milliseconds` in at most six columns: `340ms`, `4.2s`, `3m05s`, `2h03m`, `1d02h`.
///
/// Cut, never rounded up, so that nothing is said to have taken as long as its deadline that did not.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Whether the value under `key` is a number of bytes: step types say so in the name.
fn is_bytes(key: &str) -> bool {
    key == "bytes" || key == "size" || key.ends_with("_bytes") || key.ends_with("_size")
}

/// What people call an output named `key`, beside its [`measure`]: `freed_bytes` is what was freed.
/// Empty where the measure says it all.
pub fn label(key: &str) -> &str {
    if key == "bytes" {
        return "";
    }
    key.strip_suffix("_bytes").unwrap_or(key)
}

/// A number that an output named `key` holds, as people read it; `None` for what is no number.
///
/// Sizes get a unit where the name says that they are bytes. Other numbers stay as they are: ids and
/// ports are numbers too, and a comma in one makes it another.
pub fn measure(key: &str, value: &Value) -> Option<String> {
    let number = value.as_number()?;
    if is_bytes(key)
        && let Some(bytes) = number.as_u64()
    {
        return Some(ByteSize(bytes).to_string());
    }
    if number.is_f64()
        && let Some(float) = number.as_f64()
    {
        // Two decimals are what a person compares; the JSON has all of them.
        let text = format!("{float:.2}");
        return Some(text.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    Some(number.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{count, duration, measure};

    #[test]
    fn durations_fit_six_columns() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (7_380_000, "2h03m"),
            (86_400_000, "1d00h"),
            (8_553_600_000, "99d00h"),
        ] {
            assert_eq!(duration(milliseconds), text);
            assert!(text.len() <= 6);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(count(0_u64), "0");
        assert_eq!(count(999_u64), "999");
        assert_eq!(count(1_234_567_u64), "1,234,567");
    }

    #[test]
    fn names_tell_bytes() {
        let text = |key, value| measure(key, &value);
        assert_eq!(text("bytes", json!(1536)).as_deref(), Some("1.5 KiB"));
        assert_eq!(
            text("index_size", json!(1 << 30)).as_deref(),
            Some("1.0 GiB")
        );
        assert_eq!(text("port", json!(5432)).as_deref(), Some("5432"));
        assert_eq!(text("used_percent", json!(81.50)).as_deref(), Some("81.5"));
        assert_eq!(text("load", json!(2.0)).as_deref(), Some("2"));
        assert_eq!(text("bytes", json!("many")), None);
    }
}
