//! Rules across files: each public type name exists once, inherent methods of a type stand in one
//! file, and the files of a crate import each other without circles.

use std::collections::{BTreeMap, BTreeSet};

use super::File;

/// Types that may have inherent methods in several files of a crate: larder-policy has a file for
/// each section of the RFC.
const SPREAD: &[(&str, &str)] = &[("larder-policy", "Rules")];

/// Checks the source files of all crates together.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) {
    let sources: Vec<_> = files.iter().filter(|file| file.is_rust() && file.is_crate_source()).collect();
    names(&sources, findings);
    methods(&sources, findings);
    for circle in circles(&sources) {
        findings.push(format!(
            "import circle {circle}: move what both need into a module of its own, below them"
        ));
    }
}

/// Reports types with inherent methods in several files.
fn methods(sources: &[&File], findings: &mut Vec<String>) {
    let mut places: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for file in sources {
        for (_, line) in file.lines() {
            if let Some(name) = inherent_impl(line) {
                places.entry((file.crate_name(), name)).or_default().insert(&file.path);
            }
        }
    }
    for ((crate_name, name), paths) in places {
        if paths.len() > 1 && !SPREAD.contains(&(crate_name, &name)) {
            let paths: Vec<_> = paths.into_iter().collect();
            findings.push(format!(
                "{name} has methods in {}: move them to the file of the type, or make them functions",
                paths.join(" and ")
            ));
        }
    }
}

