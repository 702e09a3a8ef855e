//! The directory of the embedded mode: its store, its key, and who owns it.
//!
//! `server.json` is the lock and the sign at the door in one: whoever runs a server on the directory holds an
//! advisory lock on the file and writes into it where the server listens. The lock goes with its process, so
//! that what a killed one has left in the file misleads nobody.
//!
//! The directory lies where people work, and so may be anybody's: one that was not made here is refused (`origin`), and
//! no link in it is followed ([`skein_shared::private`]).

mod origin;

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use skein_api::RandomKey;
use skein_shared::private::{Exposed, PrivateDirectory};

use crate::usage::UsageError;

/// What such keys start with, so that scanners for leaked secrets can recognise them.
const KEY_PREFIX: &str = "skein_";
/// Bytes of `server.json` or `key` that are read; both are far smaller.
const FILE_BYTES_MAX: u64 = 4096;
/// The lock, and where the server of the directory listens.
const SERVER: &str = "server.json";
/// The key.
const KEY: &str = "key";
/// The store; what SQLite keeps beside it is called so and something more.
const DATABASE: &str = "skein.db";

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
pub enum DirectoryClaim {
    /// This process owns the directory now.
    Owned(Ownership),
    /// Another one does; `None` while it has not said where it listens.
    Taken(Option<Owner>),
}

/// The right to run a server on the directory, for as long as this lives.
#[derive(Debug)]
pub struct Ownership {
    directory: DataDirectory,
    files: PrivateDirectory,
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

    /// Whether anything is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    /// The file of the SQLite store.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The file of the key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.path.join(KEY)
    }

    /// Becomes the owner unless there is one. Creates the directory, for its user only. A crash in the middle leaves
    /// one that can be claimed again.
    ///
    /// # Errors
    /// When the directory was not made here, or it cannot be created or written to.
    pub fn claim(&self) -> anyhow::Result<DirectoryClaim> {
        let files = PrivateDirectory::create(&self.path, is_own)?;
        let is_here = self.is_here(&files)?;
        let mut file = files.file_or_new(SERVER, Exposed::Closed)?;
        let message = || format!("cannot use {}", self.path.join(SERVER).display());
        match file.try_lock() {
            Ok(()) => {
                // Nothing else that counts is written before this is. Another owner may have done it meanwhile.
                if !origin::is_here(&files)? {
                    origin::mark(&files)?;
                }
                // What stands there is about a process that is gone.
                file.set_len(0).with_context(message)?;
                Ok(DirectoryClaim::Owned(Ownership { directory: self.clone(), files, lock: file }))
            }
            Err(TryLockError::WouldBlock) if is_here => {
                Ok(DirectoryClaim::Taken(read_owner(&mut file).with_context(message)?))
            }
            Err(TryLockError::WouldBlock) => Ok(DirectoryClaim::Taken(None)),
            Err(TryLockError::Error(error)) => Err(error).with_context(message),
        }
    }

    /// Who owns the directory, without claiming it; `None` when nobody does or it is not known.
    ///
    /// # Errors
    /// When the directory was not made here, or cannot be read.
    pub fn owner(&self) -> anyhow::Result<Option<Owner>> {
        let Some(files) = self.open()? else { return Ok(None) };
        let Some(mut file) = files.file(SERVER, Exposed::Closed)? else { return Ok(None) };
        let message = || format!("cannot use {}", self.path.join(SERVER).display());
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => read_owner(&mut file).with_context(message),
            Err(TryLockError::Error(error)) => Err(error).with_context(message),
        }
    }

    /// The key that the directory's server takes, if one was made.
    ///
    /// # Errors
    /// When the directory was not made here, or the key cannot be read or is open to others.
    pub fn key(&self) -> anyhow::Result<Option<String>> {
        self.open()?.map_or(Ok(None), |files| self.key_in(&files))
    }

    fn key_in(&self, files: &PrivateDirectory) -> anyhow::Result<Option<String>> {
        let message = || format!("cannot read {}", self.key_file().display());
        let Some(file) = files.file(KEY, Exposed::Refused).with_context(|| {
            format!("{} is not used: remove it, and a new key is made", self.key_file().display())
        })?
        else {
            return Ok(None);
        };
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(message)?;
        Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty()))
    }

    /// The directory, if there is one that was made here.
    fn open(&self) -> anyhow::Result<Option<PrivateDirectory>> {
        let Some(files) = PrivateDirectory::open(&self.path, is_own)? else { return Ok(None) };
        Ok(self.is_here(&files)?.then_some(files))
    }

    /// Whether the directory was made here. One that was not, and holds nothing yet that counts, may become so.
    fn is_here(&self, files: &PrivateDirectory) -> anyhow::Result<bool> {
        // In this order: who makes the directory writes down that it does before anything else.
        let counts = self.holds_what_counts(files)?;
        let is_here = origin::is_here(files)?;
        if counts && !is_here {
            let path: PathBuf = self.path.components().collect();
            let (path, moved) = (path.display(), format!("{}.old", path.display()));
            return Err(UsageError::new(format!(
                "{path} was not made here: it may have come with a repository or an archive, and what it holds would be executed and its key accepted. If it is not yours, remove it. If it is, copied or made by an earlier version, move it away (mv {path} {moved}) and name its database instead (DATABASE_URL=sqlite:{moved}/{DATABASE})"
            ))
            .into());
        }
        Ok(is_here)
    }

    fn holds_what_counts(&self, files: &PrivateDirectory) -> anyhow::Result<bool> {
        let names = files.names()?;
        if names.iter().any(|name| name == KEY || name.starts_with(DATABASE)) {
            return Ok(true);
        }
        // An empty one is the lock of an owner that got no further.
        let server = files.file(SERVER, Exposed::Closed)?;
        Ok(server.map(|file| file.metadata()).transpose()?.is_some_and(|file| file.len() > 0))
    }
}

