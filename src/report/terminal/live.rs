//! What moves at the foot of the screen while a run goes on. Lines scroll up above it, and at the end
//! it is gone.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::board::{Board, Counts, Picture, Progress, Row};
use super::look::{self, Ink, Look};
use super::step::Columns;
use super::wrap::{cut, width};
use crate::base::{ByteSize, StepPath};
use crate::report::pen::Painter;
use crate::report::{amount, clean};

/// How often the spinners turn.
const BEAT: Duration = Duration::from_millis(100);

/// Steps that are drawn as running at most; of the others, their number.
const MAX_ROWS: usize = 8;

/// Draws a [`Board`] below the lines that are written.
pub(super) struct Live<W> {
    out: W,
    board: Board,
    look: Look,
    multi: MultiProgress,
    bars: IndexMap<StepPath, Bar>,
    /// How far the run is, below all bars.
    foot: Option<ProgressBar>,
    columns: usize,
}

struct Bar {
    bar: ProgressBar,
    shape: Shape,
}

/// What a bar is drawn from; a change needs another template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A spinner and words.
    Words,
    /// A bar of something with a known size.
    Bar { bytes: bool, narrow: bool },
    /// Something whose size is not known.
    Count { bytes: bool },
}

impl<W: Write + Send> Live<W> {
    pub(super) fn new(out: W, board: Board, look: Look) -> Self {
        Self {
            out,
            board,
            look,
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            bars: IndexMap::new(),
            foot: None,
            columns: look.width.unwrap_or(80),
        }
    }

    fn draw(&mut self, picture: &Picture) {
        if picture.hidden {
            self.clear();
            return;
        }
        if picture.counts.total == 0 {
            return;
        }
        let room = look::height(&io::stderr()).map_or(MAX_ROWS, |lines| lines / 2);
        let rows = &picture.rows[..picture.rows.len().min(MAX_ROWS).min(room.max(1))];
        self.bars.retain(|path, bar| {
            let stays = rows.iter().any(|(other, _)| other == path);
            if !stays {
                self.multi.remove(&bar.bar);
            }
            stays
        });
        let foot = self.foot(picture.counts, picture.rows.len() - rows.len());
        for (path, row) in rows {
            self.row(&foot, path, row, picture.columns);
        }
        foot.tick();
    }

    fn foot(&mut self, counts: Counts, hidden: usize) -> ProgressBar {
        let foot = self.foot.get_or_insert_with(|| {
            let bar = self.multi.add(ProgressBar::no_length());
            bar.set_style(template("  {wide_msg}"));
            bar
        });
        let took = u64::try_from(counts.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut text = format!(
            "{}/{}, {}",
            amount::count(counts.over),
            amount::plural(counts.total, "step"),
            amount::duration(took)
        );
        if hidden > 0 {
            text.push_str(&format!(", {hidden} more running"));
        }
        if counts.bad > 0 {
            let bad = format!(", {} failed", counts.bad);
            text.push_str(&self.look.paint(Ink::Bad, bad).to_string());
        }
        foot.set_message(text);
        foot.clone()
    }

    fn row(&mut self, foot: &ProgressBar, path: &StepPath, row: &Row, columns: Columns) {
        let shape = Shape::of(row, self.columns);
        let look = self.look;
        let bar = self.bars.entry(path.clone()).or_insert_with(|| {
            let bar = ProgressBar::no_length().with_elapsed(row.since.elapsed());
            let bar = self.multi.insert_before(foot, bar);
            bar.set_style(shape.style(&look));
            Bar { bar, shape }
        });
        if bar.shape != shape {
            bar.shape = shape;
            bar.bar.set_style(shape.style(&look));
        }
        let prefix = columns.pad(&path.to_string());
        let room = room(self.columns, &prefix);
        bar.bar
            .set_prefix(look.paint(Ink::Strong, prefix).to_string());
        bar.bar.set_message(words(&look, row, room));
        if let Some(progress) = row.progress {
            if let Some(total) = progress.total {
                bar.bar.set_length(total);
            }
            bar.bar.set_position(progress.done);
        }
        bar.bar.tick();
    }

    fn clear(&mut self) {
        for (_, bar) in self.bars.drain(..) {
            bar.bar.finish_and_clear();
            self.multi.remove(&bar.bar);
        }
        if let Some(foot) = self.foot.take() {
            foot.finish_and_clear();
            self.multi.remove(&foot);
        }
        // A terminal that is gone is told by the next write.
        let _ = self.multi.clear();
    }
}

impl<W: Write + Send> Painter for Live<W> {
    fn paint(&mut self, text: &[u8]) -> io::Result<()> {
        self.columns = look::width(&io::stderr()).unwrap_or(self.columns);
        let picture = self.board.picture();
        if picture.hidden {
            self.clear();
        }
        if !text.is_empty() {
            let out = &mut self.out;
            self.multi
                .suspend(|| out.write_all(text).and_then(|()| out.flush()))?;
        }
        self.draw(&picture);
        Ok(())
    }

