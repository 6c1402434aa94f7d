//! `cargo xtask structured-fields`: the test files of the HTTP working group for structured fields
//! (RFC 9651), run on the parser of larder-policy.
//!
//! The files are in `xtask/structured-fields`. A case must fail, may fail, or has an expected
//! value; what is compared is that value and its canonical form.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use larder_policy::structured::{
    BareItem, Item, ListMember, Parameters, combined_lines, parse_dictionary, parse_item, parse_list,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with the JSON files, such as a checkout of httpwg/structured-field-tests
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/structured-fields"))]
    folder: PathBuf,
}

impl Args {
    /// Returns the arguments for the files in this repository.
    pub(crate) fn for_ci() -> Self {
        Self { folder: concat!(env!("CARGO_MANIFEST_DIR"), "/structured-fields").into() }
    }
}

/// A case of a file.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    raw: Option<Vec<String>>,
    header_type: String,
    expected: Option<Value>,
    #[serde(default)]
    must_fail: bool,
    #[serde(default)]
    can_fail: bool,
    canonical: Option<Vec<String>>,
}

/// Runs the cases of all files in the folder.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (mut cases, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir(&args.folder)
        .with_context(|| format!("cannot read {}", args.folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    for path in &files {
        let text = fs::read_to_string(path)?;
        let file: Vec<Case> =
            serde_json::from_str(&text).with_context(|| format!("{} is no test file", path.display()))?;
        for case in file {
            cases += 1;
            if let Err(why) = check(&case) {
                wrong.push(format!("{}: {}: {why}", path.display(), case.name));
            }
        }
    }
    ensure!(cases > 0, "{} has no test files", args.folder.display());
    ensure!(wrong.is_empty(), "{} of {cases} cases:\n  {}", wrong.len(), wrong.join("\n  "));
    println!("structured fields: {cases} cases of {} files, all as expected", files.len());
    Ok(())
}

/// Parses the field of a case, and compares the value and its canonical form.
fn check(case: &Case) -> Result<(), String> {
    let raw = case.raw.as_ref().ok_or("the case has no field")?;
    let field = combined_lines(raw.iter().map(String::as_bytes));
    let parsed = match case.header_type.as_str() {
        "item" => parse_item(&field).map(|parsed| (item(&parsed), item_text(&parsed))),
        "list" => parse_list(&field).map(|list| {
            let text: Vec<_> = list.iter().map(member_text).collect();
            (list.iter().map(member).collect(), text.join(", "))
        }),
        "dictionary" => parse_dictionary(&field).map(|members| {
            let text: Vec<_> = members.iter().map(|(key, value)| pair_text(key, value)).collect();
            let pairs = members.iter().map(|(key, value)| json!([key, member(value)]));
            (pairs.collect(), text.join(", "))
        }),
        other => return Err(format!("unknown type {other}")),
    };
    let Some((value, text)) = parsed else {
        return if case.must_fail || case.can_fail { Ok(()) } else { Err("is invalid".to_owned()) };
    };
    if case.must_fail {
        return Err(format!("must be invalid, and is {value}"));
    }
    let expected = case.expected.as_ref().ok_or("the case has no expected value")?;
    if !equal(&value, expected) {
        return Err(format!("is {value}, expected {expected}"));
    }
    let canonical = case.canonical.as_ref().unwrap_or(raw).join(", ");
    if text == canonical { Ok(()) } else { Err(format!("is written as {text}, expected {canonical}")) }
}

/// Compares two values. 1 and 1.0 are different types, but equal numbers in JSON.
fn equal(value: &Value, expected: &Value) -> bool {
    match (value, expected) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => value == expected,
    }
}

/// Returns a bare item in the notation of the files.
fn bare(item: &BareItem<'_>) -> Value {
    let typed = |name: &str, value: Value| json!({"__type": name, "value": value});
    match item {
        BareItem::Integer(number) => json!(number),
        BareItem::Decimal(_) => serde_json::from_str(&bare_text(item)).unwrap_or_default(),
        BareItem::String(text) => json!(text),
        BareItem::Token(text) => typed("token", json!(text)),
        BareItem::Bytes(bytes) => typed("binary", json!(base32(bytes))),
        BareItem::Boolean(truth) => json!(truth),
        BareItem::Date(seconds) => typed("date", json!(seconds)),
        BareItem::DisplayString(text) => typed("displaystring", json!(text)),
    }
}

