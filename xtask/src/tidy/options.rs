//! Rules for options: a struct of settings is `#[non_exhaustive]` and has a `with_` setter for each
//! public field, so that one expression can configure anything.

use std::collections::BTreeSet;

use super::{File, structure::inherent_impl};

/// Endings of the names of structs of settings.
const ENDINGS: &[&str] = &["Limits", "Options", "Overrides", "Settings"];

/// Structs of settings with another name.
const LISTED: &[&str] = &["Compression", "HeaderRules", "HealthCheck", "Retry", "Rules"];

/// Checks the structs of settings of the library crates.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) {
    let sources: Vec<_> = files
        .iter()
        .filter(|file| file.is_rust() && file.is_crate_source() && file.crate_name() != "larder-cli")
        .collect();
    for file in &sources {
        for settings in structs(file) {
            if settings.fields.is_empty() {
                continue;
            }
            let Struct { at, name, .. } = settings;
            if !settings.non_exhaustive {
                findings.push(format!("{at}: make {name} #[non_exhaustive], so that it can get more fields"));
            }
            let setters = setters(&sources, file.crate_name(), name);
            for field in settings.fields.iter().filter(|field| !setters.contains(*field)) {
                findings.push(format!("{at}: add `with_{field}` to {name}, which sets `{field}`"));
            }
        }
    }
}

/// A public struct of settings.
struct Struct<'a> {
    /// The file and line of its name.
    at: String,
    name: &'a str,
    non_exhaustive: bool,
    /// Names of its public fields.
    fields: Vec<&'a str>,
}

/// Returns the public structs of settings that a file defines.
fn structs(file: &File) -> Vec<Struct<'_>> {
    let mut found: Vec<Struct<'_>> = Vec::new();
    let (mut non_exhaustive, mut is_open) = (false, false);
    for (number, line) in file.lines() {
        if is_open {
            is_open = line != "}";
            let field = line.strip_prefix("    pub ").and_then(|rest| rest.split_once(':'));
            if let (Some((field, _)), Some(last)) = (field, found.last_mut()) {
                last.fields.push(field);
            }
        } else if line.starts_with("#[") || line.starts_with("///") {
            non_exhaustive |= line == "#[non_exhaustive]";
        } else {
            let rest = line.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {"));
            let name = rest.map(|rest| rest.split('<').next().unwrap_or(rest));
            if let Some(name) = name.filter(|name| is_settings(name)) {
                let at = format!("{}:{number}", file.path);
                found.push(Struct { at, name, non_exhaustive, fields: Vec::new() });
                is_open = true;
            }
            non_exhaustive = false;
        }
    }
    found
}

fn is_settings(name: &str) -> bool {
    LISTED.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Returns the names of the fields for which the type has a setter: a public method that takes and
/// returns the value.
fn setters<'a>(sources: &[&'a File], crate_name: &str, name: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for file in sources.iter().filter(|file| file.crate_name() == crate_name) {
        let mut in_impl = false;
        for (_, line) in file.lines() {
            if line.starts_with("impl") {
                in_impl = inherent_impl(line).as_deref() == Some(name);
            }
            let method =
                line.strip_prefix("    pub fn with_").or_else(|| line.strip_prefix("    pub const fn with_"));
            if let Some((field, parameters)) =
                method.filter(|_| in_impl).and_then(|rest| rest.split_once('('))
                && (parameters.starts_with("mut self") || parameters.is_empty())
            {
                found.insert(field);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "#[derive(Default)]
#[non_exhaustive]
/// Settings.
pub struct DiskOptions {
    /// One.
    pub one: u8,
    pub two: Option<u8>,
    three: u8,
}
";

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&[File::new(path, text)], &mut findings);
        findings
    }

    #[test]
    fn each_public_field_has_a_setter() {
        let one = "impl DiskOptions {\n    pub fn with_one(mut self, one: u8) -> Self {\n";
        let two = "    pub fn with_two(\n        mut self,\n";
        let good = format!("{SETTINGS}{one}    }}\n{two}    }}\n}}\n");
        assert!(found("crates/larder-a/src/b.rs", &good).is_empty());
        assert_eq!(
            found("crates/larder-a/src/b.rs", &format!("{SETTINGS}{one}    }}\n}}\n")),
            ["crates/larder-a/src/b.rs:4: add `with_two` to DiskOptions, which sets `two`"]
        );
        let constructor = good.replace("(mut self, one", "(one");
        assert_eq!(found("crates/larder-a/src/b.rs", &constructor).len(), 1, "a constructor sets nothing");
        let other = good.replace("impl DiskOptions", "impl Other");
        assert_eq!(found("crates/larder-a/src/b.rs", &other).len(), 2, "the setters of another type");
        let private = good.replace("pub fn", "pub(crate) fn");
        assert_eq!(found("crates/larder-a/src/b.rs", &private).len(), 2);
    }

    #[test]
    fn settings_are_non_exhaustive() {
        let text =
            "pub struct Retry {\n    pub times: u8,\n}\n\nimpl Retry {\n    pub fn with_times(mut self";
        assert_eq!(found("crates/larder-a/src/b.rs", text).len(), 1);
        assert!(found("crates/larder-a/src/b.rs", &format!("#[non_exhaustive]\n{text}")).is_empty());
        assert!(found("crates/larder-cli/src/b.rs", text).is_empty(), "a program has no users");
        let data = text.replace("Retry", "Counts");
        assert!(found("crates/larder-a/src/b.rs", &data).is_empty(), "no settings");
        let private = text.replace("pub times", "times");
        assert!(found("crates/larder-a/src/b.rs", &private).is_empty(), "a builder");
    }
}
