//! A line of the picture, before it is drawn.

use chrono::{DateTime, Utc};

use crate::render::terminal::{Style, width_of};

/// An interval of time on a line.
#[derive(Clone)]
pub(super) struct Interval {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) glyph: char,
    pub(super) style: Style,
}

/// A span with what came before it.
pub(super) struct Row {
    /// How it hangs below others.
    pub(super) branch: String,
    pub(super) label: String,
    /// The name for narrow terminals.
    pub(super) short: String,
    /// What became of it, where that is said beside the name: it is never cut.
    pub(super) outcome: Option<(String, Style)>,
    pub(super) intervals: Vec<Interval>,
    pub(super) start: DateTime<Utc>,
    pub(super) end: Option<DateTime<Utc>>,
    /// Whether it is an attempt, which may have been inlined.
    pub(super) is_attempt: bool,
    /// Tokens of the input and of the output.
    pub(super) tokens: Option<(String, String)>,
    /// What it cost.
    pub(super) cost: Option<String>,
    pub(super) span: Option<String>,
    /// What hangs below it.
    pub(super) below: Vec<Line>,
}

/// A line of the picture.
pub(super) enum Line {
    /// A span.
    Span(Box<Row>),
    /// What is said in place of spans.
    Note(Note),
}

/// What is said in place of spans.
pub(super) struct Note {
    /// How it hangs below others.
    pub(super) branch: String,
    pub(super) text: String,
    /// The text for narrow terminals.
    pub(super) short: String,
}

impl Note {
    /// A long text, and a short one for narrow terminals.
    pub(super) fn new(text: String, short: String) -> Self {
        Self { branch: String::new(), text, short }
    }
}

impl Line {
    /// Takes the name for narrow terminals in place of the other one.
    pub(super) fn shorten(&mut self) {
        match self {
            Self::Span(row) => row.label = std::mem::take(&mut row.short),
            Self::Note(note) => note.text = std::mem::take(&mut note.short),
        }
    }
}

impl Row {
    /// What took as long as `work`. The names are a long one, and a short one for narrow terminals.
    pub(super) fn new(
        (label, short): (String, String),
        work: Interval,
        span: Option<String>,
    ) -> Self {
        Self {
            branch: String::new(),
            label,
            short,
            outcome: None,
            start: work.from,
            end: Some(work.to),
            is_attempt: false,
            intervals: vec![work],
            tokens: None,
            cost: None,
            span,
            below: Vec::new(),
        }
    }

    /// Columns of its name with what hangs on it.
    pub(super) fn label_width(&self) -> usize {
        let outcome = self.outcome.as_ref().map_or(0, |(text, _)| width_of(text));
        width_of(&self.branch) + width_of(&self.label) + outcome
    }
}
