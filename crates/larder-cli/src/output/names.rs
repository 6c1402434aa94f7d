//! File names for URLs: each URL of a command gets a name that no other one has.

use std::collections::{HashMap, HashSet};

use larder::client::reqwest::Url;

/// Longest name without the number that makes it unique, in bytes.
const MAX_NAME: usize = 120;

/// The names of one command. The time for a name does not depend on how many there are.
#[derive(Debug, Default)]
pub(crate) struct FileNames {
    used: HashSet<String>,
    /// For each name that several URLs would have, the number that is tried next.
    next: HashMap<String, u32>,
}

impl FileNames {
    /// Returns the name for a URL in a directory of pages: host, path and query.
    ///
    /// It cannot lead out of the directory. No two URLs share a name, also on file systems that
    /// ignore case.
    pub(crate) fn of_url(&mut self, url: &str) -> String {
        let text = url.split_once("://").map_or(url, |(_, rest)| rest);
        // User and password are no part of a name.
        let host_end = text.find('/').unwrap_or(text.len());
        let text = text[..host_end].rfind('@').map_or(text, |at| &text[at + 1..]);
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        let name: String = text.trim_matches('/').chars().map(safe).take(MAX_NAME).collect();
        self.unique(name.trim_start_matches('.'))
    }

    /// Returns the name that a URL ends with, as of `curl -O`: the last segment of its path.
    /// `None` if the path has none.
    pub(crate) fn of_last_segment(&mut self, url: &Url) -> Option<String> {
        let last = url.path_segments()?.next_back().unwrap_or_default();
        // Backslashes separate directories on some systems; the parser of URLs removes `..`.
        let name: String = last.chars().map(|c| if c == '\\' { '_' } else { c }).take(MAX_NAME).collect();
        let name = name.trim_start_matches('.');
        (!name.is_empty()).then(|| self.unique(name))
    }

    /// Returns this name, or the name with the first number that makes it unique.
    fn unique(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "page" } else { name };
        let key = name.to_ascii_lowercase();
        if self.used.insert(key.clone()) {
            return name.to_owned();
        }
        let next = self.next.entry(key).or_insert(2);
        loop {
            let numbered = format!("{name}.{next}");
            *next += 1;
            if self.used.insert(numbered.to_ascii_lowercase()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_stay_in_the_directory() {
        let mut names = FileNames::default();
        for (url, name) in [
            ("https://example.com/", "example.com"),
            ("https://example.com/a/b?c=d", "example.com_a_b_c_d"),
            ("https://example.com/a/b?c/d", "example.com_a_b_c_d.2"),
            ("https://EXAMPLE.com/A/b?c/d", "EXAMPLE.com_A_b_c_d.3"),
            ("https://example.com/a/b?c=d.4", "example.com_a_b_c_d.4"),
            ("https://example.com/a/b?c?d", "example.com_a_b_c_d.5"),
            ("https://example.com/../../etc/passwd", "example.com_.._.._etc_passwd"),
            ("https://user:SECRET@example.com/mine", "example.com_mine"),
            ("http://..", "page"),
            ("http://…/", "_"),
        ] {
            assert_eq!(names.of_url(url), name, "{url}");
        }
    }

    #[test]
    fn names_as_of_curl() {
        let mut names = FileNames::default();
        for (url, name) in [
            ("https://example.com/a/b.txt?c=d", Some("b.txt")),
            ("https://example.org/b.txt", Some("b.txt.2")),
            ("https://example.com/a/%2e%2e%2fpasswd", Some("%2e%2e%2fpasswd")),
            ("https://example.com/.bashrc", Some("bashrc")),
            ("https://example.com/a/", None),
            ("https://example.com", None),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(names.of_last_segment(&url).as_deref(), name, "{url}");
        }
    }

    /// Each alike URL tried the numbers of all before it: 8,000 of them took minutes.
    #[test]
    fn alike_urls_get_successive_numbers() {
        let mut names = FileNames::default();
        let long = format!("https://example.com/{}", "a".repeat(200));
        for n in 0..50_000_u32 {
            let name = names.of_url(&format!("{long}/{n}"));
            let number = n + 1;
            assert!(n == 0 || name.ends_with(&format!("a.{number}")), "{name}");
        }
        assert_eq!(names.next.values().copied().max(), Some(50_001));
    }
}
