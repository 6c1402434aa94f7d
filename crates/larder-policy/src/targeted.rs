//! Targeted cache control (RFC 9213): a field for caches of one class takes the place of `Cache-Control`.

use http::{HeaderMap, StatusCode};

use crate::{
    Rules,
    directives::ResponseDirectives,
    header_names::{CACHE_CONTROL, EXPIRES},
    overrides::DirectiveSource,
    structured::{Item, dictionary},
};

/// The directives that count for this cache.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) directives: ResponseDirectives,
    /// They came from a targeted field: `Cache-Control` and `Expires` are ignored (§2.2).
    pub(crate) targeted: bool,
    /// Whose word the lifetime is.
    pub(crate) source: DirectiveSource,
}

impl Rules {
    /// Of the target list the first field that is there, valid and not empty; else `Cache-Control`. Over both, what the
    /// cache's user says.
    pub(crate) fn effective_directives(&self, status: StatusCode, fields: &HeaderMap) -> Effective {
        let mut effective = self.as_sent(fields);
        if let Some(overrides) = &self.overrides {
            overrides.apply(status, fields.contains_key(EXPIRES), &mut effective);
        }
        effective
    }

    fn as_sent(&self, fields: &HeaderMap) -> Effective {
        let targeted = self.targets.iter().filter(|name| fields.contains_key(*name)).find_map(|name| {
            let members = dictionary(fields.get_all(name).iter().map(http::HeaderValue::as_bytes))?;
            (!members.is_empty()).then(|| from_members(&members))
        });
        match targeted {
            Some(directives) => Effective { directives, targeted: true, source: DirectiveSource::Origin },
            None => {
                let lines = fields.get_all(CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
                let directives = ResponseDirectives::parse(lines);
                Effective { directives, targeted: false, source: DirectiveSource::Origin }
            }
        }
    }
}

/// A dictionary's members as directives: a number or string is the argument, `?1` is a directive without one, `?0`
/// none at all. A lifetime that is no integer makes the response stale (§2.1: its value is not of the expected type).
fn from_members(members: &[(&str, Item<'_>)]) -> ResponseDirectives {
    let mut directives = ResponseDirectives::default();
    for (name, item) in members {
        match item {
            Item::Boolean(false) => {}
            Item::Boolean(true) => directives.add(name.as_bytes(), None),
            Item::Integer(number) => directives.add(name.as_bytes(), Some(number.to_string().as_bytes())),
            Item::String(text) => directives.add(name.as_bytes(), Some(text.as_bytes())),
            Item::Other => directives.add(name.as_bytes(), Some(b"")),
        }
    }
    directives
}
