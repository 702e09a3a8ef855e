//! Cursors of listings: the store's own, with a checksum that names the listing.
//!
//! Stores take any text for a cursor and start from the top when they cannot read it, so a damaged cursor, or one of
//! another listing, would silently show the wrong page. The checksum guards against mistakes, not against
//! intent: every query is filtered by tenant, whatever the cursor.

use sha2::{Digest, Sha256};

/// Hex digits of the checksum.
const CHECK_CHARS: usize = 8;
/// Characters of a cursor. A workflow's name is the longest that there is.
const CURSOR_CHARS_MAX: usize = 512;

/// A listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    Workflows,
    Versions,
    Runs,
    Logs,
}

impl Listing {
    fn word(self) -> &'static str {
        match self {
            Self::Workflows => "workflows",
            Self::Versions => "versions",
            Self::Runs => "runs",
            Self::Logs => "logs",
        }
    }

    /// The cursor as clients see it.
    pub(crate) fn seal(self, cursor: &str) -> String {
        format!("{cursor}~{}", self.check(cursor))
    }

    /// The store's cursor, if the text was sealed for this listing.
    pub(crate) fn open(self, text: &str) -> Option<String> {
        if text.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let (cursor, check) = text.rsplit_once('~')?;
        (check == self.check(cursor)).then(|| cursor.to_owned())
    }

    fn check(self, cursor: &str) -> String {
        let digest = Sha256::new().chain_update(self.word()).chain_update([0]).chain_update(cursor);
        let mut hex = String::with_capacity(CHECK_CHARS);
        for byte in digest.finalize().iter().take(CHECK_CHARS / 2) {
            hex.push_str(&format!("{byte:02x}"));
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_for_its_own_listing_only() {
        let sealed = Listing::Logs.seal("812.44");
        assert_eq!(Listing::Logs.open(&sealed).as_deref(), Some("812.44"));
        assert_eq!(Listing::Runs.open(&sealed), None);
        assert_eq!(Listing::Logs.open("812.44"), None);
        assert_eq!(Listing::Logs.open(&sealed.replace("812", "813")), None);
        assert_eq!(Listing::Logs.open(""), None);
    }
}
