//! From the scanner's events to the tree.
//!
//! Finished nodes wait on two stacks, one for items and one for entries, until their collection
//! ends and takes them over in one piece. Nothing here recurses, so depth cannot overflow a stack.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::{Event, Parser, Span as Mark, Tag};

use super::anchors::{Anchors, Extent, Found};
use super::excerpt::Excerpt;
use super::feed::{Feed, Gate};
use super::node::{Entry, Kind, Map, Node};
use super::offsets::Offsets;
use super::{budget, keys, places, syntax, tags};
use crate::base::{SourceId, Span, Spanned};
use crate::diag::{Diagnostic, Diagnostics};

/// Ends the parse: what is wrong is so wrong that there is no tree.
pub(super) type Fatal = Box<Diagnostic>;

/// The tree of the one document in `text`.
///
/// # Errors
/// What keeps it from being built: a syntax error or a budget. `None` where there is no document.
pub(super) fn build(
    source: SourceId,
    text: &str,
    out: &mut Diagnostics,
) -> Result<Option<Node>, Fatal> {
    let told = out.len();
    let gate = Gate::default();
    let (scanned, inserted) = open_document(text);
    let mut parser = Parser::new(Feed::new(&scanned, &gate));
    let mut builder = Builder::new(source, text, Offsets::new(&scanned, inserted), out);
    while let Some(next) = parser.next_event() {
        if gate.closed.get() {
            return Err(budget::too_far_ahead(source, text, builder.cursor));
        }
        match next {
            Ok((event, mark)) => {
                if builder.take(event, mark)? == Progress::Done {
                    break;
                }
            }
            Err(error) => {
                let at = builder.offsets.byte(error.marker().index());
                let place = Excerpt::new(source, text, at, builder.innermost_flow());
                return Err(Box::new(syntax::explain(&error, &place)));
            }
        }
        gate.taken.set(builder.reached);
        budget::check_findings(builder.out.len() - told, source, builder.cursor)?;
    }
    Ok(builder.root)
}

/// The text to scan, and where [`DOCUMENT`] was put into it.
///
/// A bracket at the start of a line could be a mapping key, so the scanner would keep all of a JSON
/// file in memory until its last bracket. After `---` it cannot be one.
fn open_document(text: &str) -> (Cow<'_, str>, Option<Range<usize>>) {
    let at = places::skip_blank(text.as_bytes(), 0);
    match text.as_bytes().get(at) {
        Some(b'[' | b'{') => (
            Cow::Owned([&text[..at], DOCUMENT, &text[at..]].concat()),
            Some(at..at + DOCUMENT.len()),
        ),
        _ => (Cow::Borrowed(text), None),
    }
}

const DOCUMENT: &str = "\n--- ";

#[derive(PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// What stands before a node.
pub(super) struct Properties<'t> {
    /// The anchor's number, or 0.
    pub(super) anchor: usize,
    pub(super) tag: Option<Cow<'t, Tag>>,
    /// Where the node or the first of its properties starts.
    pub(super) at: usize,
}

impl Properties<'_> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        usize::from(self.anchor > 0) + usize::from(self.tag.is_some())
    }
}

/// What the next node is to the collection around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Root,
    Item,
    Key,
    Value,
}

enum State {
    Items,
    Key,
    /// The key, or `None` where it was refused: its value is dropped.
    Value(Option<Spanned<Box<str>>>),
}

/// A collection that has not ended.
struct Frame {
    start: usize,
    state: State,
    flow: bool,
    anchor: usize,
    /// Where its nodes start on the stack of items or entries.
    base: usize,
    /// What had been counted when it started.
    before: Extent,
    height: usize,
}

/// The tree as far as it is built.
pub(super) struct Builder<'a, 'd> {
    source: SourceId,
    text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) offsets: Offsets<'a>,
    pub(super) out: &'d mut Diagnostics,
    /// One past the last byte that belongs to a node so far.
    pub(super) cursor: usize,
    /// The last byte that an event named: how far the scanner has been followed.
    reached: usize,
    frames: Vec<Frame>,
    items: Vec<Node>,
    entries: Vec<Entry>,
    pub(super) anchors: Anchors,
    /// Nodes and bytes so far, copies included.
    count: Extent,
    documents: usize,
    root: Option<Node>,
}