    fn beat(&self) -> Option<Duration> {
        Some(BEAT)
    }

    fn end(&mut self) {
        self.clear();
    }
}

impl Shape {
    fn of(row: &Row, columns: usize) -> Self {
        match row.progress {
            None => Self::Words,
            Some(Progress { total, unit, .. }) => {
                let bytes = unit == "bytes";
                match total {
                    Some(total) if total > 0 => Self::Bar {
                        bytes,
                        narrow: columns < 76,
                    },
                    _ => Self::Count { bytes },
                }
            }
        }
    }

    fn style(self, look: &Look) -> ProgressStyle {
        let text = match self {
            Self::Words => "{spinner} {prefix} {took:>6}  {wide_msg}",
            Self::Bar {
                bytes: true,
                narrow: false,
            } => "{spinner} {prefix} {took:>6}  {bar:20} {size} {rate} {left} {wide_msg}",
            Self::Bar { bytes: true, .. } => {
                "{spinner} {prefix} {took:>6}  {percent:>3}% {wide_msg}"
            }
            Self::Bar { narrow: false, .. } => {
                "{spinner} {prefix} {took:>6}  {bar:20} {human_pos}/{human_len} {wide_msg}"
            }
            Self::Bar { .. } => "{spinner} {prefix} {took:>6}  {human_pos}/{human_len} {wide_msg}",
            Self::Count { bytes: true } => "{spinner} {prefix} {took:>6}  {size} {rate} {wide_msg}",
            Self::Count { .. } => "{spinner} {prefix} {took:>6}  {human_pos} {wide_msg}",
        };
        template(text)
            .tick_chars(look.symbol("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ", "|/-\\ "))
            .progress_chars(look.symbol("━╸─", "=>-"))
    }
}

fn template(text: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .with_key("took", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let millis = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
            let _ = out.write_str(&amount::duration(millis));
        })
        .with_key("size", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}", ByteSize(state.pos()));
            if let Some(total) = state.len() {
                let _ = write!(out, " of {}", ByteSize(total));
            }
        })
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let rate = state.per_sec();
            if rate.is_finite() && rate >= 1.0 {
                let _ = write!(out, "{}/s", ByteSize(rate as u64));
            }
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let left = state.eta().as_secs();
            if left > 0 {
                let _ = write!(out, "{} left", amount::duration(left * 1000));
            }
        })
}

/// The columns of the words behind `prefix`. The last one of the line stays free: a terminal whose
/// cursor goes to the next line there would keep what is drawn over.
fn room(columns: usize, prefix: &str) -> usize {
    let before = "⠋ ".chars().count() + width(prefix) + " 100ms   ".len();
    columns.saturating_sub(before + 1)
}

/// What stands behind the numbers, in at most `room` columns: the unit, the name, or which attempt is
/// waited for.
fn words(look: &Look, row: &Row, room: usize) -> String {
    if let Some((attempt, at)) = row.retry {
        let left = at.saturating_duration_since(Instant::now()).as_millis();
        let left = amount::duration(u64::try_from(left).unwrap_or(u64::MAX));
        let text = format!("attempt {attempt} in {left}");
        return look.paint(Ink::Warn, text).to_string();
    }
    let unit = row.progress.map(|progress| progress.unit);
    let name = row.name.as_deref().map(clean::line);
    let text = match (unit, name) {
        (None | Some("bytes"), None) => return String::new(),
        (None | Some("bytes"), Some(name)) => name.into_owned(),
        (Some(unit), None) => unit.to_owned(),
        (Some(unit), Some(name)) => format!("{unit}, {name}"),
    };
    look.paint(Ink::Dim, cut(look, &text, room)).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Look, Row, room, words};
    use crate::report::terminal::wrap::width;

    #[test]
    fn the_last_column_stays_free() {
        for name in ["x".repeat(100), "磁盘".repeat(50)] {
            let row = Row {
                name: Some(name),
                since: Instant::now(),
                progress: None,
                retry: None,
            };
            let text = words(&Look::PLAIN, &row, room(80, "backup"));
            let line = format!("⠋ backup  100ms  {text}");
            assert!((77..=79).contains(&width(&line)), "{line}");
        }
    }
}
