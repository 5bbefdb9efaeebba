//! Diagnostics as annotations of GitHub Actions, beside the line that they are about.

use super::{Checked, Place, each_once, whole_message};
use crate::diag::{Severity, Sources, codes};
use crate::report::github::{Weight, command};

pub(super) fn render(checked: &[Checked], sources: &Sources) -> String {
    let mut out = String::new();
    for diagnostic in each_once(checked) {
        let weight = match diagnostic.severity {
            Severity::Error => Weight::Error,
            Severity::Warning => Weight::Warning,
        };
        let mut properties = Vec::new();
        let place = diagnostic.primary.as_ref();
        if let Some(place) = place.and_then(|label| Place::of(sources, label.span)) {
            let file = place.file.trim_start_matches("./");
            properties.push(("file", file.to_owned()));
            properties.push(("line", place.start.line.to_string()));
            properties.push(("endLine", place.end.line.to_string()));
            // Columns are taken only where the annotation stays on one line.
            if place.start.line == place.end.line {
                properties.push(("col", place.start.column.to_string()));
                properties.push(("endColumn", place.end.column.to_string()));
            }
        }
        let code = diagnostic.code.as_str();
        let title = codes::find(code).map_or(String::new(), |known| known.title.to_owned());
        properties.push(("title", format!("{code} {title}")));
        command(&mut out, weight, &properties, &whole_message(diagnostic));
    }
    out
}
