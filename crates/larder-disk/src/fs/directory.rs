//! Opens the cache directory and its files. Every file is opened relative to the directory's
//! descriptor and never through a symbolic link; modes give access to the owner alone. File names
//! are built in `file_name`; what the files contain is left to the other modules.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use larder_core::codec;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RawMode};

use crate::format::file_name::{FileName, LAYOUT};

/// Marks the directory as a cache, so that backups skip it, and as one of larder-disk.
const TAG: &str = "CACHEDIR.TAG";
/// First line of [`TAG`], fixed by the Cache Directory Tagging Specification.
const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";
/// Second line of [`TAG`], by which this crate recognizes its own directories.
const OWNER_LINE: &str =
    "# A cache of larder-disk. Everything here may be deleted while no process uses it.\n";

/// Mode of new files: read and written by their owner alone.
const FILE_MODE: RawMode = 0o600;
/// Mode of new directories: accessible to their owner alone.
const FOLDER_MODE: RawMode = 0o700;

/// The open folder of this layout, such as `v2.1`, within the directory that the user configured.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Open for as long as the store, with a shared lock. Other versions of this crate may delete
    /// the folder only if they can lock it exclusively.
    folder: File,
    /// Path of the folder, to notice that it has been removed or replaced.
    path: PathBuf,
    /// Whether files may be created in it.
    creates: bool,
}

/// Whether a process uses a file.
#[derive(Debug)]
pub(crate) enum FileUse {
    /// The file does not exist, or another process has just removed it.
    Removed,
    /// A process has locked the file.
    Used,
    /// No process used the file. It is locked until this value is dropped.
    Unused(File),
}

impl Directory {
    /// Opens the directory at `path` and this layout's folder in it. Creates what is missing.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the directory contains files that are not a
    /// Larder cache; any error of the file system.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::create_dir_all(path.parent().unwrap_or(path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match rustix::fs::mkdir(path, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let outer = open_folder(rustix::fs::CWD, path, OFlags::empty())?;
        mark_as_cache(&outer, path)?;
        let name = format!("v{}.{LAYOUT}", codec::VERSION);
        // Another process may remove the folder before it is locked here; then create it again.
        for _ in 0..16 {
            match rustix::fs::mkdirat(&outer, name.as_str(), Mode::from_raw_mode(FOLDER_MODE)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let inner = match open_folder(&outer, Path::new(&name), OFlags::NOFOLLOW) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            inner.lock_shared()?;
            let opened = Self { folder: inner, path: path.join(&name), creates: true };
            if opened.still_exists() {
                // A new folder, and the tag, survive a power failure.
                outer.sync_all()?;
                opened.remove_other_layouts(&outer, &name);
                return Ok(opened);
            }
        }
        Err(io::Error::other("other processes keep removing the cache directory while it is being opened"))
    }

