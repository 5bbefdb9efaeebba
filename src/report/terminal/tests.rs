//! What people see, as snapshots: read them before you accept them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{Look, Terminal, Verbosity, history, render};
use crate::base::{Format, RunId};
use crate::event::{Happening, RunStatus, Sink, Status, StepResult, Stream, Transient};
use crate::report::json::HistoryRow;
use crate::report::script::{self, Script, ended, planned};

/// A file that the test reads afterwards.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn told(happenings: &[Happening], look: Look, verbosity: Verbosity) -> String {
    let paper = Paper::default();
    let mut terminal = Terminal::plain(paper.clone(), look, verbosity);
    script::tell(&mut terminal, happenings);
    drop(terminal);
    paper.text()
}

fn wide(columns: usize) -> Look {
    Look {
        width: Some(columns),
        ..Look::PLAIN
    }
}

#[test]
fn a_run_in_plain_lines() {
    insta::assert_snapshot!(told(&script::daily_check(), Look::PLAIN, Verbosity::Normal));
}

#[test]
fn a_run_at_80_columns() {
    insta::assert_snapshot!(told(&script::daily_check(), wide(80), Verbosity::Normal));
}

#[test]
fn a_run_at_40_columns() {
    insta::assert_snapshot!(told(&script::daily_check(), wide(40), Verbosity::Normal));
}

#[test]
fn a_run_told_quietly() {
    insta::assert_snapshot!(told(&script::daily_check(), Look::PLAIN, Verbosity::Quiet));
    insta::assert_snapshot!(
        "a_good_run_told_quietly",
        told(&script::quiet_night(), Look::PLAIN, Verbosity::Quiet)
    );
}

#[test]
fn a_run_told_in_full() {
    insta::assert_snapshot!(told(&script::daily_check(), wide(100), Verbosity::Verbose));
}

#[test]
fn a_good_run() {
    insta::assert_snapshot!(told(&script::quiet_night(), wide(80), Verbosity::Normal));
}

#[test]
fn a_run_in_ascii() {
    let look = Look {
        unicode: false,
        ..Look::PLAIN
    };
    insta::assert_snapshot!(told(&script::cancelled(), look, Verbosity::Normal));
}

#[test]
fn a_run_in_chinese() {
    insta::assert_snapshot!(told(&script::chinese(), wide(60), Verbosity::Normal));
}

#[test]
fn a_run_in_colour() {
    let look = Look {
        color: true,
        ..Look::PLAIN
    };
    insta::assert_snapshot!(
        told(&script::daily_check(), look, Verbosity::Normal).replace('\x1b', "ESC")
    );
}

#[test]
fn many_items_are_few_lines() {
    insta::assert_snapshot!(told(
        &script::many_items(10_000),
        wide(80),
        Verbosity::Normal
    ));
    let all = told(&script::many_items(1000), wide(80), Verbosity::Verbose);
    assert!(all.lines().count() > 1000);
}

#[test]
fn an_old_run_looks_like_a_live_one() {
    let state = script::fold(&script::daily_check());
    insta::assert_snapshot!(render(&state, &wide(80), Verbosity::Normal));
}

#[test]
fn a_run_that_still_runs() {
    let mut happenings = script::daily_check();
    happenings.truncate(6);
    let mut state = script::fold(&happenings);
    insta::assert_snapshot!(render(&state, &wide(80), Verbosity::Normal));
    state.interrupted();
    insta::assert_snapshot!(
        "a_run_that_was_interrupted",
        render(&state, &wide(80), Verbosity::Quiet)
    );
}

#[test]
fn output_is_told_as_it_comes() {
    let happenings = script::quiet_night();
    let paper = Paper::default();
    let mut terminal = Terminal::plain(paper.clone(), Look::PLAIN, Verbosity::Verbose);
    for happening in &happenings {
        terminal.happening(happening);
        if happening.event.kind() == "step.start" {
            for text in ["half a ", "line\nand ano", "ther"] {
                terminal.transient(&Transient::Output {
                    path: happening.path.clone().unwrap(),
                    stream: Stream::Stdout,
                    text: text.to_owned(),
                });
            }
        }
    }
    drop(terminal);
    insta::assert_snapshot!(paper.text());
}

/// A `foreach` that went wrong although none of its items did tells it itself.
#[test]
fn a_foreach_that_timed_out() {
    let mut script = Script::new(
        "sweep",
        json!({}),
        vec![planned("clean", "file.delete", "")],
    );
    script.expand("clean", vec![json!("/a"), json!("/b")]);
    script.step("clean[0]", ended(Status::Succeeded, 5));
    script.skip("clean[1]", "the step's time is over");
    script.end(
        "clean",
        1,
        StepResult {
            error: Some("it was not over after 1s".to_owned()),
            ..ended(Status::TimedOut, 1000)
        },
    );
    let happenings = script.finish(RunStatus::Failed, 1);
    insta::assert_snapshot!(told(&happenings, Look::PLAIN, Verbosity::Normal));
    let state = script::fold(&happenings);
    let wrong = "it was not over after 1s";
    assert!(render(&state, &Look::PLAIN, Verbosity::Quiet).contains(wrong));
    for format in [Format::Junit, Format::Github, Format::Markdown] {
        let text = crate::report::render(&state, format).unwrap();
        assert!(text.contains(wrong), "{format}: {text}");
    }
}