/// Whether a file of this name in a data directory is one of its own.
fn is_own(name: &str) -> bool {
    let name = name.strip_suffix(".new").unwrap_or(name);
    matches!(name, SERVER | KEY | origin::NAME) || name.starts_with(DATABASE)
}

fn read_owner(file: &mut File) -> std::io::Result<Option<Owner>> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).ok())
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
        self.lock.write_all(text.as_bytes()).with_context(|| format!("cannot write {SERVER}"))
    }

    /// The directory's key; made on first use, and readable by its user only. A crash in the middle leaves
    /// either no key or a whole one.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the system has no random numbers.
    pub fn key(&self) -> anyhow::Result<String> {
        if let Some(key) = self.directory.key_in(&self.files)? {
            return Ok(key);
        }
        self.new_key()
    }

    /// Another key for the directory, instead of the one that it had.
    ///
    /// # Errors
    /// When the file cannot be written, or the system has no random numbers.
    pub fn new_key(&self) -> anyhow::Result<String> {
        let key = random_key()?;
        self.files.replace(KEY, &format!("{key}\n"))?;
        Ok(key)
    }
}

/// A key that nobody can guess. It is good for nothing until a server takes it.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_key() -> anyhow::Result<String> {
    Ok(RandomKey::generate(KEY_PREFIX)?.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::test_directory::TestDirectory;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn claim_own(directory: &DataDirectory) -> Ownership {
        match directory.claim().unwrap() {
            DirectoryClaim::Owned(ownership) => ownership,
            DirectoryClaim::Taken(owner) => panic!("{owner:?}"),
        }
    }

    #[test]
    fn a_directory_has_one_owner_and_tells_where_it_is() {
        let temp = TestDirectory::new();
        let directory = DataDirectory::new(&temp.path().join("data"));
        assert!(!directory.exists());
        let mut ownership = claim_own(&directory);
        assert!(
            matches!(directory.claim().unwrap(), DirectoryClaim::Taken(None)),
            "it has not said yet"
        );
        ownership.announce("http://127.0.0.1:8080", true).unwrap();
        let owner = directory.owner().unwrap().unwrap();
        assert_eq!((owner.url.as_str(), owner.stays), ("http://127.0.0.1:8080", true));
        assert_eq!(owner.pid, std::process::id());
        drop(ownership);
        assert_eq!(directory.owner().unwrap(), None, "what it has left behind misleads nobody");
        assert_eq!(mode(directory.path()), 0o700);
        assert_eq!(mode(&directory.path().join("server.json")), 0o600);
    }

    #[test]
    fn a_key_is_made_once_and_is_for_its_user_only() {
        let temp = TestDirectory::new();
        let directory = DataDirectory::new(temp.path());
        assert_eq!(directory.key().unwrap(), None);
        fs::write(temp.path().join("key.new"), "left by a crash").unwrap();
        let ownership = claim_own(&directory);
        let key = ownership.key().unwrap();
        assert!(key.starts_with("skein_") && key.len() == 49, "{} characters", key.len());
        assert!(skein_shared::config::is_bearer_token(&key));
        assert_eq!(ownership.key().unwrap(), key);
        assert_eq!(directory.key().unwrap(), Some(key));
        assert_eq!(mode(&directory.key_file()), 0o600);
    }

    #[test]
    fn a_directory_that_was_not_made_here_is_refused_and_left_as_it_is() {
        let temp = TestDirectory::new();
        let (made, copied) = (temp.path().join("made"), temp.path().join("copied"));
        let mut ownership = claim_own(&DataDirectory::new(&made));
        ownership.key().unwrap();
        ownership.announce("http://127.0.0.1:8080", true).unwrap();
        drop(ownership);
        fs::create_dir(&copied).unwrap();
        // Where it came from does not come with it, or is another's.
        for files in [&["key"][..], &["server.json"], &["key", "server.json", "origin.json"]] {
            for file in files {
                fs::copy(made.join(file), copied.join(file)).unwrap();
            }
            let directory = DataDirectory::new(&copied);
            for refused in [
                directory.claim().map(drop).unwrap_err(),
                directory.owner().map(drop).unwrap_err(),
                directory.key().map(drop).unwrap_err(),
            ] {
                let refused = refused.to_string();
                let (path, old) = (copied.display(), format!("{}.old", copied.display()));
                for part in [
                    format!("{path} was not made here"),
                    format!("(mv {path} {old})"),
                    format!("(DATABASE_URL=sqlite:{old}/skein.db)"),
                ] {
                    assert!(refused.contains(&part), "{refused}");
                }
            }
            for file in files {
                let (one, other) = (fs::read(made.join(file)), fs::read(copied.join(file)));
                assert_eq!(one.unwrap(), other.unwrap(), "{file}");
                fs::remove_file(copied.join(file)).unwrap();
            }
        }
        claim_own(&DataDirectory::new(&copied));
        let moved = temp.path().join("moved");
        fs::rename(&made, &moved).unwrap();
        assert!(DataDirectory::new(&moved).key().unwrap().is_some(), "it is the same one");
    }

    #[test]
    fn no_link_is_followed() {
        let temp = TestDirectory::new();
        let victim = temp.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let data = temp.path().join("data");
        let directory = DataDirectory::new(&data);
        claim_own(&directory);
        let soft: fn(&Path, &Path) = |to, at| symlink(to, at).unwrap();
        let hard: fn(&Path, &Path) = |to, at| fs::hard_link(to, at).unwrap();
        let linked = |name: &str, link: fn(&Path, &Path)| {
            let path = data.join(name);
            // There may be one already.
            let _ = fs::remove_file(&path);
            link(&victim, &path);
            let message = match directory.claim() {
                Ok(DirectoryClaim::Owned(ownership)) => ownership.key().map(drop).err(),
                Ok(DirectoryClaim::Taken(owner)) => panic!("{owner:?}"),
                Err(error) => Some(error),
            };
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
            let _ = fs::remove_file(path);
            message.map(|error| format!("{error:#}"))
        };
        for name in ["server.json", "key"] {
            for link in [soft, hard] {
                let message = linked(name, link).unwrap();
                assert!(message.contains("is a link"), "{name}: {message}");
            }
        }
        for name in ["key.new", "origin.json.new"] {
            assert_eq!(linked(name, soft), None, "{name}");
        }
        let link = temp.path().join("link");
        symlink(&data, &link).unwrap();
        for path in [link.clone(), link.join("")] {
            let message = DataDirectory::new(&path).claim().unwrap_err().to_string();
            assert!(message.contains("is a link"), "{message}");
        }
    }

    #[test]
    fn a_directory_with_something_else_in_it_stays_as_open_to_readers_as_it_was() {
        let temp = TestDirectory::new();
        fs::write(temp.path().join("index.html"), "for everybody").unwrap();
        let directory = DataDirectory::new(temp.path());
        set_mode(temp.path(), 0o755);
        assert_eq!(directory.owner().unwrap(), None);
        claim_own(&directory).key().unwrap();
        claim_own(&directory);
        assert_eq!(mode(temp.path()), 0o755);
        for name in ["key", "server.json", "origin.json"] {
            assert_eq!(mode(&temp.path().join(name)), 0o600, "{name}");
        }
        for open in [0o775, 0o777] {
            set_mode(temp.path(), open);
            let message = directory.claim().map(drop).unwrap_err().to_string();
            assert!(message.contains(&format!("(mode {open:o}")), "{message}");
            assert_eq!(mode(temp.path()), open);
        }
    }

    #[test]
    fn others_are_shut_out_and_a_key_that_they_could_read_is_refused() {
        let temp = TestDirectory::new();
        let directory = DataDirectory::new(temp.path());
        set_mode(temp.path(), 0o755);
        let ownership = claim_own(&directory);
        assert_eq!(mode(temp.path()), 0o700);
        ownership.key().unwrap();
        set_mode(&directory.key_file(), 0o640);
        let message = format!("{:#}", ownership.key().unwrap_err());
        assert!(message.contains("remove it") && message.contains("(mode 640"), "{message}");
        fs::write(temp.path().join("file"), "").unwrap();
        let message =
            DataDirectory::new(&temp.path().join("file")).claim().unwrap_err().to_string();
        assert!(message.ends_with("is no directory"), "{message}");
    }
}
