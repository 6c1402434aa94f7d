//! The files of a cassette: their names, and reading and writing them.
//!
//! Other files of the directory are left alone.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{CassetteError, CassetteErrorKind, RecordedExchange, RecordedRequest, format};

/// The extension of a recording.
const EXTENSION: &str = "exchange";

/// Most recordings in a cassette.
const MAX_FILES: usize = 10_000;

/// A file of the directory: its name without extension, and its number among equal requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileName {
    pub(crate) name: String,
    pub(crate) number: usize,
}

impl FileName {
    /// Creates the name of the recording of a request, the `number`-th of equal ones, from 1.
    ///
    /// It consists of small letters, digits, dots and hyphens, so it cannot lead out of the
    /// directory, is no reserved name of Windows, and does not depend on case. It has at most 100
    /// characters.
    pub(crate) fn of_request(request: &RecordedRequest, digest: &str, number: usize) -> Self {
        let mut slug = String::new();
        let host = request.url.host().unwrap_or_default();
        let text = format!("{} {host} {}", request.method, request.url.path());
        for letter in text.chars() {
            if letter.is_ascii_alphanumeric() {
                slug.push(letter.to_ascii_lowercase());
            } else if !slug.ends_with('-') {
                slug.push('-');
            }
            if slug.len() == 70 {
                break;
            }
        }
        let slug = slug.trim_matches('-');
        let number_text = if number > 1 { format!(".{number}") } else { String::new() };
        // Alone, a method could be a reserved name.
        let prefix = if slug.contains('-') { "" } else { "request-" };
        Self { name: format!("{prefix}{slug}.{digest}{number_text}.{EXTENSION}"), number }
    }

    /// Returns the name of a recording; `None` for another file.
    fn of_file(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
        if stem.starts_with('.') {
            return None;
        }
        let number = stem.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        Some(Self { name: name.to_owned(), number: number.filter(|number| *number < 1_000_000).unwrap_or(1) })
    }
}

/// Returns the recordings of a directory, by name. None if it does not exist.
pub(crate) fn list(directory: &Path) -> Result<Vec<FileName>, CassetteError> {
    let failed = |error| CassetteError::io("read", directory, &error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let Some(file) = name.to_str().and_then(FileName::of_file) else { continue };
        if found.len() == MAX_FILES {
            let text = format!("{} has more than {MAX_FILES} recordings", directory.display());
            return Err(CassetteError::new(CassetteErrorKind::TooLong, text));
        }
        found.push(file);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Reads a recording of at most `limit` bytes. `None` if it is gone.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<RecordedExchange>, CassetteError> {
    let mut bytes = Vec::new();
    let result = fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    match result {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CassetteError::io("read", path, &error)),
    }
    if bytes.len() as u64 > limit {
        let text = format!("{} is longer than {limit} bytes: see CassetteOptions::max_body", path.display());
        return Err(CassetteError::new(CassetteErrorKind::TooLong, text));
    }
    format::parse(&bytes).map(Some).map_err(|error| {
        let text = format!("{}: {error}", path.display());
        CassetteError::new(CassetteErrorKind::Damaged, text)
    })
}

/// Writes a recording. It gets its name when it is whole: no reader finds a part of it, also if the
/// process is killed. With `replace`, it replaces a file of that name; otherwise that one stays,
/// and the recording is dropped.
pub(crate) fn write(
    directory: &Path,
    name: &str,
    exchange: &RecordedExchange,
    replace: bool,
) -> Result<(), CassetteError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(directory).map_err(|error| CassetteError::io("create", directory, &error))?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!(".{}-{number}-{name}.tmp", std::process::id()));
    let temporary = Temporary(temporary);
    let path = directory.join(name);
    let failed = |error: std::io::Error| CassetteError::io("write", &path, &error);
    let mut file = fs::File::create(&temporary.0).map_err(failed)?;
    file.write_all(exchange.to_string().as_bytes()).map_err(failed)?;
    drop(file);
    if replace {
        return fs::rename(&temporary.0, &path).map_err(failed);
    }
    match fs::hard_link(&temporary.0, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // A file system without links: here two processes could replace each other's recording.
        Err(_) if !path.exists() => fs::rename(&temporary.0, &path).map_err(failed),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Removes a recording.
pub(crate) fn remove(path: &Path) -> Result<(), CassetteError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CassetteError::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// A temporary file, which is removed at the end, if it still has this name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe() {
        for (method, url, name) in [
            ("GET", "https://api.example.com/users/42?page=2", "get-api-example-com-users-42.d.exchange"),
            ("POST", "https://example.com/", "post-example-com.d.exchange"),
            ("GET", "http://a/../../etc/passwd", "get-a-etc-passwd.d.exchange"),
            ("CON", "http://-/", "request-con.d.exchange"),
            ("get", "http://A/Ü%2F..%5C\\", "get-a-2f-5c.d.exchange"),
        ] {
            let Ok(url) = url.parse() else { continue };
            let request = RecordedRequest::new(method.parse().unwrap(), url);
            assert_eq!(FileName::of_request(&request, "d", 1).name, name);
        }
        let long = format!("http://example.com/{}", "a/".repeat(2000));
        let request = RecordedRequest::new(http::Method::GET, long.parse().unwrap());
        let file = FileName::of_request(&request, "0123456789ab", 999_999);
        assert!(file.name.len() <= 110, "{}", file.name);
        assert_eq!(FileName::of_file(&file.name), Some(file));
    }

    #[test]
    fn other_files_are_ignored() {
        for name in ["README.md", ".1-0-a.exchange.tmp", ".hidden.exchange", "exchange", "a.exchange.bak"] {
            assert_eq!(FileName::of_file(name), None, "{name}");
        }
        assert_eq!(FileName::of_file("login.exchange").unwrap().number, 1);
        assert_eq!(FileName::of_file("login.2.exchange").unwrap().number, 2);
    }
}
