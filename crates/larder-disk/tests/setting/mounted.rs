//! Mounts file systems for tests, and lets their power fail.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use larder_disk::{DiskOptions, DiskStore};

use super::TestDir;

/// Runs a command and panics if it fails.
pub(crate) fn run(command: &str, arguments: &[&str]) {
    let hint = "this test mounts a file system: run it as root, with `mount` and `mkfs.ext4` \
                (apt-get install mount e2fsprogs)";
    let output = Command::new(command)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}; {hint}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {arguments:?}: {errors}; {hint}");
}

/// A mounted file system. It is unmounted when this is dropped.
pub(crate) struct Mounted {
    pub(crate) dir: TestDir,
    pub(crate) at: PathBuf,
}

impl Mounted {
    /// Mounts a file system.
    fn new(arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let dir = TestDir::new();
        let at = dir.path().join("mounted");
        std::fs::create_dir_all(&at).expect("create a directory");
        let mut arguments = arguments(&dir.path());
        arguments.push(at.display().to_string());
        run("mount", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Self { dir, at }
    }

    /// Mounts a file system in memory of this size, such as `8m`.
    pub(crate) fn tmpfs(size: &str) -> Self {
        Self::new(|_| {
            vec![
                "-t".to_owned(),
                "tmpfs".to_owned(),
                "-o".to_owned(),
                format!("size={size}"),
                "larder".to_owned(),
            ]
        })
    }

    /// Mounts a new ext4 file system. What is not synced reaches its image after minutes.
    pub(crate) fn ext4(megabytes: u64) -> Self {
        Self::new(|dir| {
            let image = dir.join("image");
            let file = std::fs::File::create(&image).expect("a file");
            file.set_len(megabytes << 20).expect("set_len succeeds");
            run("mkfs.ext4", &["-q", "-m", "0", &image.display().to_string()]);
            vec!["-o".to_owned(), "loop,commit=300".to_owned(), image.display().to_string()]
        })
    }

    /// Returns the file system as a power failure at this moment would leave it: a copy of its
    /// image, in which everything is missing that has not been synced.
    pub(crate) fn after_power_failure(&self) -> Self {
        let image = self.dir.path().join("image");
        Self::new(|dir| {
            let copy = dir.join("image");
            run("cp", &["--sparse=always", &image.display().to_string(), &copy.display().to_string()]);
            vec!["-o".to_owned(), "loop,commit=300".to_owned(), copy.display().to_string()]
        })
    }

    /// Opens a store with this limit in bytes.
    pub(crate) fn store(&self, max_bytes: u64) -> DiskStore {
        DiskStore::open(self.at.join("cache"), DiskOptions::default().with_max_bytes(max_bytes))
            .expect("open succeeds")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        let _ = &self.dir;
    }
}
