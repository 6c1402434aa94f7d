//! Selects the directives that apply to this cache (RFC 9213): a targeted field replaces
//! `Cache-Control`, and overrides replace both. `structured` parses the fields, `overrides` applies
//! the operator's settings.

use http::{HeaderMap, StatusCode};

use crate::{
    Rules,
    directives::{DirectiveSource, EffectiveDirectives, ResponseDirectives},
    header_names::{CACHE_CONTROL, EXPIRES},
    structured::{Item, parse_dictionary},
};

impl Rules {
    /// Returns the directives that apply to this cache: those of the first targeted field that is
    /// present, valid and not empty, otherwise those of `Cache-Control`. Overrides are applied to
    /// the result.
    pub(crate) fn effective_directives(&self, status: StatusCode, fields: &HeaderMap) -> EffectiveDirectives {
        let mut effective = self.sent_directives(fields);
        if let Some(overrides) = &self.overrides {
            overrides.apply(status, fields.contains_key(EXPIRES), &mut effective);
        }
        effective
    }

    /// Returns the directives of the response, before overrides.
    fn sent_directives(&self, fields: &HeaderMap) -> EffectiveDirectives {
        let targeted = self.targets.iter().filter(|name| fields.contains_key(*name)).find_map(|name| {
            let members = parse_dictionary(fields.get_all(name).iter().map(http::HeaderValue::as_bytes))?;
            (!members.is_empty()).then(|| from_members(&members))
        });
        match targeted {
            Some(directives) => {
                EffectiveDirectives { directives, targeted: true, source: DirectiveSource::Origin }
            }
            None => {
                let lines = fields.get_all(CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
                let directives = ResponseDirectives::parse(lines);
                EffectiveDirectives { directives, targeted: false, source: DirectiveSource::Origin }
            }
        }
    }
}

/// Converts the members of a dictionary to directives.
///
/// An integer or string is the argument. `?1` is a directive without argument, and `?0` is no
/// directive. A lifetime of another type makes the response stale (§2.1).
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
