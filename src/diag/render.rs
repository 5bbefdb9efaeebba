//! A diagnostic as people read it, in rustc's layout.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Patch, Renderer, Snippet,
};

use super::{Diagnostic, Label, Severity, Source, Sources};
use crate::base::Span;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colours.
    Plain,
    /// ANSI colours.
    Colored,
}

/// Longest text that is handed to the renderer whole; of a longer one, the lines around the place.
const WINDOW: usize = 64 * 1024;

/// Lines that are drawn at most for one label.
const MAX_LINES: usize = 6;

/// `diagnostic` as text, without a trailing newline.
pub fn render(diagnostic: &Diagnostic, sources: &Sources, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut main = Group::with_title(
        level
            .primary_title(diagnostic.message.as_str())
            .id(diagnostic.code.as_str()),
    );
    for snippet in snippets(diagnostic, sources) {
        main = main.element(snippet);
    }
    for help in &diagnostic.help {
        main = main.element(Element::from(Level::HELP.message(help.as_str())));
    }
    let mut groups = vec![main];
    if let Some(fix) = &diagnostic.fix
        && let Some(source) = sources.get(fix.span.source)
    {
        let window = window_of(source, fix.span);
        let patch = Patch::new(inside(fix.span, &window), fix.replacement.as_str());
        let snippet = Snippet::source(&source.text[window.clone()])
            .line_start(source.position(window.start as u32).line)
            .path(source.name.as_str())
            .patch(patch);
        groups.push(
            Group::with_title(Level::HELP.secondary_title(fix.title.as_str())).element(snippet),
        );
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colored => Renderer::styled(),
    };
    renderer.decor_style(DecorStyle::Ascii).render(&groups)
}

/// One snippet a source, the primary label's first.
fn snippets<'a>(
    diagnostic: &'a Diagnostic,
    sources: &'a Sources,
) -> Vec<Snippet<'a, Annotation<'a>>> {
    let Some(primary) = &diagnostic.primary else {
        return Vec::new();
    };
    let mut order = vec![primary.span.source];
    for label in &diagnostic.secondary {
        if !order.contains(&label.span.source) {
            order.push(label.span.source);
        }
    }
    let mut drawn = Vec::new();
    for id in order {
        let Some(source) = sources.get(id) else {
            continue;
        };
        let labels: Vec<(&Label, AnnotationKind)> =
            std::iter::once((primary, AnnotationKind::Primary))
                .chain(
                    diagnostic
                        .secondary
                        .iter()
                        .map(|label| (label, AnnotationKind::Context)),
                )
                .filter(|(label, _)| label.span.source == id)
                .collect();
        let window = labels
            .iter()
            .map(|(label, _)| window_of(source, label.span))
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .unwrap_or(0..0);
        let mut snippet = Snippet::source(&source.text[window.clone()])
            .line_start(source.position(window.start as u32).line)
            .path(source.name.as_str());
        for (label, kind) in labels {
            let mut annotation = kind.span(inside(shorten(source, label.span), &window));
            if !label.text.is_empty() {
                annotation = annotation.label(label.text.as_str());
            }
            snippet = snippet.annotation(annotation);
        }
        drawn.push(snippet);
    }
    drawn
}

/// The part of a text to draw from: all of a short one, else whole lines around `span`.
fn window_of(source: &Source, span: Span) -> Range<usize> {
    let text = &source.text;
    if text.len() <= WINDOW {
        return 0..text.len();
    }
    let start = floor_boundary(text, (span.start as usize).min(text.len()));
    let from = floor_boundary(text, start.saturating_sub(WINDOW / 8));
    let from = text[from..start]
        .find('\n')
        .map_or(from, |at| from + at + 1);
    let to = floor_boundary(text, (start + WINDOW / 8).min(text.len()));
    let to = text[start..to].rfind('\n').map_or(to, |at| start + at + 1);
    from..to
}

/// A span of many lines is drawn as its first lines.
fn shorten(source: &Source, span: Span) -> Span {
    let start = floor_boundary(&source.text, span.start as usize);
    let end = floor_boundary(&source.text, span.end as usize);
    let text = &source.text[start..end.max(start)];
    let cut = text
        .match_indices('\n')
        .nth(MAX_LINES - 1)
        .map_or(text.len(), |(at, _)| at);
    Span::new(span.source, start, start + text[..cut].trim_end().len())
}

fn inside(span: Span, window: &Range<usize>) -> Range<usize> {
    let clamp = |at: u32| (at as usize).clamp(window.start, window.end) - window.start;
    clamp(span.start)..clamp(span.end)
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
