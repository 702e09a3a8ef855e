//! The places of a YAML document, from the events of the parser that its reader is built on.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::tree::{Field, Ix, Kind, Style, Tree};

/// A list or an object that has not ended.
struct Open<'t> {
    node: Ix,
    is_object: bool,
    /// The key whose value is to come.
    key: Option<(Cow<'t, str>, usize)>,
}

/// As much of a text as can be parsed.
pub(super) fn tree(text: &str) -> Tree<'_> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        builder.take(event, span);
    }
    builder.tree
}

#[derive(Default)]
struct Builder<'t> {
    tree: Tree<'t>,
    open: Vec<Open<'t>>,
    anchors: HashMap<usize, Ix>,
}

impl<'t> Builder<'t> {
    fn take(&mut self, event: Event<'t>, span: Span) {
        match event {
            Event::Scalar(value, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::Single,
                    ScalarStyle::DoubleQuoted => Style::Double,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                let key = value.clone();
                self.add(Kind::Scalar(value, style), anchor, key, span);
            }
            Event::SequenceStart(style, anchor, _) => {
                let is_block = style == StructureStyle::Block;
                let kind = Kind::List { items: Vec::new(), is_block };
                let node = self.add(kind, anchor, Cow::default(), span);
                self.open.push(Open { node, is_object: false, key: None });
            }
            Event::MappingStart(style, anchor, _) => {
                let is_block = style == StructureStyle::Block;
                let kind = Kind::Object { fields: Vec::new(), is_block };
                let node = self.add(kind, anchor, Cow::default(), span);
                self.open.push(Open { node, is_object: true, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
            }
            Event::Alias(anchor) => {
                let to = self.anchors.get(&anchor).copied();
                self.add(Kind::Alias(to), 0, Cow::default(), span);
            }
            _ => {}
        }
    }

    /// Adds a node where the next one belongs: as the document, an item, a key or a value. `key` is what it is as a key.
    fn add(&mut self, kind: Kind<'t>, anchor: usize, key: Cow<'t, str>, span: Span) -> Ix {
        let start = span.start.byte_offset().unwrap_or_default();
        let end = span.end.byte_offset().unwrap_or_default().max(start);
        let node = self.tree.add(start..end, kind);
        if anchor != 0 {
            self.anchors.insert(anchor, node);
        }
        match self.open.last_mut() {
            Some(open) if open.is_object => match open.key.take() {
                Some((name, key)) => {
                    let (object, value) = (open.node, node);
                    self.tree.add_field(object, Field { name, key, value });
                }
                None => open.key = Some((key, start)),
            },
            Some(open) => {
                let list = open.node;
                self.tree.add_item(list, node);
            }
            None => {}
        }
        node
    }
}
