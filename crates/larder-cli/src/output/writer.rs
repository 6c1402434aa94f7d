//! Writes one file: under a name that no other process has until it is complete, and only if its
//! content has changed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;

/// A file that is being written.
///
/// As long as the new content is the same as that of an existing file, nothing is written. A file
/// that is not complete when this is dropped is removed.
#[derive(Debug)]
pub(crate) struct FileWriter {
    target: PathBuf,
    state: State,
}

/// Where the bytes go.
#[derive(Debug)]
enum State {
    /// They have been the same as the first `length` bytes of the existing file.
    Comparing { existing: File, length: u64 },
    /// They are in a new file.
    Writing(NewFile),
    /// The target is no regular file, such as `/dev/null`, and is written directly.
    Device(File),
}

/// How a file was completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// The file is new, or has another content than before.
    New,
    /// The file has had this content before, and was not touched.
    Unchanged,
}

impl FileWriter {
    /// Begins to write the file at `target`.
    pub(crate) fn create(target: &Path) -> anyhow::Result<Self> {
        // A link remains one, and the file that it leads to is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let state = State::of(&target).with_context(|| failed(&target))?;
        Ok(Self { target, state })
    }

    /// Returns whether a file is there already.
    pub(crate) fn exists(target: &Path) -> bool {
        fs::metadata(target).is_ok_and(|metadata| metadata.is_file())
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.try_write(bytes).with_context(|| failed(&self.target))
    }

    /// Discards what was written so far, and begins again.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.state = State::of(&self.target).with_context(|| failed(&self.target))?;
        Ok(())
    }

    /// Completes the file, which gets its final name. With `modified`, that becomes its time of
    /// modification.
    pub(crate) fn finish(mut self, modified: Option<SystemTime>) -> anyhow::Result<Written> {
        self.try_finish(modified).with_context(|| failed(&self.target))
    }

    /// Appends bytes, to a new file as soon as they differ from those of the existing one.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let State::Comparing { existing, length } = &mut self.state {
            let mut same = vec![0; bytes.len()];
            if existing.read_exact(&mut same).is_ok() && same == bytes {
                *length += bytes.len() as u64;
                return Ok(());
            }
        }
        self.diverge()?;
        match &mut self.state {
            State::Writing(new) => new.file.write_all(bytes),
            State::Device(file) => file.write_all(bytes),
            // `diverge` has ended this state.
            State::Comparing { .. } => Ok(()),
        }
    }

    /// Begins a new file with what is the same in the existing one.
    fn diverge(&mut self) -> io::Result<()> {
        let State::Comparing { existing, length } = &mut self.state else { return Ok(()) };
        let mut new = NewFile::beside(&self.target)?;
        existing.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut existing.take(*length), &mut new.file)?;
        if copied != *length {
            return Err(io::Error::other("the file was cut off while it was compared"));
        }
        new.file.set_permissions(existing.metadata()?.permissions())?;
        self.state = State::Writing(new);
        Ok(())
    }

    /// Completes the file.
    fn try_finish(&mut self, modified: Option<SystemTime>) -> io::Result<Written> {
        if let State::Comparing { existing, .. } = &mut self.state
            && existing.read(&mut [0])? > 0
        {
            // The new content is the beginning of the existing one.
            self.diverge()?;
        }
        match &mut self.state {
            State::Device(file) => file.flush().map(|()| Written::New),
            State::Comparing { existing, .. } => {
                if let Some(modified) = modified
                    && existing.metadata()?.modified()? != modified
                {
                    OpenOptions::new().append(true).open(&self.target)?.set_modified(modified)?;
                }
                Ok(Written::Unchanged)
            }
            State::Writing(new) => {
                if let Some(modified) = modified {
                    new.file.set_modified(modified)?;
                }
                fs::rename(&new.path, &self.target)?;
                Ok(Written::New)
            }
        }
    }
}

impl State {
    /// Returns the state before the first byte.
    fn of(target: &Path) -> io::Result<Self> {
        match fs::metadata(target) {
            Ok(metadata) if metadata.is_file() => {
                // A file that may not be written is not replaced either.
                let existing = OpenOptions::new().read(true).append(true).open(target)?;
                Ok(Self::Comparing { existing, length: 0 })
            }
            Ok(metadata) if metadata.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(_) => Ok(Self::Device(OpenOptions::new().write(true).open(target)?)),
            Err(_) => Ok(Self::Writing(NewFile::beside(target)?)),
        }
    }
}

/// A file under a temporary name. It is removed when dropped, if it was not renamed.
#[derive(Debug)]
struct NewFile {
    file: File,
    path: PathBuf,
}

impl NewFile {
    /// Creates a file in the directory of `target`, under a name that nothing else has.
    fn beside(target: &Path) -> io::Result<Self> {
        let directory = target.parent().unwrap_or(Path::new(""));
        loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let path = directory.join(format!(".larder-{:016x}.part", u64::from_le_bytes(random)));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After the file was renamed there is none of this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the text of an error of a file.
fn failed(target: &Path) -> String {
    format!("can't write {}", target.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes chunks to a file, and returns how it was completed and what is in it.
    fn write(target: &Path, chunks: &[&str]) -> (Written, String) {
        let mut writer = FileWriter::create(target).expect("a file");
        for chunk in chunks {
            writer.write(chunk.as_bytes()).expect("it writes");
        }
        let written = writer.finish(None).expect("it completes");
        (written, fs::read_to_string(target).expect("a file"))
    }

    #[test]
    fn a_file_is_replaced_only_if_its_content_differs() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("page");
        for (chunks, expected) in [
            (&["one", "two"][..], Written::New),
            (&["on", "et", "wo"], Written::Unchanged),
            (&["onetwo", "three"], Written::New),
            (&["onetwo", "thr33"], Written::New),
            (&["onetwo"], Written::New),
            (&["onet"], Written::New),
            (&[], Written::New),
            (&[], Written::Unchanged),
            (&["x"], Written::New),
        ] {
            assert_eq!(write(&target, chunks), (expected, chunks.concat()), "{chunks:?}");
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no temporary file remains");
    }

    #[test]
    fn an_incomplete_file_is_removed_and_the_old_one_remains() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("page");
        write(&target, &["good"]);
        let mut writer = FileWriter::create(&target).expect("a file");
        writer.write(b"go").expect("it writes");
        writer.write(b"ne").expect("it writes");
        writer.restart().expect("it begins again");
        writer.write(b"bad").expect("it writes");
        drop(writer);
        assert_eq!(fs::read_to_string(&target).expect("a file"), "good");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_permissions_and_devices_remain() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("page"), folder.path().join("link"));
        write(&target, &["one"]);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("its owner");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        assert_eq!(write(&link, &["two"]), (Written::New, "two".to_owned()));
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(fs::metadata(&target).expect("a file").permissions().mode() & 0o777, 0o640);
        let mut null = FileWriter::create(Path::new("/dev/null")).expect("a device");
        null.write(b"nothing").expect("it writes");
        assert_eq!(null.finish(None).expect("it completes"), Written::New);
        assert!(FileWriter::create(folder.path()).is_err(), "a directory");
    }
}
