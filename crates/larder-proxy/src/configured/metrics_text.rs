//! Renders metrics that follow the state of the proxy, in the format of Prometheus.
//!
//! They are not registered with a recorder: an origin or a certificate that a reload has removed
//! would stay there.

use std::{collections::BTreeMap, time::SystemTime};

use larder_origin::OriginHealth;

use super::certificate::Certificate;

/// Returns the number of removals that the store has not confirmed.
pub(super) fn unconfirmed_metrics(removals: usize) -> String {
    format!("# TYPE larder_unconfirmed_removals gauge\nlarder_unconfirmed_removals {removals}\n")
}

/// Returns the health of the origins.
pub(super) fn health_metrics(origins: &[OriginHealth]) -> String {
    let mut lines = BTreeMap::new();
    for origin in origins {
        // Routes can have an origin in common: it is healthy if it is for all of them.
        let labels = format!("origin=\"{}\"", label_value(&origin.name));
        let healthy = lines.entry(labels).or_insert(1);
        *healthy &= u64::from(origin.healthy);
    }
    gauge("larder_origin_healthy", &lines)
}

/// Returns until when each certificate is valid, in seconds since 1970. Of those with the same file
/// and name, the first one counts.
pub(super) fn expiry_metrics(certificates: &[Certificate]) -> String {
    let mut lines = BTreeMap::new();
    for (file, name, not_after) in certificates.iter().flat_map(Certificate::expiries) {
        let Some(end) = not_after.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok()) else {
            continue;
        };
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        let (name, file) = (label_value(&name.unwrap_or_default()), label_value(&file));
        lines.entry(format!("name=\"{name}\",file=\"{file}\"")).or_insert(end.as_secs());
    }
    gauge("larder_certificate_not_after_seconds", &lines)
}

/// Renders a gauge, by labels.
fn gauge(name: &str, lines: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    if !lines.is_empty() {
        text.push_str(&format!("# TYPE {name} gauge\n"));
    }
    for (labels, value) in lines {
        text.push_str(&format!("{name}{{{labels}}} {value}\n"));
    }
    text
}

/// Escapes the value of a label.
fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
