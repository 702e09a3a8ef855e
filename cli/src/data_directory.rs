//! The directory of the embedded mode: its store, its key, and who owns it.
//!
//! `server.json` is the lock and the sign at the door in one: whoever runs a server on the directory holds an
//! advisory lock on the file and writes into it where the server listens. The lock goes with its process, so
//! that what a killed one has left in the file misleads nobody.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Random bytes in a key that the program makes: beyond any guessing.
const KEY_BYTES: usize = 32;
/// What such keys start with, so that scanners for leaked secrets can tell them.
const KEY_PREFIX: &str = "skein_";
/// Bytes of `server.json` or `key` that are read; both are far smaller.
const FILE_BYTES_MAX: u64 = 4096;

/// The directory of the embedded mode.
#[derive(Debug, Clone)]
pub struct DataDirectory {
    path: PathBuf,
}

/// Where the server of a directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub url: String,
    /// Whether it stays until somebody stops it; one within a `skein run` ends with the run.
    pub stays: bool,
}

/// What came of claiming a directory.
#[derive(Debug)]
pub enum Claim {
    /// This process owns the directory now.
    Ours(Ownership),
    /// Another one does; `None` while it has not said where it listens.
    Theirs(Option<Owner>),
}

/// The right to run a server on the directory, for as long as this lives.
#[derive(Debug)]
pub struct Ownership {
    directory: DataDirectory,
    lock: File,
}

impl DataDirectory {
    /// The directory at `path`, which may not exist yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anybody has used it before.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// The file of the SQLite store.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join("skein.db")
    }

    /// Becomes the owner unless there is one. Creates the directory, for its user only.
    ///
    /// # Errors
    /// When the directory cannot be created or written to.
    pub fn claim(&self) -> anyhow::Result<Claim> {
        let path = self.path.join("server.json");
        let told = || format!("cannot use {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).with_context(told)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(told)?;
        match file.try_lock() {
            Ok(()) => {
                // What stands there is about a process that is gone.
                file.set_len(0).with_context(told)?;
                Ok(Claim::Ours(Ownership { directory: self.clone(), lock: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(told)?;
                Ok(Claim::Theirs(serde_json::from_str(&text).ok()))
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(told),
        }
    }

    /// Who owns the directory, without claiming it; `None` when nobody does or it is not known.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        if !self.exists() {
            return None;
        }
        match self.claim() {
            Ok(Claim::Theirs(owner)) => owner,
            Ok(Claim::Ours(_)) | Err(_) => None,
        }
    }

    /// The key that the directory's server takes, if one was made.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key(&self) -> anyhow::Result<Option<String>> {
        let path = self.path.join("key");
        let told = || format!("cannot read {}", path.display());
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(told)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(told),
        };
        Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty()))
    }
}

impl Ownership {
    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &DataDirectory {
        &self.directory
    }

    /// Writes down where the server listens, for the commands that come to talk to it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce(&mut self, url: &str, stays: bool) -> anyhow::Result<()> {
        let owner = Owner { pid: std::process::id(), url: url.to_owned(), stays };
        let text = serde_json::to_string(&owner)?;
        self.lock.write_all(text.as_bytes()).context("cannot write server.json")
    }

    /// The directory's key; made on first use, and readable by its user only. A crash in the middle leaves
    /// either no key or a whole one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the system has no random numbers.
    pub fn key(&self) -> anyhow::Result<String> {
        if let Some(key) = self.directory.key()? {
            return Ok(key);
        }
        let key = random_key()?;
        let path = self.directory.path.join("key");
        write_secret(&path, &key).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(key)
    }
}

/// A key that nobody can guess. It is good for nothing until a server takes it.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_key() -> anyhow::Result<String> {
    let mut bytes = [0; KEY_BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| anyhow!("the system has no random numbers"))?;
    Ok(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    // The mode above counts for a new file only, and a crash may have left one.
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::TestDirectory;

    fn ours(directory: &DataDirectory) -> Ownership {
        match directory.claim().unwrap() {
            Claim::Ours(ownership) => ownership,
            Claim::Theirs(owner) => panic!("{owner:?}"),
        }
    }

    #[test]
    fn a_directory_has_one_owner_and_tells_where_it_is() {
        let place = TestDirectory::new();
        let directory = DataDirectory::new(&place.path().join("data"));
        assert!(!directory.exists());
        let mut ownership = ours(&directory);
        assert!(matches!(directory.claim().unwrap(), Claim::Theirs(None)), "it has not said yet");
        ownership.announce("http://127.0.0.1:8080", true).unwrap();
        let owner = directory.owner().unwrap();
        assert_eq!((owner.url.as_str(), owner.stays), ("http://127.0.0.1:8080", true));
        assert_eq!(owner.pid, std::process::id());
        drop(ownership);
        assert_eq!(directory.owner(), None, "what it has left behind misleads nobody");
        let mode = std::fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_key_is_made_once_and_is_for_its_user_only() {
        let place = TestDirectory::new();
        let directory = DataDirectory::new(place.path());
        assert_eq!(directory.key().unwrap(), None);
        std::fs::write(place.path().join("key.new"), "left by a crash").unwrap();
        let ownership = ours(&directory);
        let key = ownership.key().unwrap();
        assert!(key.starts_with("skein_") && key.len() == 49, "{} characters", key.len());
        assert!(skein_shared::config::is_bearer_token(&key));
        assert_eq!(ownership.key().unwrap(), key);
        assert_eq!(directory.key().unwrap(), Some(key));
        let mode = std::fs::metadata(place.path().join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
