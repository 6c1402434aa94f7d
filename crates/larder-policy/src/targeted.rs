//! Selects the directives that apply to this cache (RFC 9213): a targeted field replaces
//! `Cache-Control`, and overrides replace both. `structured` parses the fields, `overrides` applies
//! the operator's settings.

use http::{HeaderMap, StatusCode};

use crate::{
    CacheKind, RequestHead, RequestHeaders, Rules,
    directives::{ArgumentType, DirectiveSource, EffectiveDirectives, ResponseDirectives},
    header_names::{CACHE_CONTROL, EXPIRES, SET_COOKIE},
    request::HeaderFlags,
    structured::{BareItem, Item, ListMember, combined_lines, parse_dictionary},
};

impl Rules {
    /// Returns the directives that apply to this cache: those of the first targeted field that is
    /// present, valid and not empty, otherwise those of `Cache-Control`. Overrides are applied to
    /// the result.
    ///
    /// A shared cache does not guess the lifetime of a response that may be meant for one user: the
    /// request has `Authorization` or `Cookie`, or the response has `Set-Cookie`.
    pub(crate) fn effective_directives<F: RequestHeaders>(
        &self,
        request: &RequestHead<'_, F>,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> EffectiveDirectives {
        let mut effective = self.sent_directives(fields);
        // With an explicit lifetime, or without permission to store, there is nothing to guess, and
        // no field to look up.
        let directives = &effective.directives;
        let needs_no_guess = directives.max_age.is_some()
            || directives.s_maxage.is_some()
            || self.overrides.is_none() && directives.forbids_storing();
        effective.may_guess =
            self.kind == CacheKind::Private || needs_no_guess || !may_be_personal(request, fields);
        if let Some(overrides) = &self.overrides {
            overrides.apply(status, fields.contains_key(EXPIRES), &mut effective);
        }
        effective
    }

    /// Returns the directives of the response, before overrides.
    fn sent_directives(&self, fields: &HeaderMap) -> EffectiveDirectives {
        let present = self.targets.iter().filter(|name| fields.contains_key(*name));
        let targeted = present.into_iter().find_map(|name| {
            from_field(&combined_lines(fields.get_all(name).iter().map(http::HeaderValue::as_bytes)))
        });
        let is_targeted = targeted.is_some();
        let directives = targeted.unwrap_or_else(|| {
            let lines = fields.get_all(CACHE_CONTROL).iter().map(http::HeaderValue::as_bytes);
            ResponseDirectives::parse(lines)
        });
        EffectiveDirectives {
            directives,
            targeted: is_targeted,
            source: DirectiveSource::Origin,
            may_guess: true,
        }
    }
}

/// Returns whether a response may be meant for one user.
fn may_be_personal<F: RequestHeaders>(request: &RequestHead<'_, F>, fields: &HeaderMap) -> bool {
    request.has(HeaderFlags::AUTHORIZATION)
        || request.fields().lines("cookie").next().is_some()
        || fields.contains_key(SET_COOKIE)
}

/// Parses a targeted field. Returns `None` if it must be ignored: it is empty, it is no dictionary,
/// or a directive has a value of the wrong type (RFC 9213 §2.1).
fn from_field(field: &[u8]) -> Option<ResponseDirectives> {
    let members = parse_dictionary(field)?;
    let mut directives = ResponseDirectives::default();
    for (name, member) in &members {
        add_member(&mut directives, name, member)?;
    }
    (!members.is_empty()).then_some(directives)
}

/// Adds one member of a targeted field to the directives. Returns `None` if its value has a type
/// that the directive does not have (RFC 9213 §2.1).
///
/// Lifetimes are integers. Directives without argument are `?1`, and `?0` is no directive.
/// `no-cache` and `private` may also be strings, which list field names. Other directives are
/// ignored, whatever their value is (§2.2), as are parameters.
fn add_member(directives: &mut ResponseDirectives, name: &str, member: &ListMember<'_>) -> Option<()> {
    let value = match member {
        ListMember::Item(Item { value, .. }) => Some(value),
        ListMember::InnerList(..) => None,
    };
    let types = ArgumentType::of(name);
    match (types, value) {
        (ArgumentType::Unknown, _)
        | (ArgumentType::None | ArgumentType::FieldNames, Some(BareItem::Boolean(false))) => {}
        (ArgumentType::None | ArgumentType::FieldNames, Some(BareItem::Boolean(true))) => {
            directives.add(name.as_bytes(), None);
        }
        (ArgumentType::Seconds, Some(BareItem::Integer(number))) => {
            directives.add(name.as_bytes(), Some(number.to_string().as_bytes()));
        }
        (ArgumentType::FieldNames, Some(BareItem::String(names))) => {
            directives.add(name.as_bytes(), Some(names.as_bytes()));
        }
        _ => return None,
    }
    Some(())
}
