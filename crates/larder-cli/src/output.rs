//! Where `larder get` writes the body of a response: to a file, to standard output, or nowhere.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use larder::client::Response;

/// The directory of `--output`. Each URL gets a file name of its own in it.
#[derive(Debug)]
pub(crate) struct OutputDir {
    path: PathBuf,
    used_names: HashSet<String>,
}

/// Where the body of one response goes.
#[derive(Debug)]
pub(crate) enum Destination {
    File(PathBuf),
    Stdout,
    Discard,
}

impl OutputDir {
    /// Opens the directory, and creates it if it does not exist.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("--output: can't create the directory {}", path.display()))?;
        Ok(Self { path: path.to_owned(), used_names: HashSet::new() })
    }

    /// Returns the path of a new file for a URL.
    ///
    /// Its name cannot lead out of the directory. No two URLs share a name, also on file systems
    /// that ignore case.
    pub(crate) fn file(&mut self, url: &str) -> PathBuf {
        let text = url.split_once("://").map_or(url, |(_, rest)| rest);
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let name: String = text.trim_matches('/').chars().map(safe).take(120).collect();
        let name = match name.trim_start_matches('.') {
            "" => "page",
            name => name,
        };
        let mut unique = name.to_owned();
        let mut count = 2;
        while !self.used_names.insert(unique.to_ascii_lowercase()) {
            unique = format!("{name}.{count}");
            count += 1;
        }
        self.path.join(unique)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
            Self::Discard => f.write_str("nowhere"),
        }
    }
}

/// A file that gets its final name when it is complete. Dropped before that, it is removed.
struct TempFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl TempFile {
    /// Creates the file under its temporary name, which is `target` with `.part` appended.
    fn create(target: &Path) -> anyhow::Result<Self> {
        let mut path = target.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self { file, path, target: target.to_owned() })
    }

    /// Renames the file to its final name.
    fn persist(self) -> anyhow::Result<()> {
        std::fs::rename(&self.path, &self.target)
            .with_context(|| format!("can't write {}", self.target.display()))
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After `persist` there is no file of this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Copies the body of a response to its destination, chunk by chunk, and returns its length in
/// bytes.
///
/// Calls `progress` after each chunk with the number of bytes so far.
pub(crate) async fn copy(
    response: &mut Response,
    destination: &Destination,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let mut temp = match destination {
        Destination::File(path) => Some(TempFile::create(path)?),
        Destination::Stdout | Destination::Discard => None,
    };
    let mut length = 0;
    while let Some(chunk) = response.chunk().await? {
        match (&mut temp, destination) {
            (Some(temp), _) => temp.file.write_all(&chunk),
            (None, Destination::Stdout) => std::io::stdout().write_all(&chunk),
            (None, _) => Ok(()),
        }
        .with_context(|| format!("can't write {destination}"))?;
        length += chunk.len() as u64;
        progress(length);
    }
    std::io::stdout().flush().context("can't write standard output")?;
    temp.map_or(Ok(()), TempFile::persist)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_unique_and_stay_in_the_directory() {
        let mut dir = OutputDir { path: PathBuf::from("/f"), used_names: HashSet::new() };
        for (url, name) in [
            ("https://example.com/", "example.com"),
            ("https://example.com/a/b?c=d", "example.com_a_b_c_d"),
            ("https://example.com/a/b?c/d", "example.com_a_b_c_d.2"),
            ("https://EXAMPLE.com/A/b?c/d", "EXAMPLE.com_A_b_c_d.3"),
            ("https://example.com/../../etc/passwd", "example.com_.._.._etc_passwd"),
            ("http://..", "page"),
            ("http://…/", "_"),
        ] {
            assert_eq!(dir.file(url), Path::new("/f").join(name), "{url}");
        }
    }
}
