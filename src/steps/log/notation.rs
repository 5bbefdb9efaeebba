//! How log lines spell time: ISO 8601 and its kin, CLF, syslog, seconds since 1970.
//!
//! Written by hand because a log has millions of lines, most of them to be refused after a byte or
//! two, and because programs write what no one format takes: `,789` for fractions, a zone or none.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Written {
    /// A moment.
    Moment(Timestamp),
    /// A time on some clock on the wall.
    Local(DateTime),
    /// The same without a year.
    Yearless(Yearless),
}

/// A time on some clock on the wall, in a year that it does not name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yearless {
    month: i8,
    day: i8,
    time: Time,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Time {
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: i32,
}

impl Yearless {
    /// In `year`, if that has such a day.
    pub fn in_year(self, year: i16) -> Option<DateTime> {
        date_time(year, self.month, self.day, self.time)
    }
}

fn date_time(year: i16, month: i8, day: i8, time: Time) -> Option<DateTime> {
    let Time {
        hour,
        minute,
        second,
        nanosecond,
    } = time;
    DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()
}

/// The stamp that `text` begins with.
pub fn read(text: &[u8]) -> Option<Written> {
    let cursor = Cursor { rest: text };
    let digits = text.iter().take(20).take_while(|b| b.is_ascii_digit());
    match digits.count() {
        0 => cursor.month_first(),
        1 | 2 => cursor.day_first(),
        4 => cursor.year_first(),
        10 | 13 | 16 | 19 => cursor.epoch(),
        _ => None,
    }
}

