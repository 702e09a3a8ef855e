//! What is asked for.

use chrono::{DateTime, Utc};

/// A part of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Which nodes decide how long runs take.
    CriticalPath,
    /// What runs wait for.
    Waiting,
    /// What fails, and is tried again.
    HotSpots,
    /// What calls to models cost.
    Costs,
    /// Whether a version is worse than the one before.
    Regressions,
}

impl Section {
    pub(crate) const ALL: [Self; 5] =
        [Self::CriticalPath, Self::Waiting, Self::HotSpots, Self::Costs, Self::Regressions];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::CriticalPath => "critical_path",
            Self::Waiting => "waiting",
            Self::HotSpots => "hot_spots",
            Self::Costs => "costs",
            Self::Regressions => "regressions",
        }
    }
}

/// Some parts of an analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sections([bool; Section::ALL.len()]);

impl Sections {
    pub(crate) const ALL: Self = Self([true; Section::ALL.len()]);

    /// Reads their names, with commas between.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut some = Self([false; Section::ALL.len()]);
        for name in text.split(',') {
            let section = Section::ALL.into_iter().find(|section| section.as_str() == name)?;
            some.0[section as usize] = true;
        }
        Some(some)
    }

    pub(crate) fn has(self, section: Section) -> bool {
        self.0[section as usize]
    }

    /// Whether runs are read for it.
    pub(crate) fn need_runs(self) -> bool {
        self.need_activations() || self.has(Section::Regressions)
    }

    /// Whether what runs have done is.
    pub(crate) fn need_activations(self) -> bool {
        [Section::CriticalPath, Section::Waiting, Section::HotSpots]
            .into_iter()
            .any(|section| self.has(section))
    }
}

/// Two versions of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionPair {
    /// The one that is compared with.
    pub(crate) before: u32,
    /// The one that is compared.
    pub(crate) after: u32,
}

impl VersionPair {
    /// Reads two numbers, with a comma between.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(',')?;
        let pair = Self { before: before.parse().ok()?, after: after.parse().ok()? };
        (pair.before > 0 && pair.after > 0).then_some(pair)
    }

    pub(crate) fn has(&self, version: u32) -> bool {
        version == self.before || version == self.after
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Of runs that were accepted from this time on.
    pub(crate) from: DateTime<Utc>,
    /// And before this one.
    pub(crate) to: DateTime<Utc>,
    /// Of this workflow only.
    pub(crate) workflow: Option<String>,
    /// Of these versions of it only, which are compared.
    pub(crate) versions: Option<VersionPair>,
    /// What is told.
    pub(crate) sections: Sections,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sections_are_read_or_refused() {
        for section in Section::ALL {
            let some = Sections::read(section.as_str()).unwrap();
            let all = Section::ALL.into_iter().filter(|section| some.has(*section));
            assert_eq!(all.collect::<Vec<_>>(), [section]);
            assert_eq!(some.need_runs(), section != Section::Costs);
        }
        assert!(Sections::read("costs,waiting").is_some_and(Sections::need_activations));
        assert_eq!(Sections::read(""), None);
        assert_eq!(Sections::read("costs,"), None);
        assert_eq!(Sections::read("costs,costs"), Sections::read("costs"));
    }

    #[test]
    fn versions_are_two_numbers() {
        assert_eq!(VersionPair::read("1,12"), Some(VersionPair { before: 1, after: 12 }));
        for text in ["", "1", "1,", "0,1", "1,2,3", "1,-2", "a,b"] {
            assert_eq!(VersionPair::read(text), None, "{text}");
        }
    }
}
