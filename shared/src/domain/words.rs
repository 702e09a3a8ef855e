//! Closed sets of words: enums whose variants have one name each in documents, in the store and on the wire.

/// A word that names nothing of its set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {set} {word:?}")]
pub struct UnknownWord {
    /// What it should have been: `state`, `level`.
    set: &'static str,
    /// The word.
    word: String,
}

impl UnknownWord {
    pub(crate) fn new(set: &'static str, word: &str) -> Self {
        Self { set, word: word.to_owned() }
    }
}

/// Words in a sentence: `a, b or c`.
pub(crate) fn any_of(words: &[&str]) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        words => words.concat(),
    }
}

/// An enum with a word for each variant: `words!(/// What it is. "noun" Name { /// What that is. Variant = "word", })`.
///
/// What must hold for all of them (`ALL`, `WORDS`, both ways between variant and word, reading by serde) is written by the macro, so
/// that no variant can be left out of it.
macro_rules! words {
    ($(#[$doc:meta])* $set:literal $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every one, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The words of all, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word in documents, in the store and on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::domain::words::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::domain::words::UnknownWord::new($set, text)),
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use ::serde::de::{Error, Unexpected};
                let word = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                word.parse().map_err(|_| {
                    let expected = $crate::domain::words::any_of(Self::WORDS);
                    Error::invalid_value(Unexpected::Other("word"), &&*expected)
                })
            }
        }
    };
}

pub(crate) use words;
