//! Rules for public signatures: they name no type of another crate, except for the crates that all
//! of the ecosystem shares and those that `xtask/tidy/public.txt` lists with a reason.
//!
//! A public item is one with `pub`, since rustc reports each `pub` that no user can reach
//! (`unreachable_pub`). Names are resolved by the imports of their file. A type that a macro writes
//! into a signature is not found.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, list::List, structure::expanded};

const PUBLIC: &str = "xtask/tidy/public.txt";

/// Crates that may appear in each public signature.
const SHARED: &[&str] = &["bytes", "futures_core", "http", "http_body"];

/// First segments of paths that name no other crate.
const OWN: &[&str] = &["Self", "alloc", "core", "crate", "self", "std", "super"];

/// Checks the library crates.
pub(super) fn check(files: &[File], findings: &mut Vec<String>) -> anyhow::Result<()> {
    let list = List::read(PUBLIC, findings)?;
    signatures_of(files, &list, findings);
    list.report_unused(findings);
    Ok(())
}

fn signatures_of(files: &[File], list: &List, findings: &mut Vec<String>) {
    let is_library =
        |file: &&File| file.is_rust() && file.is_crate_source() && file.crate_name() != "larder-cli";
    let sources: Vec<_> = files.iter().filter(is_library).collect();
    for file in &sources {
        let name = file.crate_name();
        let of_crate = || sources.iter().filter(|other| other.crate_name() == name);
        let types: BTreeSet<_> = of_crate().flat_map(|file| public_names(file)).collect();
        let modules: BTreeSet<_> = of_crate().flat_map(|file| file.path.split(['/', '.'])).collect();
        let imports = imports(file);
        for Signature { number, text } in signatures(file, &types) {
            for foreign in foreign_crates(&text, &imports, &modules) {
                if !SHARED.contains(&&*foreign) && !list.covers(&format!("{name} {foreign}")) {
                    findings.push(format!(
                        "{}:{number}: a public signature names a type of {foreign}: wrap it, or give a \
                         reason in {PUBLIC}",
                        file.path
                    ));
                }
            }
        }
    }
}

/// Returns the names of the public types and traits of a file.
fn public_names(file: &File) -> impl Iterator<Item = &str> {
    file.lines().filter_map(|(_, line)| {
        let kinds = ["pub struct ", "pub enum ", "pub trait "];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.split(|letter: char| !is_word(letter)).next()
    })
}

/// Returns the crate or local path segment from which each imported name of a file comes.
fn imports(file: &File) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut statement = String::new();
    for (_, line) in file.lines() {
        if statement.is_empty() {
            let Some(path) = line.trim_start_matches("pub ").strip_prefix("use ") else { continue };
            statement = path.to_owned();
        } else {
            statement.push_str(line.trim());
        }
        if !statement.ends_with(';') {
            continue;
        }
        for path in expanded(statement.trim_end_matches(';')) {
            let first = path.split([':', ' ']).next().unwrap_or_default().to_owned();
            let (path, name) = path.split_once(" as ").unwrap_or((&path, ""));
            let mut segments = path.trim_end_matches("::self").rsplit("::");
            let name = if name.is_empty() { segments.next().unwrap_or_default() } else { name };
            found.insert(name.trim().to_owned(), first);
        }
        statement.clear();
    }
    found
}

/// A public signature, without its body, and the line at which it begins.
struct Signature {
    number: usize,
    text: String,
}

