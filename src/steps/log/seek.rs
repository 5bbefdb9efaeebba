//! Where to begin in a large log of which only the end is asked for.
//!
//! Logs are appended to, so their stamps rise, nearly: threads overtake each other, and a clock on
//! the wall goes through an hour twice in autumn. Whether a file is such a log is found out by
//! samples all over it. A file whose samples do not rise is read as a whole, and so is one that ends
//! before the time asked for. What could be missed then lies between two samples, written before
//! the clock was set back by hours and forth again: no log that anybody has seen.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;
use memchr::memchr;

use super::stamp::Stamps;

/// Files below this size are read as a whole: that takes a tenth of a second.
const WORTH_IT: u64 = 256 << 20;

/// How many places are looked at.
const SAMPLES: u64 = 256;

/// How much is read at each.
const SAMPLE: usize = 32 << 10;

/// By how much stamps may go back, and how much earlier than asked for reading begins.
const SLACK: std::time::Duration = std::time::Duration::from_secs(3 * 60 * 60);

/// Where the line begins from which on `file` is read, so that no line since `since` is missed; 0
/// where that cannot be said.
///
/// # Errors
/// When it cannot be read.
pub fn start(file: &File, length: u64, stamps: &Stamps, since: Timestamp) -> std::io::Result<u64> {
    if length < WORTH_IT {
        return Ok(0);
    }
    Ok(search(file, length, SAMPLES, stamps, since)?.unwrap_or(0))
}

fn search(
    file: &File,
    length: u64,
    samples: u64,
    stamps: &Stamps,
    since: Timestamp,
) -> std::io::Result<Option<u64>> {
    let Ok(since) = since.checked_sub(SLACK) else {
        return Ok(None);
    };
    let mut buffer = vec![0; SAMPLE];
    let mut latest = Timestamp::MIN;
    let mut begin = None;
    for sample in 0..samples {
        let offset = length / samples * sample;
        let Some((at, stamp)) = first_stamp(file, offset, &mut buffer, stamps)? else {
            return Ok(None);
        };
        if latest.checked_sub(SLACK).is_ok_and(|least| stamp < least) {
            return Ok(None);
        }
        latest = latest.max(stamp);
        if latest < since {
            begin = Some(at);
        }
    }
    // The end decides whether there is anything to find at all.
    let ends_late = latest >= since;
    Ok(begin.filter(|_| ends_late))
}

/// The first line with a stamp that begins after `offset`, and its stamp.
fn first_stamp(
    file: &File,
    offset: u64,
    buffer: &mut [u8],
    stamps: &Stamps,
) -> std::io::Result<Option<(u64, Timestamp)>> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    let bytes = &buffer[..filled];
    let mut start = match (offset, memchr(b'\n', bytes)) {
        (0, _) => 0,
        (_, Some(at)) => at + 1,
        (_, None) => return Ok(None),
    };
    // The last line of the sample may be cut in the middle of its stamp.
    while let Some(end) = memchr(b'\n', &bytes[start..]).map(|at| start + at) {
        if let Some(stamp) = stamps.read(&bytes[start..end]) {
            return Ok(Some((offset + start as u64, stamp)));
        }
        start = end + 1;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use jiff::tz::TimeZone;
    use jiff::{Timestamp, ToSpan as _};

    use super::super::stamp::{Custom, Stamps};
    use super::search;

    const START: &str = "2026-11-01T00:00:00Z";

    /// A log with a line a minute, in minutes since `START`, and where reading it begins.
    fn begin(minutes: impl Iterator<Item = i64>, since: i64) -> Option<(u64, String)> {
        let epoch: Timestamp = START.parse().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut text = String::new();
        for minute in minutes {
            text += &format!(
                "{:.0} something happened\n\tat some place\n",
                epoch + minute.minutes()
            );
        }
        file.write_all(text.as_bytes()).unwrap();
        let stamps = Stamps::new(epoch, TimeZone::UTC, Custom::default());
        let since = epoch + since.minutes();
        let length = text.len() as u64;
        let begin = search(&file, length, 64, &stamps, since).unwrap()?;
        let line = text[usize::try_from(begin).unwrap()..]
            .lines()
            .next()
            .unwrap();
        Some((begin, line.to_owned()))
    }

    #[test]
    fn begins_a_little_before_the_time_asked_for() {
        let since = 40_000;
        let (at, line) = begin(0..43_200, since).unwrap();
        assert!(at > 0);
        let epoch: Timestamp = START.parse().unwrap();
        let stamp: Timestamp = line.split(' ').next().unwrap().parse().unwrap();
        let before = (epoch + since.minutes()).duration_since(stamp).as_mins();
        // The slack, and no more than the distance of two samples.
        assert!(
            (180..180 + 43_200 / 64 + 2).contains(&before),
            "{before} minutes before"
        );
    }

    #[test]
    fn reads_everything_where_order_is_not_certain() {
        // An older log was appended.
        assert_eq!(begin((20_000..43_200).chain(0..20_000), 40_000), None);
        // It ends long before.
        assert_eq!(begin(0..20_000, 40_000), None);
        // It begins after.
        assert_eq!(begin(41_000..43_200, 40_000), None);
        // Nothing has a stamp.
        assert_eq!(begin(std::iter::empty(), 40_000), None);
        // Threads overtake each other, and an hour comes twice: still in order.
        let shuffled = (0..43_200).map(|minute| if minute % 7 == 0 { minute - 60 } else { minute });
        assert!(begin(shuffled, 40_000).is_some());
    }
}