/// The second process of a run that the first left in the middle of a `foreach`.
#[test]
fn a_run_that_is_taken_up_again() {
    let happenings = script::daily_check();
    let item = script::path("indexes[2]");
    let middle = happenings
        .iter()
        .position(|h| h.path.as_ref() == Some(&item));
    let (before, after) = happenings.split_at(middle.unwrap());
    let paper = Paper::default();
    let mut terminal = Terminal::plain(paper.clone(), Look::PLAIN, Verbosity::Normal);
    terminal.resume(&script::fold(before));
    script::tell(&mut terminal, after);
    drop(terminal);
    insta::assert_snapshot!(paper.text());
}

#[test]
fn a_question_comes_after_what_was_said() {
    let paper = Paper::default();
    let mut terminal = Terminal::plain(paper.clone(), Look::PLAIN, Verbosity::Normal);
    script::tell(&mut terminal, &script::quiet_night()[..3]);
    let before = terminal.aside(|| paper.text());
    assert!(before.contains("✓ bloat"), "{before}");
}

#[test]
fn a_list_of_runs() {
    let row = |id: &str, playbook: &str, status, took: i64, code| {
        let started_at: jiff::Timestamp = "2026-11-24T03:30:49Z".parse().unwrap();
        HistoryRow {
            id: RunId::parse(id).unwrap(),
            playbook: playbook.to_owned(),
            status,
            started_at,
            ended_at: (took > 0).then(|| started_at + jiff::SignedDuration::from_secs(took)),
            duration_ms: (took > 0).then(|| took.unsigned_abs() * 1000),
            exit_code: (took > 0).then_some(code),
        }
    };
    let rows = [
        row("0mhz3k2q9abc1234", "daily-check", RunStatus::Running, 0, 0),
        row("0mhz3k2q8abc1234", "每日巡检", RunStatus::Succeeded, 12, 0),
        row(
            "0mhz3k2q7abc1234",
            &"long-".repeat(10),
            RunStatus::TimedOut,
            7200,
            124,
        ),
        row("0mhz3k2q6abc1234", "restore", RunStatus::Interrupted, 0, 0),
    ];
    insta::assert_snapshot!(history(&rows, &Look::PLAIN));
    assert_eq!(history(&[], &Look::PLAIN), "no runs\n");
}

/// For eyes: `cargo test --lib look_at_a_live_run -- --ignored --nocapture`, on a terminal.
#[test]
#[ignore = "it is for eyes, and takes its time"]
fn look_at_a_live_run() {
    let look = Look::detect(&std::io::stderr(), anstream::ColorChoice::Auto);
    let verbosity = if std::env::var_os("SHOW_ALL").is_some() {
        Verbosity::Verbose
    } else {
        Verbosity::Normal
    };
    let mut terminal = Terminal::live(look, verbosity);
    let wait = |millis| std::thread::sleep(std::time::Duration::from_millis(millis));
    for happening in script::daily_check() {
        if happening.event.kind() == "step.result" {
            let path = happening.path.clone().unwrap();
            wait(200);
            terminal.transient(&Transient::Output {
                path: path.clone(),
                stream: Stream::Stdout,
                text: "a process says something that is a little longer\n".to_owned(),
            });
            let (total, unit) = match path.step.as_str() {
                "rotate" => (Some(4 << 30), "bytes"),
                "vacuum" => (None, "rows"),
                _ => (None, ""),
            };
            for done in (0..40).filter(|_| !unit.is_empty()) {
                wait(100);
                terminal.transient(&Transient::Progress {
                    path: path.clone(),
                    done: done * (100 << 20),
                    total,
                    unit,
                });
            }
        }
        terminal.happening(&happening);
        wait(300);
    }
}

/// What ten thousand steps cost: `cargo test --release --lib what_it_costs -- --ignored --nocapture`.
#[test]
#[ignore = "a figure, not a test"]
fn what_it_costs() {
    let happenings = script::many_steps(10_000);
    let look = Look {
        color: true,
        ..Look::PLAIN
    };
    for (name, verbosity) in [("normal", Verbosity::Normal), ("quiet", Verbosity::Quiet)] {
        let before = cpu();
        let mut terminal = Terminal::plain(std::io::sink(), look, verbosity);
        script::tell(&mut terminal, &happenings);
        drop(terminal);
        let took = cpu() - before;
        anstream::eprintln!("10,000 steps, {name}: {:.1} ms of CPU", took * 1e3);
    }
    let before = cpu();
    let state = script::fold(&happenings);
    let folded = cpu();
    let text = render(&state, &look, Verbosity::Normal);
    anstream::eprintln!(
        "fold {:.1} ms, render {:.1} ms, {} bytes",
        (folded - before) * 1e3,
        (cpu() - folded) * 1e3,
        text.len()
    );
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
