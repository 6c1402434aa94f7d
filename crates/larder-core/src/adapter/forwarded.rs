//! Reads what the trusted proxies in front have received as the target of a request: `Forwarded`
//! (RFC 7239), and `X-Forwarded-*`.

use std::net::IpAddr;

use super::{ForwardedFields, TargetRejection, TrustedProxies};
use crate::{
    RequestHeaders,
    policy::{list_members, parameters},
};

/// The fields by which a proxy shows that it writes this kind and not `Forwarded`.
const X_FORWARDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// What the trusted proxies in front have received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedTarget {
    pub(super) proto: Option<String>,
    pub(super) host: Option<String>,
}

/// Reads the forwarded scheme and host of a request from a trusted peer.
///
/// Each proxy on the way may have appended a value. The one that counts was written by the trusted
/// proxy that is closest to the client: values to the left of it may be the client's own.
pub(super) fn forwarded<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    match trusted.fields() {
        ForwardedFields::XForwarded => by_x_fields(headers, trusted),
        ForwardedFields::Forwarded => by_rfc_7239(headers, trusted),
        ForwardedFields::PreferXForwarded => {
            // A proxy that writes these fields passes `Forwarded` on from its client.
            let has_x = X_FORWARDED.iter().any(|name| headers.lines(name).next().is_some());
            if has_x { by_x_fields(headers, trusted) } else { by_rfc_7239(headers, trusted) }
        }
        ForwardedFields::Agreeing => {
            let (by_x, by_rfc) = (by_x_fields(headers, trusted)?, by_rfc_7239(headers, trusted)?);
            let merge = |x: Option<String>, rfc: Option<String>| match (x, rfc) {
                (Some(x), Some(rfc)) if !x.eq_ignore_ascii_case(&rfc) => Err(TargetRejection::Forwarded),
                (x, rfc) => Ok(x.or(rfc)),
            };
            let (proto, host) = (merge(by_x.proto, by_rfc.proto)?, merge(by_x.host, by_rfc.host)?);
            Ok(ForwardedTarget { proto, host })
        }
    }
}

/// Reads `X-Forwarded-Proto` and `X-Forwarded-Host`.
fn by_x_fields<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    let clients = list(headers, "x-forwarded-for")?;
    // The last client is that of our peer; each that is trusted is one more proxy in between.
    let hops = clients.iter().rev().take_while(|client| is_trusted(client, trusted)).count();
    let value = |name| -> Result<Option<String>, TargetRejection> {
        let values = list(headers, name)?;
        Ok(values.len().checked_sub(1).map(|last| values[last.saturating_sub(hops)].to_owned()))
    };
    Ok(ForwardedTarget { proto: value("x-forwarded-proto")?, host: value("x-forwarded-host")? })
}

/// Reads `Forwarded` (RFC 7239 §4).
fn by_rfc_7239<H: RequestHeaders>(
    headers: &H,
    trusted: &TrustedProxies,
) -> Result<ForwardedTarget, TargetRejection> {
    let mut target = ForwardedTarget::default();
    for element in list(headers, "forwarded")?.iter().rev() {
        let mut client = None;
        target = ForwardedTarget::default();
        for pair in parameters(element.as_bytes()).map(String::from_utf8_lossy) {
            let Some((name, value)) = pair.split_once('=') else { return Err(TargetRejection::Forwarded) };
            let value = unquoted(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "proto" => target.proto = Some(value),
                "host" => target.host = Some(value),
                "for" => client = Some(value),
                _ => {}
            }
        }
        if !client.is_some_and(|client| is_trusted(&client, trusted)) {
            break;
        }
    }
    Ok(target)
}

/// Returns whether a client in a forwarded field is a trusted proxy: an address, with a port or
/// not.
fn is_trusted(client: &str, trusted: &TrustedProxies) -> bool {
    let address = client.parse::<IpAddr>().ok();
    let address = address.or_else(|| client.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()));
    let bracketed = || client.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).is_some_and(|address| trusted.contains(address))
}

/// Returns the members of all lines of a field, which is a list of text.
fn list<'h, H: RequestHeaders>(headers: &'h H, name: &'h str) -> Result<Vec<&'h str>, TargetRejection> {
    let members = list_members(headers.lines(name)).map(std::str::from_utf8);
    members.collect::<Result<_, _>>().map_err(|_| TargetRejection::Forwarded)
}

/// Returns the content of a quoted string, or the token itself.
fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\\\\", "\\").replace("\\\"", "\""),
        None => value.to_owned(),
    }
}