/// Returns the public signatures of a file: functions, fields, variants, aliases, methods of
/// traits, re-exports, and headers and associated types of implementations. `types` are the public
/// types and traits of the crate.
fn signatures(file: &File, types: &BTreeSet<&str>) -> Vec<Signature> {
    let mut found: Vec<Signature> = Vec::new();
    let (mut block, mut is_open) = (Block::Other, false);
    for (number, line) in file.lines() {
        let line = line.split("//").next().unwrap_or_default().trim_end();
        let item = line.trim_start();
        if item.is_empty() || item.starts_with("#[") {
            continue;
        }
        if line == "}" {
            block = Block::Other;
        }
        if let Some(open) = found.last_mut().filter(|_| is_open) {
            open.text.push(' ');
            open.text.push_str(item);
        } else if item.starts_with("pub ") || line.starts_with("impl") || block.has_member(line) {
            found.push(Signature { number, text: item.to_owned() });
        } else {
            continue;
        }
        let Some(last) = found.last_mut() else { continue };
        is_open = !is_complete(&last.text);
        if is_open {
            continue;
        }
        let text = &last.text;
        let begins_block = text.ends_with('{');
        if text.starts_with("impl") {
            let is_public = is_public_impl(text, types);
            let is_trait = begins_block && is_public && text.contains(" for ");
            block = if is_trait { Block::Trait } else { Block::Other };
            if !is_public {
                found.pop();
                continue;
            }
        } else if begins_block && text.starts_with("pub enum ") {
            block = Block::Enum;
        } else if begins_block && text.starts_with("pub trait ") {
            block = Block::Trait;
        }
        if let Some(last) = found.last_mut() {
            last.text = without_private_parts(&last.text);
        }
    }
    found
}

/// A block of which the members are public without `pub`.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// A public enum.
    Enum,
    /// A public trait, or an implementation of a trait by a public type.
    Trait,
    /// Any other block, or none.
    Other,
}

impl Block {
    /// Returns whether the line begins a member of the block that users see.
    fn has_member(self, line: &str) -> bool {
        let item = line.trim_start();
        match self {
            Self::Enum => item.starts_with(is_word),
            Self::Trait => {
                let starts = ["type ", "fn ", "async fn "];
                line.len() - item.len() == 4 && starts.iter().any(|start| item.starts_with(start))
            }
            Self::Other => false,
        }
    }
}

/// Returns whether the text of a signature has its end.
fn is_complete(text: &str) -> bool {
    let count = |letters: [char; 2]| text.matches(letters).count();
    let depth = count(['(', '[']).saturating_sub(count([')', ']']));
    if text.starts_with("pub use ") {
        return text.ends_with(';');
    }
    let is_field = !["fn ", "impl", "struct ", "enum ", "trait ", "type ", "const ", "static "]
        .iter()
        .any(|kind| text.starts_with(kind) || text.contains(&format!(" {kind}")));
    text.contains('{')
        || text.ends_with(';')
        || text.ends_with('}')
        || is_field && depth == 0 && text.ends_with(',')
}

/// Returns whether an implementation concerns a public type or trait of the crate.
fn is_public_impl(header: &str, types: &BTreeSet<&str>) -> bool {
    let header = header.trim_end_matches('{').split(" where ").next().unwrap_or_default();
    let subject = |part: &str| {
        let name = part.trim().split('<').next().unwrap_or_default().rsplit([':', ' ']).next();
        types.contains(name.unwrap_or_default())
    };
    match header.rsplit_once(" for ") {
        Some((of, target)) => {
            // The parameters of `impl<T: Bound>` stand before the trait.
            let of = of.rsplit_once("> ").map_or(of, |(_, of)| of);
            subject(target) || subject(of)
        }
        None => header.split(|letter: char| !is_word(letter)).any(|word| types.contains(word)),
    }
}

/// Removes what a signature shows to no user: bodies, values, and private fields of a tuple.
fn without_private_parts(text: &str) -> String {
    if text.starts_with("pub use ") {
        return text.to_owned();
    }
    let text = match text.split_once('{') {
        // The fields of a variant are public.
        Some((head, _)) if text.starts_with("pub ") || text.starts_with("impl") || text.contains("fn ") => {
            head
        }
        _ => text,
    };
    let text = match text.split_once(" = ") {
        Some((head, _)) if text.contains("const ") || text.contains("static ") => head,
        _ => text,
    };
    if !text.starts_with("pub struct ") {
        return text.to_owned();
    }
    let Some((head, fields)) = text.split_once('(') else { return text.to_owned() };
    let public: Vec<_> = fields.split(", ").filter(|field| field.starts_with("pub ")).collect();
    format!("{head} {}", public.join(" "))
}

