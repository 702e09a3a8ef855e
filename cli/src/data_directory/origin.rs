//! Where a data directory comes from.
//!
//! What is in it is executed, and its key is accepted: it has to be one that this program has made, and not one that
//! has come with a repository or out of an archive, whose files are the user's own as well. So the directory holds a
//! file that says which directory it was made in, by what nobody can know beforehand or bring about: its number and its
//! time of birth. It may be renamed; a copy of it is another.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use skein_shared::private::{Exposed, PrivateDirectory};

/// The file.
pub(super) const NAME: &str = "origin.json";
/// Bytes of the file that are read; it is far smaller.
const BYTES_MAX: u64 = 1024;

/// Which directory one is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    inode: u64,
    /// Nanoseconds since 1970. On a file system that does not keep it, the number has to do.
    born: Option<u64>,
}

impl Origin {
    fn of(directory: &PrivateDirectory) -> anyhow::Result<Self> {
        let found = directory.handle().metadata().context("cannot look at the data directory")?;
        let born =
            found.created().ok().and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
        Ok(Self { inode: found.ino(), born })
    }
}

/// Whether the directory has been made here.
///
/// # Errors
/// When that cannot be read.
pub(super) fn is_here(directory: &PrivateDirectory) -> anyhow::Result<bool> {
    let Some(file) = directory.file(NAME, Exposed::Closed)? else { return Ok(false) };
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {NAME}"))?;
    Ok(serde_json::from_str(&text).ok() == Some(Origin::of(directory)?))
}

/// Writes down that it has.
///
/// # Errors
/// When that cannot be written.
pub(super) fn mark(directory: &PrivateDirectory) -> anyhow::Result<()> {
    Ok(directory.replace(NAME, &serde_json::to_string(&Origin::of(directory)?)?)?)
}
