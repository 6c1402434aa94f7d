//! The URLs of `larder get`, from the command line and standard input: each once, with its
//! destination.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, Read as _},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, StreamExt as _};
use larder::client::reqwest::Url;

use crate::{
    output::{Destination, FileNames},
    store_url::UsageError,
    url_argument::{MAX_URL, parse_url, without_password},
};

/// The URLs that are fetched, in the form that is sent.
pub(super) type Urls = Pin<Box<dyn Stream<Item = String> + Send>>;

/// A URL that is being fetched.
#[derive(Debug)]
pub(super) struct Job {
    /// The URL as it was given.
    pub(super) input: String,
    pub(super) destination: Destination,
}

/// How destinations are chosen.
#[derive(Debug, Clone)]
pub(super) enum Placement {
    /// All URLs have this one.
    All(Destination),
    /// Files in this directory, named after the URLs.
    Directory(PathBuf),
    /// Files in the current directory, named after the ends of the URLs.
    RemoteNames,
    /// These, in the order of the URLs.
    Listed(Vec<Destination>),
}

impl Placement {
    /// Removes and returns the next of the listed destinations. `None` if they are not listed.
    fn take_listed(&mut self) -> Option<Destination> {
        match self {
            Self::Listed(destinations) if destinations.is_empty() => Some(Destination::Discard),
            Self::Listed(destinations) => Some(destinations.remove(0)),
            _ => None,
        }
    }
}

/// The URLs of a command. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct UrlList(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    placement: Placement,
    names: FileNames,
    /// Fingerprints of the URLs so far.
    seen: HashSet<u128>,
    hashers: [RandomState; 2],
    /// The URLs that are being fetched, by the form that is sent.
    jobs: HashMap<String, Job>,
    /// The inputs that are no URLs, and why.
    invalid: Vec<(String, UsageError)>,
}

impl UrlList {
    /// Creates an empty list.
    pub(super) fn new(placement: Placement) -> Self {
        Self(Arc::new(Mutex::new(Known {
            placement,
            names: FileNames::default(),
            seen: HashSet::new(),
            hashers: [RandomState::new(), RandomState::new()],
            jobs: HashMap::new(),
            invalid: Vec::new(),
        })))
    }

    /// Returns the URLs of the arguments, with those of standard input in place of `-`.
    ///
    /// `adjust` changes each URL before it is sent.
    pub(super) fn stream(&self, arguments: &[String], adjust: impl Fn(Url) -> Url + Send + 'static) -> Urls {
        let inputs = futures_util::stream::iter(arguments.to_vec()).flat_map(|url| match &*url {
            "-" => urls_from_stdin(),
            _ => Box::pin(futures_util::stream::iter([Ok(url)])),
        });
        let list = self.clone();
        Box::pin(inputs.filter_map(move |input| {
            let url = match input {
                Ok(input) => list.add(&input, &adjust),
                Err((input, error)) => {
                    list.state().invalid.push((input, error));
                    None
                }
            };
            std::future::ready(url)
        }))
    }

    /// Removes and returns what is known of a URL that was fetched.
    pub(super) fn take(&self, url: &str) -> Job {
        let job = self.state().jobs.remove(url);
        job.unwrap_or_else(|| Job { input: url.to_owned(), destination: Destination::Discard })
    }

    /// Removes and returns the inputs that were no URLs.
    pub(super) fn take_invalid(&self) -> Vec<(String, UsageError)> {
        std::mem::take(&mut self.state().invalid)
    }

    /// Adds a URL, and returns it in the form that is sent. `None` if it is invalid or was added
    /// before.
    fn add(&self, input: &str, adjust: &impl Fn(Url) -> Url) -> Option<String> {
        let mut state = self.state();
        let url = match parse_url(input) {
            Ok(url) => adjust(url),
            Err(error) => {
                state.invalid.push((without_password(input), error));
                return None;
            }
        };
        // Taken also for a repetition, so that each URL has its own.
        let listed = state.placement.take_listed();
        let [high, low] = state.hashers.each_ref().map(|hasher| hasher.hash_one(url.as_str()));
        if !state.seen.insert(u128::from(high) << 64 | u128::from(low)) {
            if listed.is_some() {
                let url = without_password(input);
                let error = UsageError(format!("'{url}' is repeated; with -o, give each URL once"));
                state.invalid.push((url, error));
            }
            return None;
        }
        match listed.map_or_else(|| state.destination(input, &url), Ok) {
            Ok(destination) => {
                let sent = String::from(url);
                state.jobs.insert(sent.clone(), Job { input: input.to_owned(), destination });
                Some(sent)
            }
            Err(error) => {
                state.invalid.push((without_password(input), error));
                None
            }
        }
    }

    /// Locks the state. No other code runs under the lock.
    fn state(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Returns the destination of the next URL.
    fn destination(&mut self, input: &str, url: &Url) -> Result<Destination, UsageError> {
        Ok(match &mut self.placement {
            Placement::All(destination) => destination.clone(),
            Placement::Directory(directory) => {
                // The name is that of the URL as it was given, so that it can be found.
                Destination::File(directory.join(self.names.of_url(input)))
            }
            Placement::RemoteNames => {
                let name = self.names.of_last_segment(url);
                let name = name.ok_or_else(|| {
                    let url = without_password(input);
                    UsageError(format!("'{url}' has no file name for -O; use -o FILE"))
                })?;
                Destination::File(PathBuf::from(name))
            }
            Placement::Listed(_) => Destination::Discard,
        })
    }
}

type Inputs = Pin<Box<dyn Stream<Item = Result<String, (String, UsageError)>> + Send>>;

/// Reads URLs from standard input as they are needed. Skips empty lines and comments.
fn urls_from_stdin() -> Inputs {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    // On a separate thread: standard input may come slowly, and must not block the runtime.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut number = 0_u64;
        loop {
            number += 1;
            let result = match next_line(&mut input) {
                Ok(None) => return,
                Ok(Some(line)) => match line.trim() {
                    url if url.is_empty() || url.starts_with('#') => continue,
                    url => Ok(url.to_owned()),
                },
                Err(error) => {
                    let error = UsageError(format!("can't read URLs from standard input: {error}"));
                    Err((format!("line {number}"), error))
                }
            };
            let is_failed = result.is_err();
            if sender.blocking_send(result).is_err() || is_failed {
                return;
            }
        }
    });
    Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|url| (url, receiver))
    }))
}

/// Reads a line. Bytes that are not UTF-8 are percent-encoded, so that they arrive as they are.
fn next_line(input: &mut impl std::io::BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    let length = input.by_ref().take(MAX_URL as u64 + 2).read_until(b'\n', &mut line)?;
    if length == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") && length > MAX_URL {
        return Err(std::io::Error::other(format!("a line has more than {MAX_URL} bytes")));
    }
    Ok(Some(String::from_utf8(line).unwrap_or_else(|error| {
        let bytes = error.into_bytes();
        let encode =
            |byte: u8| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        bytes.into_iter().map(encode).collect()
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_bytes() {
        let mut input = &b"\xEF\xBB\xBFhttp://a/\r\nhttp://b/M\xFCller\nlast"[..];
        let mut next = || next_line(&mut input).expect("a line");
        assert_eq!(next().as_deref(), Some("\u{feff}http://a/\r\n"));
        assert_eq!(next().as_deref(), Some("http://b/M%FCller\n"));
        assert_eq!(next().as_deref(), Some("last"));
        assert_eq!(next(), None);
        let long = vec![b'a'; MAX_URL + 10];
        assert!(next_line(&mut &long[..]).is_err());
    }
}
