//! Remembers at which line of its text each key of a configuration is, for errors that are found
//! after the text was parsed.

use std::{collections::BTreeMap, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::error::ConfigError;

/// The lines of the keys of a text, and the name of its file.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    file: Option<Arc<str>>,
    /// By path, such as `route[1].origins[0]`.
    lines: Arc<BTreeMap<String, usize>>,
}

impl Source {
    /// Records the lines of all keys and values.
    pub(super) fn new(ends: &Lines, table: &DeTable<'_>) -> Self {
        let mut lines = BTreeMap::new();
        add_table(&mut lines, ends, "", table);
        Self { file: None, lines: lines.into() }
    }

    /// Sets the name of the file.
    pub(super) fn set_file(&mut self, file: &str) {
        self.file = Some(file.into());
    }

    /// Adds the file and the line to an error: that of its key, or of the table around it.
    pub(super) fn locate(&self, error: ConfigError) -> ConfigError {
        let mut path = error.path();
        let line = loop {
            if let Some(line) = self.lines.get(path) {
                break Some(*line);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => break None,
            }
        };
        error.at(line).of_file(self.file.as_deref())
    }
}

/// The positions at which the lines of a text end.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    /// Finds the ends of the lines.
    pub(super) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(position, _)| position).collect())
    }

    /// Returns the line of a position, counted from 1.
    pub(super) fn at(&self, position: usize) -> usize {
        1 + self.0.partition_point(|end| *end < position)
    }
}

/// Records the lines of a table's keys.
fn add_table(lines: &mut BTreeMap<String, usize>, ends: &Lines, path: &str, table: &DeTable<'_>) {
    for (key, value) in table {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}", key.get_ref());
        lines.insert(path.clone(), ends.at(key.span().start));
        add_value(lines, ends, &path, value);
    }
}

/// Records the lines of what is in a value.
fn add_value(lines: &mut BTreeMap<String, usize>, ends: &Lines, path: &str, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => add_table(lines, ends, path, table),
        DeValue::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), ends.at(value.span().start));
                add_value(lines, ends, &path, value);
            }
        }
        _ => {}
    }
}
