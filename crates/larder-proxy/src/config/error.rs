//! Defines [`ConfigError`]: what is wrong with a configuration, and where.

use std::{borrow::Cow, fmt};

/// The error of a configuration that cannot be used.
///
/// Its message names the file, the line and the key as far as they are known, what is wrong, and in
/// most cases what to write instead.
///
/// ```
/// use larder_proxy::Config;
///
/// let text = "workers = 2\n\n[[route]]\norigns = [\"http://127.0.0.1:3000\"]";
/// let error = Config::parse(text, |_| None).expect_err("a key is misspelt");
/// assert_eq!(error.line(), Some(4));
/// assert_eq!(error.to_string(), "line 4: route.origns: unknown key; did you mean `origins`?");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<String>,
    line: Option<usize>,
    /// With the positions of tables and values in lists, such as `route[1].origins[0]`.
    path: String,
    message: String,
    is_io: bool,
}

impl ConfigError {
    /// Creates the error of a key, such as `store` or `route.origins`, or of the whole
    /// configuration for an empty key.
    pub fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { file: None, line: None, path: key.into(), message: message.to_string(), is_io: false }
    }

    /// Creates the error of a file that cannot be read, or of an address that cannot be used.
    pub(crate) fn io(key: &str, message: impl fmt::Display) -> Self {
        Self { is_io: true, ..Self::new(key, message) }
    }

    /// Returns the key, such as `route.origins`. Empty if the error concerns no single key.
    pub fn key(&self) -> Cow<'_, str> {
        if !self.path.contains('[') {
            return (&*self.path).into();
        }
        let mut parts = self.path.split('[');
        let mut key = parts.next().unwrap_or_default().to_owned();
        key.extend(parts.filter_map(|part| part.split_once(']')).map(|(_, rest)| rest));
        key.into()
    }

    /// Returns the line in the file, counted from 1; `None` if the configuration has no text.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns what is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns whether the configuration may be valid, but the system refuses what it needs: a file
    /// cannot be read, or an address is in use.
    pub fn is_io(&self) -> bool {
        self.is_io
    }

    /// Returns the error with another name in place of file, line and key, such as that of a
    /// command-line option that the value comes from.
    #[must_use]
    pub fn renamed(self, name: &str) -> Self {
        Self { file: None, line: None, path: name.to_owned(), ..self }
    }

    /// Returns the key with the positions of tables and of values in lists.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Puts a key, or the position `[n]` in a list, in front of the key.
    #[must_use]
    pub(crate) fn within(mut self, outer: &str) -> Self {
        if outer.is_empty() {
            return self;
        }
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{outer}{separator}{}", self.path);
        self
    }

    /// Sets the line, if there is none yet.
    #[must_use]
    pub(super) fn at(mut self, line: Option<usize>) -> Self {
        self.line = self.line.or(line);
        self
    }

    /// Sets the name of the file, if there is none yet.
    #[must_use]
    pub(super) fn of_file(mut self, file: Option<&str>) -> Self {
        self.file = self.file.or_else(|| file.map(str::to_owned));
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.key())?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

/// The errors of the parser of values, which knows no places.
impl serde::de::Error for ConfigError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("", message)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new("", format!("unknown key; {}", instead(field, expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new("", format!("unknown value `{variant}`; {}", instead(variant, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new("", format!("the key `{field}` is missing"))
    }
}

/// Returns what to write instead of an unknown name: the nearest one, or all.
fn instead(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + name.len() / 4 => {
            format!("did you mean `{nearest}`?")
        }
        _ => format!("there are `{}`", known.join("`, `")),
    }
}

/// Returns the number of letters to insert, remove, replace, or exchange with the next one, that
/// make one name of the other. Of long names, only the beginnings are compared.
fn distance(one: &str, other: &str) -> usize {
    let [one, other] = [one, other].map(|name| name.bytes().take(64).collect::<Vec<_>>());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            rows[i][j] = match (i, j) {
                (0, _) | (_, 0) => i + j,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
                    let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let exchanged =
                        i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                    if exchanged { least.min(rows[i - 2][j - 2] + 1) } else { least }
                }
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_if_one_is_near() {
        let known = ["freshness", "default_freshness", "prefix", "origins"];
        for (name, expected) in [
            ("freshnes", "did you mean `freshness`?"),
            ("fershness", "did you mean `freshness`?"),
            ("Prefix", "did you mean `prefix`?"),
            ("default-freshness", "did you mean `default_freshness`?"),
            ("ttl", "there are `freshness`, `default_freshness`, `prefix`, `origins`"),
        ] {
            assert_eq!(instead(name, &known), expected, "{name}");
        }
        assert_eq!(distance(&"a".repeat(10_000), ""), 64);
    }

    #[test]
    fn keys_have_no_positions() {
        let error = ConfigError::new("origins", "wrong").within("route[12]");
        assert_eq!((error.path(), &*error.key()), ("route[12].origins", "route.origins"));
        let error = ConfigError::new("", "wrong").within("[1]").within("origins").within("route[0]");
        assert_eq!((error.path(), &*error.key()), ("route[0].origins[1]", "route.origins"));
        assert_eq!(error.to_string(), "route.origins: wrong");
    }
}
