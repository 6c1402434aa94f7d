//! The directory: whose it is, and its files. Everything is opened relative to it, by name and never through a symbolic
//! link, and nobody but its owner can read it.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use larder_core::codec;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RawMode};

use crate::file_name::{FileName, INDEX, LAYOUT, LOCK, STALE, STATE, TOMBS};

/// Begins a file that marks the directory as a cache, for backups to leave it out, and as ours.
const TAG: &str = "CACHEDIR.TAG";
const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";
const MARK: &str = "# A cache of larder-disk. Everything here may be deleted while no process uses it.\n";

const FILES: RawMode = 0o600;
const FOLDERS: RawMode = 0o700;

/// The folder of one layout within the directory that the user named.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Open for as long as the store is, with a shared lock: who finds it unlocked may delete it.
    folder: File,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory, makes it where it is missing, and refuses what is somebody else's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match std::fs::create_dir_all(path.parent().unwrap_or(path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match rustix::fs::mkdir(path, Mode::from_raw_mode(FOLDERS)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let outer = folder(rustix::fs::CWD, path, OFlags::empty())?;
        mark(&outer, path)?;
        let name = format!("v{}.{LAYOUT}", codec::VERSION);
        // Another process may take an unused folder away just now: then it is made anew.
        for _ in 0..16 {
            match rustix::fs::mkdirat(&outer, name.as_str(), Mode::from_raw_mode(FOLDERS)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let inner = match folder(&outer, Path::new(&name), OFlags::NOFOLLOW) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            inner.lock_shared()?;
            let opened = Self { folder: inner, path: path.join(&name) };
            if opened.is_there() {
                opened.remove_other_layouts(&outer, &name);
                return Ok(opened);
            }
        }
        Err(io::Error::other("the directory is being removed again and again"))
    }

    /// Whether the path still leads to it.
    pub(crate) fn is_there(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match (self.folder.metadata(), std::fs::symlink_metadata(&self.path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// A file that is read and written in place, made where it is missing.
    pub(crate) fn fixed(&self, name: &str) -> io::Result<File> {
        self.openat(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// A new file that is this process's: locked, for as long as it is open.
    ///
    /// Who cleans up may come between its being made and its being locked, and take it for what somebody has left. Then it is
    /// gone once the lock is had, and made anew.
    pub(crate) fn create(&self, name: FileName) -> io::Result<File> {
        use std::os::unix::fs::MetadataExt as _;
        for _ in 0..16 {
            let file = self.openat(&name.to_string(), OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
            file.lock()?;
            if file.metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
        Err(io::Error::other("a new file is removed again and again"))
    }

    pub(crate) fn open_file(&self, name: FileName) -> io::Result<File> {
        self.openat(&name.to_string(), OFlags::RDONLY)
    }

    pub(crate) fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        rustix::fs::renameat(&self.folder, from.to_string(), &self.folder, to.to_string()).map_err(Into::into)
    }

    /// Bytes of the file system that it took.
    pub(crate) fn size_of(&self, name: FileName) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.folder, name.to_string(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    /// The same of the files without a number.
    pub(crate) fn fixed_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in [STATE, LOCK, INDEX, TOMBS, STALE] {
            let stat = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        Ok(bytes)
    }

    /// Removes a file; `false` if there was none.
    pub(crate) fn remove(&self, name: FileName) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.folder, name.to_string(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// All files with a number, in no order.
    pub(crate) fn list(&self) -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            names.extend(entry?.file_name().to_str().ok().and_then(FileName::parse));
        }
        Ok(names)
    }

    /// Makes what was renamed here survive a power failure.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn openat(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.folder, name, flags, Mode::from_raw_mode(FILES))?))
    }

    /// Folders of other versions of the format that no process uses.
    fn remove_other_layouts(&self, outer: &File, own: &str) {
        let Ok(entries) = Dir::read_from(outer) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let version = name.strip_prefix('v').and_then(|rest| rest.split_once('.'));
            let is_layout =
                version.is_some_and(|(a, b)| a.parse::<u16>().is_ok() && b.parse::<u16>().is_ok());
            if !is_layout || name == own {
                continue;
            }
            let Ok(other) = folder(outer, Path::new(name), OFlags::NOFOLLOW) else { continue };
            if other.try_lock().is_ok() {
                tracing::info!(folder = name, "removing what another version of the format has left");
                // `remove_dir_all` follows no symbolic link.
                let _ = std::fs::remove_dir_all(self.path.with_file_name(name));
            }
        }
    }
}

fn folder(at: impl std::os::fd::AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | flags;
    let fd: OwnedFd = rustix::fs::openat(at, path, flags, Mode::empty())?;
    Ok(File::from(fd))
}

/// Marks an empty directory as ours; refuses one that has something else in it.
fn mark(outer: &File, path: &Path) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Twice: another process may mark it between our two looks.
    for _ in 0..2 {
        match rustix::fs::openat(outer, TAG, flags | OFlags::RDONLY, Mode::empty()) {
            Ok(tag) => {
                let mut text = String::new();
                File::from(tag).take(4096).read_to_string(&mut text)?;
                // Empty: another process is writing it.
                if text.is_empty() || text.contains("larder-disk") {
                    return Ok(());
                }
                break;
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let is_own = |name: &std::ffi::CStr| matches!(name.to_bytes(), b"." | b"..");
        if Dir::read_from(outer)?.all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name()))) {
            let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            return match rustix::fs::openat(outer, TAG, create, Mode::from_raw_mode(FILES)) {
                Ok(tag) => File::from(tag).write_all(format!("{SIGNATURE}{MARK}").as_bytes()),
                Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
    }
    let why = format!(
        "{} is not empty and not a cache of Larder's: name an empty or a new directory",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}
