//! How the columns of a waterfall are shared out.

use super::row::Row;
use crate::render::terminal::width_of;

/// Columns of the bars at least; in a terminal that is too narrow for the rest, lines are cut.
const BAR_WIDTH_MIN: usize = 12;
/// Columns of the bars for which a narrow terminal does without the rest.
pub(super) const BAR_WIDTH_WANTED: usize = 24;
/// Columns of the bars at most: wider ones are not read any better.
const BAR_WIDTH_MAX: usize = 100;
/// Columns of the names at most.
const LABEL_WIDTH_MAX: usize = 40;
/// Columns of the names that stay whole before the bars get narrow.
const LABEL_WIDTH_MIN: usize = 16;
/// The same where there are calls, whose names and outcomes are further indented.
const CALL_LABEL_WIDTH_MIN: usize = 27;
/// Columns between two columns.
const GAP: usize = 2;
/// Columns of an offset with its gap, a duration, and a span id.
const OFFSET_WIDTH: usize = GAP + 8;
pub(super) const DURATION_WIDTH: usize = GAP + 7;
const SPAN_WIDTH: usize = GAP + 16;

/// Columns that a picture would take if it had room for everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of the names.
    pub(super) label: usize,
    /// Of tokens of inputs and outputs.
    pub(super) tokens: (usize, usize),
    /// Of costs.
    pub(super) cost: usize,
    /// Whether there are calls to models and tools.
    pub(super) has_calls: bool,
}

impl Wanted {
    /// Those for these lines.
    pub(super) fn by<'a>(rows: impl Iterator<Item = &'a Row>, has_calls: bool) -> Self {
        rows.fold(Self { has_calls, ..Self::default() }, |wanted, row| {
            let tokens = row.tokens.as_ref();
            let tokens = tokens.map(|(input, output)| (width_of(input), width_of(output)));
            let (input, output) = tokens.unwrap_or_default();
            Self {
                label: wanted.label.max(row.label_width()),
                tokens: (wanted.tokens.0.max(input), wanted.tokens.1.max(output)),
                cost: wanted.cost.max(row.cost.as_deref().map_or(0, width_of)),
                has_calls,
            }
        })
    }
}

/// How the columns are shared out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) label: usize,
    pub(super) bar: usize,
    pub(super) has_offset: bool,
    /// Of tokens of inputs and outputs, if there is room for them.
    pub(super) tokens: Option<(usize, usize)>,
    /// Of costs, if there is room for them.
    pub(super) cost: Option<usize>,
    pub(super) has_span: bool,
}

impl Layout {
    /// The layout for these columns. The bars come first: a narrow terminal does without span ids, then without offsets,
    /// tokens and costs, and then names are cut.
    pub(super) fn of(wanted: &Wanted, columns: usize) -> Self {
        let (label_min, label_max) = if wanted.has_calls {
            // What is indented has as much of a wide terminal as names have of a usual one.
            (CALL_LABEL_WIDTH_MIN, LABEL_WIDTH_MAX.max(columns * 2 / 5))
        } else {
            (LABEL_WIDTH_MIN, LABEL_WIDTH_MAX)
        };
        let label = wanted.label.min(label_max);
        let mut room = columns.saturating_sub(label + GAP + DURATION_WIDTH);
        let mut is_open = true;
        let mut grant = |width: usize| {
            is_open &= room >= BAR_WIDTH_WANTED + width;
            room -= if is_open { width } else { 0 };
            is_open
        };
        let cost = Some(wanted.cost).filter(|width| *width > 0 && grant(GAP + width));
        let tokens = Some(wanted.tokens).filter(|it| *it != (0, 0) && grant(tokens_width(*it)));
        let has_offset = grant(OFFSET_WIDTH);
        let has_span = grant(SPAN_WIDTH);
        let lacking = BAR_WIDTH_WANTED.saturating_sub(room);
        let label = label.saturating_sub(lacking).max(label.min(label_min));
        let given = [
            label + GAP + DURATION_WIDTH,
            if has_offset { OFFSET_WIDTH } else { 0 },
            tokens.map_or(0, tokens_width),
            cost.map_or(0, |width| GAP + width),
            if has_span { SPAN_WIDTH } else { 0 },
        ];
        let bar = columns.saturating_sub(given.into_iter().sum());
        let bar = bar.clamp(BAR_WIDTH_MIN, BAR_WIDTH_MAX);
        Self { label, bar, has_offset, tokens, cost, has_span }
    }
}

/// Columns of `120 in 18 out` with its gap.
fn tokens_width((input, output): (usize, usize)) -> usize {
    GAP + input + " in ".len() + output + " out".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_terminal_keeps_the_bars() {
        let layout = |label, columns| {
            let wanted = Wanted { label, ..Wanted::default() };
            let Layout { label, bar, has_offset, has_span, .. } = Layout::of(&wanted, columns);
            (label, bar, has_offset, has_span)
        };
        assert_eq!(layout(24, 160), (24, 97, true, true));
        assert_eq!(layout(24, 80), (24, 35, true, false));
        assert_eq!(layout(24, 60), (24, 25, false, false));
        assert_eq!(layout(24, 40), (16, 13, false, false));
        assert_eq!(layout(4, 20), (4, 12, false, false));
    }

    #[test]
    fn a_narrow_terminal_does_without_costs_before_it_cuts_names() {
        let layout = |columns| {
            let wanted = Wanted { label: 28, tokens: (5, 2), cost: 9, has_calls: true };
            let Layout { label, bar, has_offset, tokens, cost, has_span } =
                Layout::of(&wanted, columns);
            (label, bar, (has_offset, tokens.is_some(), cost.is_some(), has_span))
        };
        assert_eq!(layout(160), (28, 65, (true, true, true, true)));
        assert_eq!(layout(120), (28, 25, (true, true, true, true)));
        assert_eq!(layout(100), (28, 33, (false, true, true, false)));
        assert_eq!(layout(80), (28, 30, (false, false, true, false)));
        assert_eq!(layout(60), (27, 22, (false, false, false, false)));
        assert_eq!(layout(50), (27, 12, (false, false, false, false)));
    }
}
