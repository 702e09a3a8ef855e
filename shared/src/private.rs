//! Files for the user of this process alone, in directories that somebody else may have prepared.
//!
//! A directory that came with a repository, or lies where others may write, can hold links that lead elsewhere and files
//! that others read or have made. So no link is followed here, and what is opened is looked at through its descriptor,
//! which nobody can exchange for another.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode};
use rustix::io::Errno;

/// The mode of a directory for its user only.
const DIRECTORY_MODE: RawMode = 0o700;
/// The mode of a file for its user only.
const FILE_MODE: RawMode = 0o600;
/// What a mode lets anybody else do.
const OTHERS: RawMode = 0o077;
/// What lets anybody else put something into a directory, or take something away.
const OTHERS_WRITE: RawMode = 0o022;

/// Why a file or a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// A symbolic link, or a file that has another name as well.
    #[error("{} is a link, and no link is followed here", .0.display())]
    Link(PathBuf),
    /// Something else stands there.
    #[error("{} is no {wanted}", .path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What should stand there.
        wanted: &'static str,
    },
    /// Somebody else could have written it, or could do so at any time.
    #[error("{} belongs to another user", .0.display())]
    Foreign(PathBuf),
    /// Others may read or write it.
    #[error("{} is open to other users (mode {mode:o}, and {wanted:o} is right)", .path.display())]
    Open {
        /// Where.
        path: PathBuf,
        /// Its mode.
        mode: RawMode,
        /// The mode that it should have.
        wanted: RawMode,
    },
    /// The system refuses.
    #[error("cannot use {}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What becomes of a file that others may read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {
    /// From now on they may not.
    Closed,
    /// It is refused: a secret is none any more, and may be somebody else's.
    Refused,
}

/// A directory for this user alone.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    handle: File,
}

impl PrivateDirectory {
    /// The directory at `path`, if there is one. Others are shut out of it if nothing but `own` names are in it. Where
    /// something else is, they may be meant to read that, and must only not be able to write.
    ///
    /// # Errors
    /// [`PrivateError`] when it cannot be used.
    pub fn open(path: &Path, own: impl Fn(&str) -> bool) -> Result<Option<Self>, PrivateError> {
        // Behind a slash at its end, a link would be followed.
        let path: PathBuf = path.components().collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Some(handle) = open(CWD, &path, &path, flags, Wanted::Directory)? else {
            return Ok(None);
        };
        let directory = Self { path, handle };
        check_kind(&directory.handle, &directory.path, Wanted::Directory)?;
        let is_own = directory.names()?.iter().all(|name| own(name) || name == "." || name == "..");
        let others = if is_own { OTHERS } else { OTHERS_WRITE };
        let exposed = if is_own { Exposed::Closed } else { Exposed::Refused };
        check_mode(&directory.handle, &directory.path, Wanted::Directory, others, exposed)?;
        Ok(Some(directory))
    }

    /// As [`Self::open`]; makes it, and what it lies in, where there is none.
    ///
    /// # Errors
    /// [`PrivateError`] when it cannot be made or used.
    pub fn create(path: &Path, own: impl Fn(&str) -> bool) -> Result<Self, PrivateError> {
        create_directory(path)?;
        let missing = || io_error(path, io::ErrorKind::NotFound.into());
        Self::open(path, own)?.ok_or_else(missing)
    }

    /// The names of what is in it.
    ///
    /// # Errors
    /// [`PrivateError::Io`] when it cannot be read.
    pub fn names(&self) -> Result<Vec<String>, PrivateError> {
        let failed = |errno: Errno| io_error(&self.path, errno.into());
        let entries = Dir::read_from(&self.handle).map_err(failed)?;
        entries
            .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// The directory itself, open.
    #[must_use]
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// The file of this name to read and write, if there is one.
    ///
    /// # Errors
    /// [`PrivateError`] when it cannot be used.
    pub fn file(&self, name: &str, exposed: Exposed) -> Result<Option<File>, PrivateError> {
        file_at(self.handle.as_fd(), Path::new(name), &self.path.join(name), exposed)
    }

    /// As [`Self::file`]; makes an empty one where there is none.
    ///
    /// # Errors
    /// [`PrivateError`] when it cannot be made or used.
    pub fn file_or_new(&self, name: &str, exposed: Exposed) -> Result<File, PrivateError> {
        let path = self.path.join(name);
        file_or_new_at(self.handle.as_fd(), Path::new(name), &path, exposed)
    }

    /// Replaces what was there with a file of this name and content. A crash in the middle leaves either the
    /// one or the other.
    ///
    /// # Errors
    /// [`PrivateError`] when it cannot be written.
    pub fn replace(&self, name: &str, content: &str) -> Result<(), PrivateError> {
        let draft = format!("{name}.new");
        let failed = |source: io::Error| io_error(&self.path.join(&draft), source);
        // One that a crash has left, or a link that somebody has.
        match rustix::fs::unlinkat(&self.handle, draft.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
        let (fd, path) = (self.handle.as_fd(), self.path.join(&draft));
        let mut file = new_at(fd, Path::new(&draft), &path)?
            .ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))?;
        file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        rustix::fs::renameat(&self.handle, draft.as_str(), &self.handle, name)
            .map_err(|errno| failed(errno.into()))?;
        self.handle.sync_all().map_err(failed)
    }
}