fn item(item: &Item<'_>) -> Value {
    json!([bare(&item.value), parameters(&item.parameters)])
}

fn parameters(parameters: &Parameters<'_>) -> Value {
    parameters.iter().map(|(key, value)| json!([key, bare(value)])).collect()
}

fn member(member: &ListMember<'_>) -> Value {
    match member {
        ListMember::Item(single) => item(single),
        ListMember::InnerList(items, of_list) => {
            json!([items.iter().map(item).collect::<Value>(), parameters(of_list)])
        }
    }
}

/// Returns a bare item in canonical form (RFC 9651 §4.1).
fn bare_text(item: &BareItem<'_>) -> String {
    match item {
        BareItem::Integer(number) => number.to_string(),
        BareItem::Decimal(thousandths) => {
            let sign = if *thousandths < 0 { "-" } else { "" };
            let (whole, fraction) = (thousandths.abs() / 1000, thousandths.abs() % 1000);
            let fraction = format!("{fraction:03}");
            let fraction = fraction.trim_end_matches('0');
            format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
        }
        BareItem::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        BareItem::Token(text) => (*text).to_owned(),
        BareItem::Bytes(bytes) => format!(":{}:", encode(bytes, 6, BASE64, 4)),
        BareItem::Boolean(truth) => format!("?{}", u8::from(*truth)),
        BareItem::Date(seconds) => format!("@{seconds}"),
        BareItem::DisplayString(text) => {
            let escaped = text.bytes().map(|byte| match byte {
                b' '..=b'~' if !matches!(byte, b'%' | b'"') => char::from(byte).to_string(),
                _ => format!("%{byte:02x}"),
            });
            format!("%\"{}\"", escaped.collect::<String>())
        }
    }
}

fn item_text(item: &Item<'_>) -> String {
    format!("{}{}", bare_text(&item.value), parameters_text(&item.parameters))
}

fn parameters_text(parameters: &Parameters<'_>) -> String {
    let text = parameters.iter().map(|(key, value)| match value {
        BareItem::Boolean(true) => format!(";{key}"),
        value => format!(";{key}={}", bare_text(value)),
    });
    text.collect()
}

fn member_text(member: &ListMember<'_>) -> String {
    match member {
        ListMember::Item(single) => item_text(single),
        ListMember::InnerList(items, of_list) => {
            let items: Vec<_> = items.iter().map(item_text).collect();
            format!("({}){}", items.join(" "), parameters_text(of_list))
        }
    }
}

/// Returns a member of a dictionary in canonical form (RFC 9651 §4.1.2).
fn pair_text(key: &str, value: &ListMember<'_>) -> String {
    match value {
        ListMember::Item(Item { value: BareItem::Boolean(true), parameters }) => {
            format!("{key}{}", parameters_text(parameters))
        }
        value => format!("{key}={}", member_text(value)),
    }
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Returns bytes in base32, which the files use for byte sequences.
fn base32(bytes: &[u8]) -> String {
    encode(bytes, 5, BASE32, 8)
}

/// Encodes bytes with `bits` bits in each character, padded to a multiple of `group` characters
/// (RFC 4648).
fn encode(bytes: &[u8], bits: usize, alphabet: &[u8], group: usize) -> String {
    let bit = |index: usize| bytes.get(index / 8).is_some_and(|byte| byte >> (7 - index % 8) & 1 == 1);
    let mut text = String::new();
    for start in (0..bytes.len() * 8).step_by(bits) {
        let digit = (start..start + bits).fold(0, |digit, index| digit << 1 | usize::from(bit(index)));
        text.push(char::from(alphabet[digit]));
    }
    while !text.len().is_multiple_of(group) {
        text.push('=');
    }
    text
}
