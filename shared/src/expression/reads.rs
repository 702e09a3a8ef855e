//! What expressions read, as far as it is written out.

use std::collections::BTreeSet;
use std::sync::Arc;

/// One place where an expression reads something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it starts from.
    pub root: Root,
    /// The way from there.
    pub path: Vec<Step>,
    /// JSON Pointer of the string.
    pub pointer: Arc<str>,
    /// Where it stands within the string, in bytes.
    pub offset: usize,
    /// What holds where the value is missing.
    pub guard: Guard,
    /// What is done with the value.
    pub usage: Usage,
}

/// What is done with a value, as far as that fits only some types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Whatever it is.
    Any,
    /// It is all of its expression.
    Alone,
    /// It is compared by `==` or `!=` with a constant of this type, in words.
    Equated(&'static str),
}

/// What keeps an expression from failing where a value is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// Nothing.
    Nothing,
    /// It is read only under a condition, or it is not known whether it is.
    Condition,
    /// It has a default, or is only asked about.
    Default,
}

impl Read {
    pub(super) fn move_by(&mut self, bytes: usize) {
        self.offset += bytes;
        for step in &mut self.path {
            if let Step::Member(_, at) | Step::Key(_, at) = step {
                *at += bytes;
            }
        }
    }
}

/// A read before anything is known of what is around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) root: Root,
    pub(super) path: Vec<Step>,
    pub(super) offset: usize,
    pub(super) usage: Usage,
}

/// What an expression starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The run's input.
    Input,
    /// What is known of the run.
    Run,
    /// What a tool is called with.
    Args,
    /// What a node has yielded.
    Node(Arc<str>),
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To a member of an object, and where its name stands within the string, in bytes.
    Member(Arc<str>, usize),
    /// The same in brackets, `['name']`.
    Key(Arc<str>, usize),
    /// To an item of a list.
    Item,
}

/// What a template or condition reads.
#[derive(Debug, Clone, Default)]
pub struct References {
    /// The nodes whose outputs it reads.
    pub nodes: BTreeSet<Arc<str>>,
    /// Each place where it reads something.
    pub reads: Vec<Read>,
    /// Whether it reads the run's input.
    pub input: bool,
    /// Whether it reads what is known of the run.
    pub run: bool,
    /// Whether it reads what a tool is called with.
    pub args: bool,
}

impl References {
    pub(super) fn add(&mut self, other: &Self) {
        self.nodes.extend(other.nodes.iter().cloned());
        self.reads.extend(other.reads.iter().cloned());
        self.input |= other.input;
        self.run |= other.run;
        self.args |= other.args;
    }

    pub(super) fn add_read(&mut self, read: Read) {
        match &read.root {
            Root::Input => self.input = true,
            Root::Run => self.run = true,
            Root::Args => self.args = true,
            Root::Node(node) => {
                self.nodes.insert(Arc::clone(node));
            }
        }
        self.reads.push(read);
    }
}
