//! Describes what differs between a request and the recordings that are nearest to it.

use serde_json::Value;

use crate::matching::Compared;

/// Most recordings that are described.
const MAX_NEAREST: usize = 3;

/// Most differences that are listed for a part of a request.
const MAX_DIFFERENCES: usize = 5;

/// Longest text that is shown of a body, in characters.
const EXCERPT: usize = 160;

/// Returns lines about the recordings that are nearest to a request: their names, and what differs.
/// `recorded` has the name of each recording, and what is compared of it.
pub(crate) fn nearest<'a>(
    requested: &Compared,
    recorded: impl Iterator<Item = (&'a str, &'a Compared)>,
) -> String {
    let mut scored: Vec<_> =
        recorded.map(|(name, compared)| (distance(requested, compared), name, compared)).collect();
    scored.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let mut out = String::new();
    let best = scored.first().map_or(0, |(distance, ..)| *distance);
    let near = scored.iter().take_while(|(distance, ..)| *distance <= best + 3);
    for (_, name, compared) in near.take(MAX_NEAREST) {
        out.push_str(&format!("\n  {name}"));
        for difference in differences(requested, compared) {
            out.push_str(&format!("\n    {difference}"));
        }
    }
    out
}

/// Returns a request in one line, and a second one with its body.
pub(crate) fn summary(request: &Compared) -> String {
    let mut out = format!("{} {}", request.method, request.url);
    for (name, value) in request.headers.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("\n    {name}: {value}"));
    }
    if !request.body.is_empty() {
        out.push_str(&format!("\n    body: {}", excerpt(&request.body)));
    }
    out
}

/// Returns how different two requests are.
fn distance(a: &Compared, b: &Compared) -> usize {
    let ((a_base, a_query), (b_base, b_query)) = (split(&a.url), split(&b.url));
    let (a_path, b_path): (Vec<_>, Vec<_>) = (a_base.split('/').collect(), b_base.split('/').collect());
    let host = usize::from(a_path.get(2) != b_path.get(2)) * 20;
    let same = a_path.iter().zip(&b_path).filter(|(a, b)| a == b).count();
    let path = (a_path.len().max(b_path.len()) - same) * 4;
    let query = a_query.iter().filter(|pair| !b_query.contains(pair)).count()
        + b_query.iter().filter(|pair| !a_query.contains(pair)).count();
    let headers = a.headers.iter().zip(&b.headers).filter(|(a, b)| a != b).count();
    usize::from(a.method != b.method) * 6 + host + path + query + headers + usize::from(a.body != b.body)
}

/// Returns a URL without its query, and the parameters of the query.
fn split(url: &str) -> (&str, Vec<&str>) {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    (base, query.split('&').filter(|pair| !pair.is_empty()).collect())
}

/// Returns a line for each difference.
fn differences(requested: &Compared, recorded: &Compared) -> Vec<String> {
    let mut found = Vec::new();
    let mut add = |part: &str, recorded: &str, requested: &str| {
        if recorded != requested {
            found.push(format!("{part}: recorded {recorded}, requested {requested}"));
        }
    };
    add("method", &recorded.method, &requested.method);
    let ((old_base, old_query), (new_base, new_query)) = (split(&recorded.url), split(&requested.url));
    add("URL", old_base, new_base);
    for (old, new) in recorded.headers.iter().zip(&requested.headers) {
        add(&old.0, &format!("'{}'", old.1), &format!("'{}'", new.1));
    }
    pairs("query", &old_query, &new_query, &mut found);
    if recorded.body != requested.body {
        body(&recorded.body, &requested.body, &mut found);
    }
    if found.is_empty() {
        found.push("equal, and used by an earlier request".to_owned());
    }
    found
}

/// Adds the parameters that only one of two lists has.
fn pairs(part: &str, recorded: &[&str], requested: &[&str], found: &mut Vec<String>) {
    for (of, pairs, others) in [("recorded", recorded, requested), ("requested", requested, recorded)] {
        let only = pairs.iter().filter(|pair| !others.contains(pair)).take(MAX_DIFFERENCES);
        found.extend(only.map(|pair| format!("{part}: {of} '{pair}'")));
    }
}

/// Returns the fields of a body that looks like a form.
fn form(body: &[u8]) -> Option<Vec<&str>> {
    let text = std::str::from_utf8(body).ok()?;
    let is_form = text.len() <= 4 * EXCERPT && text.bytes().all(|byte| byte.is_ascii_graphic());
    let fields: Vec<_> = text.split('&').collect();
    (is_form && fields.iter().all(|field| field.contains('='))).then_some(fields)
}

/// Adds the differences of two bodies: those of JSON by path, of forms by field, of others from the
/// first byte that differs.
fn body(recorded: &[u8], requested: &[u8], found: &mut Vec<String>) {
    let json = |bytes| {
        serde_json::from_slice::<Value>(bytes).ok().filter(|value| value.is_object() || value.is_array())
    };
    if let (Some(old), Some(new)) = (json(recorded), json(requested)) {
        let mut differing = Vec::new();
        values("", Some(&old), Some(&new), &mut differing);
        let more = differing.len().saturating_sub(MAX_DIFFERENCES);
        found.extend(differing.into_iter().take(MAX_DIFFERENCES));
        if more > 0 {
            found.push(format!("body: {more} more differences"));
        }
        return;
    }
    if let (Some(old), Some(new)) = (form(recorded), form(requested)) {
        return pairs("body", &old, &new, found);
    }
    let same = recorded.iter().zip(requested).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(20);
    let (old, new) = (excerpt(&recorded[from..]), excerpt(&requested[from..]));
    found.push(format!("body: from byte {same}, recorded '{old}', requested '{new}'"));
}

/// Adds the differences of two values of JSON.
fn values(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    if old == new || found.len() > 1000 {
        return;
    }
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                values(&format!("{path}/{name}"), old.get(name), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                values(&format!("{path}/{index}"), old.get(index), new.get(index), found);
            }
        }
        _ => {
            let show = |value: Option<&Value>| {
                value.map_or("nothing".to_owned(), |value| excerpt(value.to_string().as_bytes()))
            };
            let path = if path.is_empty() { "/" } else { path };
            found.push(format!("body at {path}: recorded {}, requested {}", show(old), show(new)));
        }
    }
}

/// Returns the beginning of a body on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT * 4)]).into_owned();
    let short: String = text.chars().take(EXCERPT).flat_map(char::escape_debug).collect();
    let short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().count() > EXCERPT || body.len() > EXCERPT * 4 {
        format!("{short}… ({} bytes)", body.len())
    } else {
        short
    }
}
