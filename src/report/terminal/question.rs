//! What is asked of people before a step runs: what it would do, to what, and how things stand.

use std::fmt::Write as _;

use super::look::{Ink, Look};
use super::wrap::Pieces;
use crate::base::StepPath;
use crate::event::{ApprovalAsk, ApprovalKind};
use crate::report::{amount, clean};

/// The most of what is touched that is listed.
const MAX_ITEMS: usize = 10;

/// The most lines on how things stand that are told: where there are more, none of them is worth the room.
const MAX_NOTES: usize = 5;

/// Writes the question.
pub(super) fn write(out: &mut String, look: &Look, path: &StepPath, ask: &ApprovalAsk) {
    let mut text = Pieces::new();
    text.push(Ink::Plain, format!("{path} "));
    let who = match (&ask.from[..], ask.kind) {
        ([], ApprovalKind::Confirm) => "asks for a confirmation".to_owned(),
        ([], ApprovalKind::Approve) => "asks for an approval".to_owned(),
        (from, _) => format!("asks {} for an approval", from.join(", ")),
    };
    text.push(Ink::Warn, format!("{who}: {}", clean::line(&ask.message)));
    if let Some(summary) = ask.preview["summary"].as_str() {
        text.push(Ink::Plain, format!(": {}", clean::line(summary)));
    }
    let _ = write!(out, "{} ", look.paint(Ink::Warn, "?"));
    text.write(out, look, 2, 2);
    let lines = |key: &str| -> Vec<&str> {
        let lines = ask.preview[key].as_array().into_iter().flatten();
        lines.filter_map(|line| line.as_str()).collect()
    };
    let mut line = |ink: Ink, text: &str| {
        out.push_str("    ");
        Pieces::new()
            .and(ink, clean::line(text).into_owned())
            .write(out, look, 4, 6);
    };
    let items = lines("items");
    for item in items.iter().take(MAX_ITEMS) {
        line(Ink::Plain, &format!("| {item}"));
    }
    if let Some(more) = items.len().checked_sub(MAX_ITEMS).filter(|more| *more > 0) {
        line(Ink::Dim, &format!("… and {} more", amount::count(more)));
    }
    // Of a `foreach` step, which says itself how many more there are.
    for item in lines("list") {
        line(Ink::Plain, &format!("| {item}"));
    }
    let notes = lines("notes");
    if notes.len() <= MAX_NOTES {
        for note in notes {
            line(Ink::Dim, note);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::write;
    use crate::event::{ApprovalAsk, ApprovalKind};
    use crate::report::script::path;
    use crate::report::terminal::Look;

    #[test]
    fn it_says_what_it_is_about() {
        let items: Vec<String> = (1..=12).map(|n| format!("session {n}")).collect();
        let ask = ApprovalAsk {
            ask: String::new(),
            kind: ApprovalKind::Confirm,
            message: "End them?".to_owned(),
            from: Vec::new(),
            count: 1,
            separate: false,
            until: None,
            preview: json!({ "summary": "end 12 sessions", "items": items, "notes": ["3 are idle"] }),
            digest: String::new(),
        };
        let mut out = String::new();
        write(&mut out, &Look::PLAIN, &path("end"), &ask);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines[0],
            "? end asks for a confirmation: End them?: end 12 sessions"
        );
        assert_eq!(
            (lines[1], lines[10]),
            ("    | session 1", "    | session 10")
        );
        assert_eq!(lines[11..], ["    … and 2 more", "    3 are idle"]);
    }
}