/// The file at `path` to read and write, if there is one. Others are shut out of it.
///
/// # Errors
/// [`PrivateError`] when it cannot be used.
pub fn file(path: &Path) -> Result<Option<File>, PrivateError> {
    file_at(CWD, path, path, Exposed::Closed)
}

/// As [`file()`]; makes an empty one, and what it lies in, where there is none.
///
/// # Errors
/// [`PrivateError`] when it cannot be made or used.
pub fn file_or_new(path: &Path) -> Result<File, PrivateError> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        create_directory(directory)?;
    }
    file_or_new_at(CWD, path, path, Exposed::Closed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Directory,
    File,
}

impl Wanted {
    fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
        }
    }

    fn mode(self) -> RawMode {
        match self {
            Self::Directory => DIRECTORY_MODE,
            Self::File => FILE_MODE,
        }
    }
}

fn create_directory(path: &Path) -> Result<(), PrivateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    match made {
        // Opening it shows better what stands there.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error(path, error)),
        _ => Ok(()),
    }
}

fn file_at(
    directory: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
    exposed: Exposed,
) -> Result<Option<File>, PrivateError> {
    // A pipe that somebody has put there must not hold us up.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Some(file) = open(directory, name, path, flags, Wanted::File)? else { return Ok(None) };
    check_kind(&file, path, Wanted::File)?;
    check_mode(&file, path, Wanted::File, OTHERS, exposed)?;
    Ok(Some(file))
}

fn file_or_new_at(
    directory: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
    exposed: Exposed,
) -> Result<File, PrivateError> {
    if let Some(file) = file_at(directory, name, path, exposed)? {
        return Ok(file);
    }
    if let Some(file) = new_at(directory, name, path)? {
        return Ok(file);
    }
    // Somebody else was quicker.
    let file = file_at(directory, name, path, exposed)?;
    file.ok_or_else(|| io_error(path, io::ErrorKind::NotFound.into()))
}

/// A new file; `None` where something stands already.
fn new_at(
    directory: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
) -> Result<Option<File>, PrivateError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(FILE_MODE)) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(io_error(path, errno.into())),
    }
}

fn open(
    directory: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
    flags: OFlags,
    wanted: Wanted,
) -> Result<Option<File>, PrivateError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(opened) => Ok(Some(opened.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => {
            let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
            let kind = found.map(|found| FileType::from_raw_mode(found.st_mode));
            let path = path.to_owned();
            Err(match (kind, wanted) {
                (Ok(FileType::Symlink), _) => PrivateError::Link(path),
                (Ok(FileType::Directory), Wanted::File) => {
                    PrivateError::Kind { path, wanted: wanted.name() }
                }
                (Ok(_), Wanted::Directory) if errno == Errno::NOTDIR => {
                    PrivateError::Kind { path, wanted: wanted.name() }
                }
                _ => PrivateError::Io { path, source: errno.into() },
            })
        }
    }
}

/// Makes sure that what has been opened is what it should be, and owned by this user.
fn check_kind(opened: &File, path: &Path, wanted: Wanted) -> Result<(), PrivateError> {
    let found = rustix::fs::fstat(opened).map_err(|errno| io_error(path, errno.into()))?;
    let kind = match wanted {
        Wanted::Directory => FileType::Directory,
        Wanted::File => FileType::RegularFile,
    };
    if FileType::from_raw_mode(found.st_mode) != kind {
        return Err(PrivateError::Kind { path: path.to_owned(), wanted: wanted.name() });
    }
    if found.st_uid != rustix::process::geteuid().as_raw() {
        return Err(PrivateError::Foreign(path.to_owned()));
    }
    if wanted == Wanted::File && found.st_nlink > 1 {
        return Err(PrivateError::Link(path.to_owned()));
    }
    Ok(())
}

/// Makes sure that nobody else may do any of `others` to what has been opened.
fn check_mode(
    opened: &File,
    path: &Path,
    wanted: Wanted,
    others: RawMode,
    exposed: Exposed,
) -> Result<(), PrivateError> {
    let failed = |errno: Errno| io_error(path, errno.into());
    let mode = || Ok(rustix::fs::fstat(opened).map_err(failed)?.st_mode & 0o7777);
    let mut found = mode()?;
    if found & others != 0 && exposed == Exposed::Closed {
        rustix::fs::fchmod(opened, Mode::from_raw_mode(found & !others)).map_err(failed)?;
        // Some file systems take it and do nothing.
        found = mode()?;
    }
    if found & others != 0 {
        let path = path.to_owned();
        return Err(PrivateError::Open { path, mode: found, wanted: wanted.mode() });
    }
    Ok(())
}

fn io_error(path: &Path, source: io::Error) -> PrivateError {
    PrivateError::Io { path: path.to_owned(), source }
}
