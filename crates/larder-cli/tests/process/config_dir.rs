//! A directory for a test: the configuration file of a proxy, and the log of its standard error.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::Proxy;

/// A temporary directory with a configuration file and the log of standard error.
pub(crate) struct ConfigDir {
    folder: TempDir,
}

impl ConfigDir {
    /// Creates an empty directory.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Returns the path of a file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration file, and returns its path.
    pub(crate) fn write(&self, config: &str) -> String {
        fs::write(self.path("larder.toml"), config).expect("a file");
        self.path("larder.toml").display().to_string()
    }

    /// Starts a proxy with this configuration file and these arguments.
    pub(crate) fn start(&self, config: &str, args: &[&str]) -> Proxy {
        let path = self.write(config);
        let errors = fs::File::create(self.path("errors")).expect("a file");
        Proxy::start_with(&[&["--config", &path], args].concat(), Stdio::from(errors))
    }

    /// Waits until standard error contains `text`, and returns all of it.
    pub(crate) fn wait_for_error(&self, text: &str) -> String {
        wait_for(&self.path("errors"), text)
    }
}

/// Waits up to 20 s until a file contains `expected`, and returns its content.
pub(crate) fn wait_for(path: &Path, expected: &str) -> String {
    let mut text = String::new();
    for _ in 0..2000 {
        text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(expected) {
            return text;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no '{expected}' in {}: {text}", path.display());
}
