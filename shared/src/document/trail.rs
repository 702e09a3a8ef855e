//! Where in a document the reading is. Parsers report line and column, and people who send what a program has made know
//! neither.

use std::cell::{Cell, RefCell};

use serde::de::Error;

use crate::domain::diagnostic::{Diagnostic, Part, join_pointer};

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Item(usize),
}

/// The way from the whole document to the value that is being read. After an error it leads to where that was.
#[derive(Debug, Default)]
pub(super) struct Trail {
    steps: RefCell<Vec<Step>>,
    in_key: Cell<bool>,
    refusal: RefCell<Option<Refusal>>,
}

/// Why the reader, not the parser, gave a document up. An error of the parser's has no room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    message: String,
    hint: &'static str,
    part: Part,
}

impl Trail {
    pub(super) fn enter(&self, step: Step) {
        self.steps.borrow_mut().push(step);
    }

    /// Goes back, and hands out the step, so that nobody has to copy names.
    pub(super) fn leave(&self) -> Option<Step> {
        self.steps.borrow_mut().pop()
    }

    /// Reads a key. It belongs to the object that the trail leads to.
    pub(super) fn in_key<T, E>(&self, read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.in_key.set(true);
        let key = read()?;
        self.in_key.set(false);
        Ok(key)
    }

    /// Whether the reading has ended within a key.
    pub(super) fn ended_in_key(&self) -> bool {
        self.in_key.get()
    }

    /// An error to give the document up with.
    pub(super) fn refuse<E: Error>(&self, message: impl Into<String>, hint: &'static str) -> E {
        self.refuse_part(Part::Value, message.into(), hint)
    }

    /// The same for the key that the trail leads to.
    pub(super) fn refuse_key<E: Error>(&self, message: String, hint: &'static str) -> E {
        self.refuse_part(Part::Key, message, hint)
    }

    fn refuse_part<E: Error>(&self, part: Part, message: String, hint: &'static str) -> E {
        let error = E::custom(&message);
        self.refusal.replace(Some(Refusal { message, hint, part }));
        error
    }

    /// The diagnostic of a document that the reader gave up.
    pub(super) fn refusal(&self) -> Option<Diagnostic> {
        let Refusal { message, hint, part } = self.refusal.take()?;
        Some(Diagnostic::new(self.pointer(), message, hint).of(part))
    }

    /// A JSON pointer to where the reading has come to.
    pub(super) fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in self.steps.borrow().iter() {
            pointer = match step {
                Step::Field(name) => join_pointer(&pointer, name),
                Step::Item(at) => format!("{pointer}/{at}"),
            };
        }
        pointer
    }
}