    /// Opens the directory at `path` and this layout's folder in it, and creates nothing.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) or [`InvalidInput`](io::ErrorKind::InvalidInput) if
    /// there is no Larder cache at `path`; any error of the file system.
    pub(crate) fn open_existing(path: &Path) -> io::Result<Self> {
        let missing = |what: &str| {
            let why = format!("{} {what}", path.display());
            move |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => io::Error::new(error.kind(), why),
                _ => error,
            }
        };
        let outer = open_folder(rustix::fs::CWD, path, OFlags::empty())
            .map_err(missing("is not an existing directory"))?;
        if !is_marked(&outer)?.unwrap_or(false) {
            let why = format!("{} is not a Larder cache", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let name = format!("v{}.{LAYOUT}", codec::VERSION);
        let inner = open_folder(&outer, Path::new(&name), OFlags::NOFOLLOW)
            .map_err(missing("has no cache of this version of Larder"))?;
        inner.lock_shared()?;
        Ok(Self { folder: inner, path: path.join(&name), creates: false })
    }

    /// Returns whether the path still leads to the open folder.
    pub(crate) fn still_exists(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match (self.folder.metadata(), std::fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Opens a file that is read and written in place. Creates it if it is missing, unless the
    /// directory was opened as an existing one; then a file that cannot be written is opened for
    /// reading.
    pub(crate) fn open_fixed(&self, name: &str) -> io::Result<File> {
        use rustix::io::Errno;
        if self.creates {
            return self.openat(name, OFlags::RDWR | OFlags::CREATE);
        }
        match self.openat(name, OFlags::RDWR) {
            Err(error)
                if [Errno::ROFS, Errno::ACCESS]
                    .map(|errno| errno.raw_os_error())
                    .map(Some)
                    .contains(&error.raw_os_error()) =>
            {
                self.openat(name, OFlags::RDONLY)
            }
            opened => opened,
        }
    }

    /// Creates a new file and locks it. The lock marks it as in use and lasts until it is closed or
    /// unlocked.
    ///
    /// Between creation and locking, another process that cleans up may take the file for a
    /// leftover and remove it. The link count shows that once the lock is held; the file is then
    /// created again.
    pub(crate) fn create(&self, name: FileName) -> io::Result<File> {
        use std::os::unix::fs::MetadataExt as _;
        for _ in 0..16 {
            let file = self.openat(&name.to_string(), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
            file.lock()?;
            if file.metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
        Err(io::Error::other("other processes keep removing a new file before it can be locked"))
    }

    /// Opens a file for reading.
    pub(crate) fn open_file(&self, name: FileName) -> io::Result<File> {
        self.openat(&name.to_string(), OFlags::RDONLY)
    }

    /// Locks a file that no process uses, so that it can be removed.
    ///
    /// A file can be removed and created again between its opening and its locking here. The lock
    /// is then that of the removed file, which its link count shows; the name is that of the new
    /// one, which its writer has locked.
    pub(crate) fn lock_unused(&self, name: FileName) -> io::Result<FileUse> {
        use std::os::unix::fs::MetadataExt as _;
        let file = match self.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileUse::Removed),
            opened => opened?,
        };
        if file.try_lock().is_err() {
            return Ok(FileUse::Used);
        }
        if file.metadata()?.nlink() == 0 {
            return Ok(FileUse::Removed);
        }
        Ok(FileUse::Unused(file))
    }

    /// Renames a file, replacing the file that has the new name.
    pub(crate) fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        rustix::fs::renameat(&self.folder, from.to_string(), &self.folder, to.to_string()).map_err(Into::into)
    }

    /// Returns the bytes that a file occupies in the file system, from its block count.
    pub(crate) fn size_of(&self, name: FileName) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.folder, name.to_string(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    /// Returns the bytes that a file with a fixed name occupies in the file system, and its length.
    /// Both are zero if it does not exist.
    pub(crate) fn size_of_fixed(&self, name: &str) -> io::Result<(u64, u64)> {
        match rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
                Ok((blocks * 512, u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Err(rustix::io::Errno::NOENT) => Ok((0, 0)),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file. Returns `false` if it did not exist.
    pub(crate) fn remove(&self, name: FileName) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.folder, name.to_string(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the numbered files (segments, bodies, temporary bodies) in no particular order.
    pub(crate) fn list(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            names.extend(entry?.file_name().to_str().ok().and_then(FileName::parse));
        }
        Ok(names)
    }

    /// Syncs the folder, so that new files and renames in it survive a power failure.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    /// Opens a file relative to the folder. Never follows a symbolic link.
    fn openat(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(FILE_MODE))?))
    }

    /// Removes the folders of other layouts that no process has locked.
    fn remove_other_layouts(&self, outer: &File, current: &str) {
        let Ok(entries) = Dir::read_from(outer) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let version = name.strip_prefix('v').and_then(|rest| rest.split_once('.'));
            let is_layout =
                version.is_some_and(|(a, b)| a.parse::<u16>().is_ok() && b.parse::<u16>().is_ok());
            if !is_layout || name == current {
                continue;
            }
            let Ok(other) = open_folder(outer, Path::new(name), OFlags::NOFOLLOW) else { continue };
            if other.try_lock().is_ok() {
                tracing::warn!(
                    folder = name,
                    "removing the cache of another version of Larder, which no process uses"
                );
                // `remove_dir_all` follows no symbolic link.
                let _ = std::fs::remove_dir_all(self.path.with_file_name(name));
            }
        }
    }
}

/// Opens a directory relative to `at`.
fn open_folder(at: impl std::os::fd::AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | flags;
    let fd: OwnedFd = rustix::fs::openat(at, path, flags, Mode::empty())?;
    Ok(File::from(fd))
}

/// Returns whether the directory has the tag file of this crate; `None` if it has no tag file.
fn is_marked(outer: &File) -> io::Result<Option<bool>> {
    use std::io::Read as _;
    match rustix::fs::openat(outer, TAG, OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty()) {
        Ok(tag) => {
            let mut text = String::new();
            File::from(tag).take(4096).read_to_string(&mut text)?;
            // An empty tag is one that another process is writing.
            Ok(Some(text.is_empty() || text.contains("larder-disk")))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes the tag file into an empty directory. Fails with
/// [`InvalidInput`](io::ErrorKind::InvalidInput) if the directory has other files and no such tag.
fn mark_as_cache(outer: &File, path: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Twice: another process may write the tag between the check for the tag and the listing.
    for _ in 0..2 {
        match is_marked(outer)? {
            Some(true) => return Ok(()),
            Some(false) => break,
            None => {}
        }
        let is_dot_entry = |name: &std::ffi::CStr| matches!(name.to_bytes(), b"." | b"..");
        if Dir::read_from(outer)?.all(|entry| entry.is_ok_and(|entry| is_dot_entry(entry.file_name()))) {
            let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            return match rustix::fs::openat(outer, TAG, create, Mode::from_raw_mode(FILE_MODE)) {
                Ok(tag) => File::from(tag).write_all(format!("{SIGNATURE}{OWNER_LINE}").as_bytes()),
                Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
    }
    let why = format!(
        "{} is not empty and is not a Larder cache: choose an empty or a new directory",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
