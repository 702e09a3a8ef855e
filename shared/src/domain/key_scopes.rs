//! What an API key may do.

use std::fmt;

use super::words::words;

words! {
    /// One thing that a key may be allowed to do.
    "key scope" KeyScope {
        /// To read: workflows, runs, logs. Everything that changes nothing.
        Read = "read",
        /// To start and cancel runs, and to see in the answer what came of it.
        Run = "run",
        /// To decide what waits for a decision.
        Approve = "approve",
        /// To publish workflows.
        Write = "write",
        /// Everything, and beyond the other scopes: keys, and what concerns the whole organization.
        Admin = "admin",
    }
}

impl KeyScope {
    /// What it allows, for people.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Read => "read workflows, runs and logs",
            Self::Run => "start and cancel runs, and see them in the answers to that",
            Self::Approve => "decide what waits for a decision",
            Self::Write => "publish workflows",
            Self::Admin => "everything, and with it make and revoke keys",
        }
    }
}

/// The scopes of a key: a set, which may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KeyScopes(u8);

impl KeyScopes {
    /// None: the key says who is calling and may do nothing.
    pub const NONE: Self = Self(0);

    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        KeyScope::ALL.iter().copied().collect()
    }

    /// The scopes that these words name, with blanks between. A word that this version does not know allows nothing here:
    /// a later one may have written it.
    #[must_use]
    pub fn of_words(words: &str) -> Self {
        words.split_ascii_whitespace().filter_map(|word| word.parse::<KeyScope>().ok()).collect()
    }

    /// The set with one more.
    #[must_use]
    pub fn with(self, scope: KeyScope) -> Self {
        Self(self.0 | 1 << scope as u8)
    }

    /// Whether the scope is named in the set.
    #[must_use]
    pub fn names(self, scope: KeyScope) -> bool {
        self.with(scope) == self
    }

    /// Whether a key with these scopes may do what needs that one: it is named, or `admin` is, which includes it.
    #[must_use]
    pub fn allow(self, scope: KeyScope) -> bool {
        self.names(scope) || self.names(KeyScope::Admin)
    }

    /// Whether it allows nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// Those that are named, in the order in which all are listed.
    pub fn iter(self) -> impl Iterator<Item = KeyScope> {
        KeyScope::ALL.iter().copied().filter(move |scope| self.names(*scope))
    }
}

impl FromIterator<KeyScope> for KeyScopes {
    fn from_iter<T: IntoIterator<Item = KeyScope>>(scopes: T) -> Self {
        scopes.into_iter().fold(Self::NONE, Self::with)
    }
}

/// As the store holds them: words with a space between.
impl fmt::Display for KeyScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(KeyScope::as_str).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_itself_and_admin_allows_all() {
        for scope in KeyScope::ALL.iter().copied() {
            let alone = KeyScopes::NONE.with(scope);
            for asked in KeyScope::ALL.iter().copied() {
                let expected = asked == scope || scope == KeyScope::Admin;
                assert_eq!(alone.allow(asked), expected, "{scope} {asked}");
            }
            assert!(!KeyScopes::NONE.allow(scope) && KeyScopes::all().names(scope));
        }
        assert!(KeyScopes::default().is_empty() && !KeyScopes::all().is_empty());
    }

    #[test]
    fn scopes_are_written_and_read_in_one_way() {
        let some: KeyScopes =
            [KeyScope::Write, KeyScope::Read, KeyScope::Read].into_iter().collect();
        assert_eq!(some.to_string(), "read write");
        assert_eq!(KeyScopes::of_words("write  read"), some);
        assert_eq!(KeyScopes::of_words(""), KeyScopes::NONE);
        assert_eq!(KeyScopes::all().to_string(), "read run approve write admin");
        assert_eq!(KeyScopes::of_words(&KeyScopes::all().to_string()), KeyScopes::all());
        assert_eq!(KeyScopes::of_words("read everything write"), some);
    }
}
