//! A proxy with a configuration file, and what it says on standard error.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::Proxy;

/// A folder with a configuration, and what the proxy says on standard error.
pub(crate) struct Setting {
    folder: TempDir,
}

impl Setting {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, config: &str) -> String {
        fs::write(self.path("larder.toml"), config).expect("a file");
        self.path("larder.toml").display().to_string()
    }

    pub(crate) fn start(&self, config: &str, args: &[&str]) -> Proxy {
        let path = self.write(config);
        let errors = fs::File::create(self.path("errors")).expect("a file");
        Proxy::with(&[&["--config", &path], args].concat(), Stdio::from(errors))
    }

    /// Waits until standard error says so.
    pub(crate) fn says(&self, words: &str) -> String {
        wait_for(&self.path("errors"), words)
    }
}

pub(crate) fn wait_for(path: &Path, words: &str) -> String {
    let mut text = String::new();
    for _ in 0..2000 {
        text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(words) {
            return text;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("no '{words}' in {}: {text}", path.display());
}