/// Returns the name of the type, if the line begins a block of inherent methods.
pub(super) fn inherent_impl(line: &str) -> Option<String> {
    let line = line.replace("->", "  ");
    let rest = line.strip_prefix("impl")?;
    if line.contains(" for ") || !line.ends_with('{') {
        return None;
    }
    let rest = match rest.strip_prefix('<') {
        Some(parameters) => {
            let mut depth = 1;
            let end = parameters.find(|letter| {
                depth += i32::from(letter == '<') - i32::from(letter == '>');
                depth == 0
            })?;
            &parameters[end + 1..]
        }
        None => rest,
    };
    let name = rest.trim_start().split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Reports public types of one name in several crates.
fn names(sources: &[&File], findings: &mut Vec<String>) {
    let mut defined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in sources {
        for (_, line) in file.lines() {
            let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type ", "pub union "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else { continue };
            let name = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
            defined.entry(name.unwrap_or_default()).or_default().insert(file.crate_name());
        }
    }
    for (name, crates) in defined.iter().filter(|(_, crates)| crates.len() > 1) {
        let crates: Vec<_> = crates.iter().copied().collect();
        findings.push(format!("{name} is defined in {}: choose a name for each", crates.join(" and ")));
    }
}

/// A module, as the names from the crate's root.
type Module = Vec<String>;

/// Returns the import circles of every crate, each as `crate: module module …` in alphabetical
/// order.
fn circles(sources: &[&File]) -> Vec<String> {
    let mut crates: BTreeMap<&str, BTreeMap<Module, &File>> = BTreeMap::new();
    for file in sources {
        crates.entry(file.crate_name()).or_default().insert(module(&file.path), file);
    }
    let mut found = Vec::new();
    for (name, modules) in crates {
        let edges: BTreeMap<&Module, BTreeSet<Module>> =
            modules.iter().map(|(module, file)| (module, imports(module, file, &modules))).collect();
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        for module in modules.keys() {
            let circle: Vec<_> = modules
                .keys()
                .filter(|other| {
                    *other == module || reaches(module, other, &edges) && reaches(other, module, &edges)
                })
                .collect();
            if circle.len() > 1 && !seen.contains(module) {
                let members: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
                found.push(format!("{name}: {}", members.join(" ")));
            }
            seen.extend(circle);
        }
    }
    found
}

/// Returns the module that a source file holds.
fn module(path: &str) -> Module {
    let inner = path.split_once("/src/").map_or(path, |(_, inner)| inner);
    let mut names: Module = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| matches!(&**last, "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

fn reaches(from: &Module, to: &Module, edges: &BTreeMap<&Module, BTreeSet<Module>>) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(next) = open.pop() {
        for other in edges.get(next).into_iter().flatten() {
            if other == to {
                return true;
            }
            if seen.insert(other) {
                open.push(other);
            }
        }
    }
    false
}

/// Returns the modules of its crate that a file imports from.
fn imports(here: &Module, file: &File, modules: &BTreeMap<Module, &File>) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut statement = String::new();
    for (_, line) in file.lines() {
        let line = line.trim();
        if statement.is_empty() {
            let Some(path) = line
                .strip_prefix("pub ")
                .unwrap_or(line.strip_prefix("pub(crate) ").unwrap_or(line))
                .strip_prefix("use ")
            else {
                continue;
            };
            statement = path.to_owned();
        } else {
            statement.push_str(line);
        }
        if !statement.ends_with(';') {
            continue;
        }
        for path in expanded(statement.trim_end_matches(';')) {
            found.extend(resolved(here, &path, modules));
        }
        statement.clear();
    }
    found
}

/// Expands `a::{b::C, d::{e, f}}` into single paths.
pub(super) fn expanded(path: &str) -> Vec<String> {
    let Some((head, rest)) = path.split_once('{') else { return vec![path.trim().to_owned()] };
    let inner = rest.rfind('}').map_or(rest, |end| &rest[..end]);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (index, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let paths = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(expanded);
    paths.map(|part| format!("{}{part}", head.trim())).collect()
}

/// Returns the module that a path of a `use` names, if it is another one of the same crate.
fn resolved(here: &Module, path: &str, modules: &BTreeMap<Module, &File>) -> Option<Module> {
    let mut base = match path.split("::").next()? {
        "crate" => Vec::new(),
        "self" | "super" => here.clone(),
        _ => return None,
    };
    for name in path.split("::") {
        match name.split(' ').next().unwrap_or_default() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    while !base.is_empty() && !modules.contains_key(&base) {
        base.pop();
    }
    (!base.is_empty() && base != *here).then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::new(&format!("crates/larder-{path}"), text)
    }

    #[test]
    fn a_public_name_exists_once() {
        let files = [
            file("a/src/lib.rs", "pub struct Cache<T>;\npub enum Only {}\npub(crate) struct Inner;\n"),
            file("b/src/x.rs", "pub struct Cache {\npub(crate) struct Inner;\n"),
        ];
        let mut findings = Vec::new();
        names(&files.iter().collect::<Vec<_>>(), &mut findings);
        assert_eq!(findings, ["Cache is defined in larder-a and larder-b: choose a name for each"]);
    }

    #[test]
    fn methods_of_a_type_stand_in_one_file() {
        let files = [
            file("a/src/one.rs", "impl<T: Fn() -> u8> Thing<T> {\nimpl Drop for Thing<u8> {\nimpl Other {\n"),
            file("a/src/two.rs", "impl Thing<u8> {\nimpl fmt::Debug for Other {\n"),
            file("policy/src/one.rs", "impl Rules {\n"),
            file("policy/src/two.rs", "impl Rules {\n"),
            file("b/src/two.rs", "impl Other {\n"),
        ];
        let mut findings = Vec::new();
        methods(&files.iter().collect::<Vec<_>>(), &mut findings);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("Thing has methods in crates/larder-a/src/one.rs and "),
            "{findings:?}"
        );
    }

    #[test]
    fn circles_of_imports_are_found() {
        let files = [
            file("a/src/lib.rs", "mod one; mod two; mod three; mod deep;\npub use one::One;\n"),
            file("a/src/one.rs", "use std::fmt;\nuse crate::{\n    Cache,\n    two::{Two, other},\n};\n"),
            file("a/src/two.rs", "use super::three::Three;\n"),
            file("a/src/three.rs", "pub(crate) use crate::one::One;\n"),
            file("a/src/deep/mod.rs", "use self::inner::Inner;\n"),
            file("a/src/deep/inner.rs", "use crate::one::One;\n#[cfg(test)]\nuse super::Deep;\n"),
        ];
        assert_eq!(circles(&files.iter().collect::<Vec<_>>()), ["larder-a: one three two"]);
        let straight: Vec<_> = files.iter().filter(|file| !file.path.ends_with("three.rs")).collect();
        assert!(circles(&straight).is_empty());
    }
}
