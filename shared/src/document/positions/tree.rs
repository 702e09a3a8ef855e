//! A document as places: what stands where, and nothing of what it means.

use std::borrow::Cow;
use std::ops::Range;

/// How often an alias may lead to another one.
const ALIASES_MAX: usize = 16;

/// The place of a node in its tree.
pub(super) type Ix = usize;

/// A document, as far as it could be read.
#[derive(Debug, Default)]
pub(super) struct Tree<'t> {
    nodes: Vec<Node<'t>>,
}

/// A value.
#[derive(Debug)]
struct Node<'t> {
    /// Its text. That of a list or an object may end where it begins.
    written: Range<usize>,
    kind: Kind<'t>,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind<'t> {
    Scalar(Cow<'t, str>, Style),
    List {
        items: Vec<Ix>,
        is_block: bool,
    },
    Object {
        fields: Vec<Field<'t>>,
        is_block: bool,
    },
    /// The same as another value, if that is known.
    Alias(Option<Ix>),
}

/// A key and what stands under it.
#[derive(Debug)]
pub(super) struct Field<'t> {
    pub(super) name: Cow<'t, str>,
    pub(super) key: usize,
    pub(super) value: Ix,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Single,
    /// In double quotes, with escapes.
    Double,
    /// Behind `|` or `>`.
    Block,
}

/// What a pointer leads to.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the key begins that it stands under.
    pub(super) key: Option<usize>,
    pub(super) node: Ix,
    /// Whether it is what the pointer names, and not the last value on the way to it that there is.
    pub(super) is_exact: bool,
}

impl<'t> Tree<'t> {
    /// Adds a value. The first one is the whole document.
    pub(super) fn add(&mut self, written: Range<usize>, kind: Kind<'t>) -> Ix {
        self.nodes.push(Node { written, kind });
        self.nodes.len() - 1
    }

    /// Adds an item to a list.
    pub(super) fn add_item(&mut self, list: Ix, item: Ix) {
        if let Kind::List { items, .. } = &mut self.nodes[list].kind {
            items.push(item);
        }
    }

    /// Adds a field to an object.
    pub(super) fn add_field(&mut self, object: Ix, field: Field<'t>) {
        if let Kind::Object { fields, .. } = &mut self.nodes[object].kind {
            fields.push(field);
        }
    }

    /// What a JSON pointer leads to. `None` of an empty document.
    pub(super) fn find(&self, pointer: &str) -> Option<Found> {
        self.nodes.first()?;
        let mut found = Found { key: None, node: 0, is_exact: true };
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let Some((key, node)) = self.step(found.node, &token) else {
                return Some(Found { is_exact: false, ..found });
            };
            found = Found { key, node, is_exact: true };
        }
        Some(found)
    }

    /// A text that stands at a place: how it is written, what it means.
    pub(super) fn scalar(&self, node: Ix) -> Option<(Range<usize>, &str, Style)> {
        let Node { written, kind } = &self.nodes[self.resolved(node)?];
        match kind {
            Kind::Scalar(value, style) => Some((written.clone(), value, *style)),
            _ => None,
        }
    }

    /// Where a value begins for whoever looks for it: what takes several lines, and what is empty, at its key.
    pub(super) fn start(&self, found: &Found) -> usize {
        let Node { written, kind } = &self.nodes[found.node];
        let is_at_key = match kind {
            Kind::Scalar(..) => written.is_empty(),
            Kind::List { is_block, .. } | Kind::Object { is_block, .. } => *is_block,
            Kind::Alias(_) => false,
        };
        found.key.filter(|_| is_at_key).unwrap_or(written.start)
    }

    fn resolved(&self, node: Ix) -> Option<Ix> {
        (0..ALIASES_MAX).try_fold(node, |node, _| match self.nodes[node].kind {
            Kind::Alias(to) => to,
            _ => Some(node),
        })
    }

    fn step(&self, from: Ix, token: &str) -> Option<(Option<usize>, Ix)> {
        match &self.nodes[self.resolved(from)?].kind {
            Kind::List { items, .. } => Some((None, *items.get(token.parse::<usize>().ok()?)?)),
            Kind::Object { fields, .. } => {
                let mut same = fields.iter().filter(|field| field.name == token);
                // Of a key that is there twice, the second one is at fault.
                let (first, second) = (same.next(), same.next());
                match second.or(first) {
                    Some(field) => Some((Some(field.key), field.value)),
                    None => self.merged(fields, token),
                }
            }
            Kind::Scalar(..) | Kind::Alias(_) => None,
        }
    }

    /// Looks in what `<<` merges into an object.
    fn merged(&self, fields: &[Field<'t>], token: &str) -> Option<(Option<usize>, Ix)> {
        let merge = fields.iter().find(|field| field.name == "<<")?;
        let sources = match &self.nodes[self.resolved(merge.value)?].kind {
            Kind::List { items, .. } => items.clone(),
            _ => vec![merge.value],
        };
        sources.into_iter().find_map(|source| {
            let Kind::Object { fields, .. } = &self.nodes[self.resolved(source)?].kind else {
                return None;
            };
            let field = fields.iter().find(|field| field.name == token)?;
            Some((Some(field.key), field.value))
        })
    }
}