/// What follows the level (`ERROR `, `[WARN] `) or the process (`77:M `, Redis) at the beginning of
/// a line.
pub fn past_prefix(line: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor { rest: line };
    if cursor.number(1, 10).is_some() {
        cursor.byte(b':')?;
        cursor.take(u8::is_ascii_uppercase)?;
    } else {
        let _ = cursor.byte(b'[');
        let letters = cursor.rest.iter().take_while(|b| b.is_ascii_uppercase());
        let letters = letters.count();
        cursor.rest = (3..=10)
            .contains(&letters)
            .then(|| &cursor.rest[letters..])?;
        while cursor.take(|b| b"]:".contains(b)).is_some() {}
    }
    cursor.byte(b' ')?;
    Some(cursor.rest.trim_ascii_start())
}

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// What is left to read of a text. Each method takes what it names, or leaves everything.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take(&mut self, fits: impl Fn(&u8) -> bool) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        fits(first).then(|| {
            self.rest = rest;
            *first
        })
    }

    fn byte(&mut self, byte: u8) -> Option<u8> {
        self.take(|b| *b == byte)
    }

    /// A number of `min` to `max` digits, with no digit after it.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let digits = self.rest.iter().take(max + 1);
        let count = digits.take_while(|b| b.is_ascii_digit()).count();
        if !(min..=max).contains(&count) {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(digits.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
    }

    fn small(&mut self, min: usize, max: usize) -> Option<i8> {
        self.number(min, max)?.try_into().ok()
    }

    fn year(&mut self) -> Option<i16> {
        self.number(4, 4)?.try_into().ok()
    }

    fn word(&mut self, words: &[&[u8; 3]]) -> Option<i8> {
        let (word, rest) = self.rest.split_first_chunk::<3>()?;
        let at = words.iter().position(|known| *known == word)?;
        self.rest = rest;
        i8::try_from(at + 1).ok()
    }

    /// `12:34:56`, `12:34:56.789`, `12:34:56,789`.
    fn time(&mut self) -> Option<Time> {
        let hour = self.small(2, 2)?;
        self.byte(b':')?;
        let minute = self.small(2, 2)?;
        self.byte(b':')?;
        let second = self.small(2, 2)?;
        Some(Time {
            hour,
            minute,
            // A leap second, which the calendar does not have.
            second: if second == 60 { 59 } else { second },
            nanosecond: self.fraction(),
        })
    }

    /// `.789` or `,789`, in nanoseconds.
    fn fraction(&mut self) -> i32 {
        let mut ahead = *self;
        if ahead.take(|b| b".,".contains(b)).is_none() {
            return 0;
        }
        let mut unit = 100_000_000;
        let mut nanoseconds = 0;
        let mut any = false;
        while let Some(digit) = ahead.take(u8::is_ascii_digit) {
            nanoseconds += i32::from(digit - b'0') * unit;
            unit /= 10;
            any = true;
        }
        if any {
            self.rest = ahead.rest;
        }
        nanoseconds
    }

    /// `Z`, `+02:00`, `+0200`, `+02`, ` UTC`, or nothing. Other letters name no one zone.
    fn zone(&mut self) -> Option<Offset> {
        let spaced = self.byte(b' ').is_some();
        for name in [&b"UTC"[..], b"GMT", b"Z"] {
            if let Some(rest) = self.rest.strip_prefix(name) {
                let ends = !rest.first().is_some_and(u8::is_ascii_alphanumeric);
                return ends.then_some(Offset::UTC);
            }
        }
        let sign = if self.take(|b| b"+-".contains(b))? == b'-' {
            -1
        } else {
            1
        };
        let (hours, minutes) = if let Some(both) = self.number(4, 4) {
            (both / 100, both % 100)
        } else {
            let hours = self.number(2, 2)?;
            match self.byte(b':') {
                Some(_) => (hours, self.number(2, 2)?),
                None if spaced => return None,
                None => (hours, 0),
            }
        };
        // Every zone is within 14 hours and on a quarter; what is not is some other number.
        let fits = hours <= 14 && minutes < 60 && minutes % 15 == 0;
        let seconds = i32::try_from(sign * (hours * 60 + minutes) * 60).ok()?;
        fits.then(|| Offset::from_seconds(seconds).ok()).flatten()
    }

    fn with_zone(mut self, time: DateTime) -> Option<Written> {
        match self.zone() {
            Some(offset) => offset.to_timestamp(time).ok().map(Written::Moment),
            None => Some(Written::Local(time)),
        }
    }

    /// `2026-07-05T12:34:56Z`, `2026-07-05 12:34:56,789`, `2026/07/05 12:34:56`.
    fn year_first(mut self) -> Option<Written> {
        let year = self.year()?;
        let separator = self.take(|b| b"-/".contains(b))?;
        let month = self.small(2, 2)?;
        self.byte(separator)?;
        let day = self.small(2, 2)?;
        self.take(|b| b"T ".contains(b))?;
        let time = self.time()?;
        self.with_zone(date_time(year, month, day, time)?)
    }

    /// `05/Jul/2026:12:34:56 +0000`, `05 Jul 2026 12:34:56.789`, `05-Jul-2026 12:34:56 UTC`.
    fn day_first(mut self) -> Option<Written> {
        let day = self.small(1, 2)?;
        let separator = self.take(|b| b"/ -".contains(b))?;
        let month = self.word(&MONTHS)?;
        self.byte(separator)?;
        let year = self.year()?;
        self.take(|b| b": ".contains(b))?;
        let time = self.time()?;
        self.with_zone(date_time(year, month, day, time)?)
    }

    /// `Jul  5 12:34:56`, `Sun Jul 05 12:34:56.123456 2026`.
    fn month_first(mut self) -> Option<Written> {
        let weekday = self.word(&WEEKDAYS).is_some();
        if weekday {
            self.byte(b' ')?;
        }
        let month = self.word(&MONTHS)?;
        self.byte(b' ')?;
        let _ = self.byte(b' ');
        let day = self.small(1, 2)?;
        self.byte(b' ')?;
        let time = self.time()?;
        if weekday
            && self.byte(b' ').is_some()
            && let Some(year) = self.year()
        {
            return date_time(year, month, day, time).map(Written::Local);
        }
        // February may have this day in another year, and no month has 32.
        let any = Yearless { month, day, time };
        any.in_year(2024).map(|_| Written::Yearless(any))
    }

    /// Seconds since 1970, with a fraction or without; or milli-, micro-, nanoseconds. Seconds from
    /// 2001 to 2096: other numbers of ten digits are something else.
    fn epoch(mut self) -> Option<Written> {
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let number = self.number(10, 19)?;
        let unit = 10_i64.checked_pow(u32::try_from(digits - 10).ok()?)?;
        let seconds = number / unit;
        let nanoseconds = if unit == 1 {
            self.fraction()
        } else {
            i32::try_from(number % unit * (1_000_000_000 / unit)).ok()?
        };
        if !(1_000_000_000..4_000_000_000).contains(&seconds)
            || self
                .rest
                .first()
                .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
        {
            return None;
        }
        Timestamp::new(seconds, nanoseconds)
            .ok()
            .map(Written::Moment)
    }
}