impl<'a, 'd> Builder<'a, 'd> {
    fn new(
        source: SourceId,
        text: &'a str,
        offsets: Offsets<'a>,
        out: &'d mut Diagnostics,
    ) -> Self {
        Self {
            source,
            text,
            bytes: text.as_bytes(),
            offsets,
            out,
            cursor: 0,
            reached: 0,
            frames: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
            anchors: Anchors::new(text),
            count: Extent::default(),
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<Progress, Fatal> {
        let at = self.offsets.byte(mark.start.index());
        self.reached = self.reached.max(at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, &Properties { anchor, tag, at }, mark)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(State::Items, &Properties { anchor, tag, at })?;
            }
            Event::MappingStart(anchor, tag) => {
                self.open(State::Key, &Properties { anchor, tag, at })?;
            }
            Event::SequenceEnd => self.close(at, b']', !mark.is_empty()),
            Event::MappingEnd => self.close(at, b'}', !mark.is_empty()),
            Event::Alias(anchor) => {
                let end = self.offsets.byte(mark.end.index());
                self.alias(anchor, self.span(at, end))?;
            }
            Event::DocumentStart(explicit) => {
                self.documents += 1;
                let explicit = explicit && self.text[at..].starts_with("---");
                let end = if explicit { at + 3 } else { at };
                if self.documents > 1 {
                    self.out.push(budget::second_document(self.span(at, end)));
                    return Ok(Progress::Done);
                }
                self.cursor = if explicit {
                    end
                } else {
                    places::document_start(self.bytes)
                };
            }
            Event::StreamEnd => return Ok(Progress::Done),
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
        }
        Ok(Progress::More)
    }

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.source, start, end.min(self.text.len()))
    }

    pub(super) fn role(&self) -> Role {
        match self.frames.last().map(|frame| &frame.state) {
            None => Role::Root,
            Some(State::Items) => Role::Item,
            Some(State::Key) => Role::Key,
            Some(State::Value(_)) => Role::Value,
        }
    }

    /// The start of the innermost collection in brackets or braces that is open.
    fn innermost_flow(&self) -> Option<usize> {
        let frame = self.frames.iter().rev().find(|frame| frame.flow)?;
        matches!(self.bytes.get(frame.start), Some(b'[' | b'{')).then_some(frame.start)
    }

    fn open(&mut self, state: State, properties: &Properties<'_>) -> Result<(), Fatal> {
        let is_map = matches!(state, State::Key);
        let start = self.start_of_collection(is_map, properties);
        let span = self.span(start, start + 1);
        budget::check_depth(self.frames.len() + 1, span)?;
        self.count(1, 0, span)?;
        if let Some(tag) = &properties.tag {
            tags::of_collection(tag, is_map, self.tag_span(properties.at), self.out);
        }
        let bracket = matches!(self.bytes.get(start), Some(b'[' | b'{'));
        let in_flow = self.frames.last().is_some_and(|frame| frame.flow);
        self.frames.push(Frame {
            start,
            // A pair inside brackets, `[a: b]`, is a mapping without braces.
            flow: bracket || in_flow,
            anchor: properties.anchor,
            base: if is_map {
                self.entries.len()
            } else {
                self.items.len()
            },
            before: self.count,
            height: 0,
            state,
        });
        self.cursor = self.cursor.max(start + usize::from(bracket));
        Ok(())
    }

    fn start_of_collection(&self, is_map: bool, properties: &Properties<'_>) -> usize {
        let at = properties.at;
        if properties.count() > 0 {
            return places::skip_properties(self.bytes, at, properties.count()).1;
        }
        if is_map || self.role() != Role::Value {
            return at;
        }
        // The scanner places a sequence that is not indented behind its first dash.
        let colon = places::skip_blank(self.bytes, self.cursor);
        let start = places::skip_blank(self.bytes, colon + 1);
        if self.bytes.get(start) == Some(&b'-') {
            start
        } else {
            at
        }
    }

    /// Ends the innermost collection. `at` is the place of `closer` if `marked` and it stands there.
    fn close(&mut self, at: usize, closer: u8, marked: bool) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        let closed = marked && self.bytes.get(at) == Some(&closer);
        if closed {
            self.cursor = at + 1;
        }
        let span = self.span(frame.start, self.cursor.max(frame.start));
        let kind = if matches!(frame.state, State::Items) {
            Kind::Seq(self.items.drain(frame.base..).collect())
        } else {
            keys::refuse_duplicates(&mut self.entries, frame.base, self.out);
            Kind::Map(Map {
                entries: self.entries.drain(frame.base..).collect(),
                // A block mapping can start with a brace: `{ a: b }: c`.
                flow: frame.flow && (closed || self.bytes.get(frame.start) != Some(&b'{')),
            })
        };
        let node = Node { span, kind };
        let height = frame.height + 1;
        if frame.anchor > 0 {
            let extent = Extent {
                nodes: self.count.nodes - frame.before.nodes + 1,
                bytes: self.count.bytes - frame.before.bytes,
                height,
            };
            self.anchors.keep(frame.anchor, &node, extent);
        }
        self.put(node, span, height);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fatal> {
        self.cursor = span.end as usize;
        let depth = self.frames.len();
        let (node, extent) = match self.anchors.repeat(anchor) {
            Found::Value(node, extent) => {
                budget::check_depth(depth + extent.height, span)?;
                (node.clone(), extent)
            }
            Found::OverBudget => return Err(budget::too_many_copies(span)),
            Found::Inside => {
                self.out.push(syntax::alias_inside_itself(span));
                (Node::nothing(span.slice(0, 0)), Extent::default())
            }
        };
        self.count(extent.nodes, extent.bytes, span)?;
        self.put(node, span, extent.height);
        Ok(())
    }

    /// Gives `node`, which is written at `written`, to the collection around it.
    pub(super) fn put(&mut self, node: Node, written: Span, height: usize) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.height = frame.height.max(height);
        match &mut frame.state {
            State::Items => self.items.push(node),
            State::Key => {
                frame.state = State::Value(keys::of_node(node, written, self.text, self.out));
            }
            State::Value(key) => {
                let key = key.take();
                frame.state = State::Key;
                if let Some(key) = key {
                    self.entries.push(Entry { key, value: node });
                }
            }
        }
    }

    pub(super) fn count(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Fatal> {
        self.count.nodes += nodes;
        self.count.bytes += bytes;
        budget::check_nodes(self.count.nodes, span)
    }

    /// The tag among the properties at `at`.
    pub(super) fn tag_span(&self, at: usize) -> Span {
        let (first, second) = places::skip_properties(self.bytes, at, 1);
        if self.bytes.get(at) == Some(&b'!') {
            self.span(at, first)
        } else {
            self.span(second, places::skip_properties(self.bytes, second, 1).0)
        }
    }
}
