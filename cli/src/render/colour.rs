//! Whether text has colours, where somebody has said so.

use std::sync::OnceLock;

/// What was chosen for this process. Standard output and standard error belong to it as a whole.
static CHOSEN: OnceLock<ColourChoice> = OnceLock::new();

/// When text has colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// In a file and a pipe too.
    Always,
    /// Nowhere.
    Never,
}

impl ColourChoice {
    /// Chooses for the whole process. The first choice holds.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// What was chosen.
    pub(super) fn chosen() -> Self {
        CHOSEN.get().copied().unwrap_or_default()
    }

    /// Whether there are colours where `automatic` says what there would be without a choice.
    pub(super) fn applies(self, automatic: bool) -> bool {
        match self {
            Self::Auto => automatic,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl From<ColourChoice> for clap::ColorChoice {
    fn from(choice: ColourChoice) -> Self {
        match choice {
            ColourChoice::Auto => Self::Auto,
            ColourChoice::Always => Self::Always,
            ColourChoice::Never => Self::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_wins_over_what_the_terminal_is() {
        let cases = [
            (ColourChoice::Auto, [true, false]),
            (ColourChoice::Always, [true, true]),
            (ColourChoice::Never, [false, false]),
        ];
        for (choice, expected) in cases {
            assert_eq!([choice.applies(true), choice.applies(false)], expected, "{choice:?}");
        }
    }
}