/// Returns the other crates of which a signature names something.
fn foreign_crates(
    text: &str,
    imports: &BTreeMap<String, String>,
    modules: &BTreeSet<&str>,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Some(path) = text.strip_prefix("pub use ") {
        let first = path.split([':', ';', ' ']).next().unwrap_or_default();
        found.insert(first.to_owned());
    } else {
        let mut rest = text;
        while let Some(start) = rest.find(|letter: char| is_word(letter)) {
            let before = &rest[..start];
            let end =
                rest[start..].find(|letter: char| !is_word(letter)).map_or(rest.len(), |end| start + end);
            let (word, after) = (&rest[start..end], &rest[end..]);
            let is_path = after.starts_with("::");
            let is_name = after.starts_with(':') && !is_path;
            if !before.ends_with("::") && !before.ends_with('\'') && !is_name {
                match imports.get(word) {
                    Some(first) => drop(found.insert(first.clone())),
                    None if is_path && word.starts_with(|letter: char| letter.is_ascii_lowercase()) => {
                        found.insert(word.to_owned());
                    }
                    None => {}
                }
            }
            // Keeps the separator, which the next word looks back at.
            rest = after;
        }
    }
    found.retain(|first| {
        !OWN.contains(&&**first) && !first.starts_with("larder") && !modules.contains(&**first)
    });
    found
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the crates that are named in the findings.
    fn found(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let list = List::parse(PUBLIC, "larder-a framework | adapts it\n", &mut findings);
        signatures_of(&[File::new("crates/larder-a/src/b.rs", text)], &list, &mut findings);
        let name = |finding: &String| {
            let (_, rest) = finding.split_once("a type of ").expect("a finding");
            rest.split(':').next().expect("a name").to_owned()
        };
        findings.iter().map(name).collect()
    }

    #[test]
    fn types_of_other_crates_are_found_in_each_kind_of_item() {
        for (text, foreign) in [
            ("use moka::sync::Cache;\npub fn cache(&self) -> &Cache<u8> {\n", "moka"),
            (
                "pub(crate) struct A;\nimpl A {\n    pub async fn f(\n        self,\n        key: rustls::Key,\n",
                "rustls",
            ),
            ("pub struct A {\n    inner: moka::Cache,\n    pub key: Vec<rustls::Key>,\n}\n", "rustls"),
            ("pub struct A(moka::Cache, pub rustls::Key);\n", "rustls"),
            ("pub enum A {\n    One,\n    Two(redis::Error),\n}\n", "redis"),
            ("pub enum A {\n    One {\n        error: redis::Error,\n    },\n}\n", "redis"),
            ("pub trait A {\n    fn f(&self) -> redis::Value;\n}\n", "redis"),
            ("pub type A = redis::Value;\n", "redis"),
            ("pub use redis::{Value, Error};\n", "redis"),
            ("use redis as store;\npub fn f(key: u8)\nwhere\n    T: store::Args,\n{\n", "redis"),
            ("pub struct A;\nimpl From<redis::Error> for A {\n", "redis"),
            (
                "pub struct A;\nimpl<T: Into<u8>> Service<T> for A {\n    type Error = redis::Error;\n",
                "redis",
            ),
            ("pub trait A {}\nimpl A for redis::Value {\n", "redis"),
        ] {
            let text = text.replace("key: rustls::Key,\n", "key: rustls::Key,\n    ) {\n");
            assert_eq!(found(&text), [foreign], "{text}");
        }
    }

    #[test]
    fn what_no_user_sees_is_free() {
        for text in [
            "use moka::sync::Cache;\npub(crate) fn cache(&self) -> &Cache<u8> {\n",
            "pub fn f(&self) -> u8 {\n    moka::get()\n}\n",
            "pub fn f(&self) -> u8 { moka::get() }\n",
            "pub const A: u8 = moka::SIZE;\n",
            "struct A;\nimpl From<redis::Error> for A {\n",
            "/// See `redis::Value`.\npub fn f(redis: u8) {} // moka::Cache\n",
            "pub fn f(&'moka self, a: std::fmt::Error, b: crate::A, c: b::B, d: larder_core::Body) {\n",
            "use bytes::Bytes;\nuse framework::Request;\npub fn f(a: Bytes, b: http::Uri, c: Request) {\n",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
