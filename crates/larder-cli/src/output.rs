//! Where contents go: a file each, standard output, or nowhere.

use std::{
    collections::HashSet,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use larder::client::Response;

/// Files for contents, each under a name of its own.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    taken: HashSet<String>,
}

/// Where one content goes.
#[derive(Debug)]
pub(crate) enum Place {
    File(PathBuf),
    Stdout,
    Nowhere,
}

impl Folder {
    /// Made, if it is not there.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("can't make the folder {}", path.display()))?;
        Ok(Self { path: path.to_owned(), taken: HashSet::new() })
    }

    /// A name from the URL in which nothing can lead out of the folder, and no two URLs share one, not even where case
    /// counts for nothing.
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
        while !self.taken.insert(unique.to_ascii_lowercase()) {
            unique = format!("{name}.{count}");
            count += 1;
        }
        self.path.join(unique)
    }
}

/// A file that has its name only when it is whole; dropped before, it is gone.
struct Partial {
    file: File,
    partial: PathBuf,
    whole: PathBuf,
}

impl Partial {
    fn create(whole: &Path) -> anyhow::Result<Self> {
        let mut partial = whole.as_os_str().to_owned();
        partial.push(".part");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).with_context(|| format!("can't write {}", partial.display()))?;
        Ok(Self { file, partial, whole: whole.to_owned() })
    }

    fn finish(self) -> anyhow::Result<()> {
        std::fs::rename(&self.partial, &self.whole)
            .with_context(|| format!("can't write {}", self.whole.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nothing is there after `finish`.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Moves the content, chunk by chunk; `moved` is told how much has come. How many bytes it had.
pub(crate) async fn copy(
    response: &mut Response,
    place: &Place,
    mut moved: impl FnMut(u64),
) -> anyhow::Result<u64> {
    let mut partial = match place {
        Place::File(path) => Some(Partial::create(path)?),
        Place::Stdout | Place::Nowhere => None,
    };
    let mut length = 0;
    while let Some(chunk) = response.chunk().await? {
        match (&mut partial, place) {
            (Some(partial), _) => partial.file.write_all(&chunk),
            (None, Place::Stdout) => std::io::stdout().write_all(&chunk),
            (None, _) => Ok(()),
        }
        .context("can't write the content")?;
        length += chunk.len() as u64;
        moved(length);
    }
    std::io::stdout().flush().context("can't write the content")?;
    partial.map_or(Ok(()), Partial::finish)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_folder_and_apart() {
        let mut folder = Folder { path: PathBuf::from("/f"), taken: HashSet::new() };
        for (url, name) in [
            ("https://example.com/", "example.com"),
            ("https://example.com/a/b?c=d", "example.com_a_b_c_d"),
            ("https://example.com/a/b?c/d", "example.com_a_b_c_d.2"),
            ("https://EXAMPLE.com/A/b?c/d", "EXAMPLE.com_A_b_c_d.3"),
            ("https://example.com/../../etc/passwd", "example.com_.._.._etc_passwd"),
            ("http://..", "page"),
            ("http://…/", "_"),
        ] {
            assert_eq!(folder.file(url), Path::new("/f").join(name), "{url}");
        }
    }
}
