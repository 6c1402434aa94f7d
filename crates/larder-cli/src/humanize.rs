//! Sizes and durations as people read and write them.

use std::{net::SocketAddr, time::Duration};

/// Longest duration on the command line. The sum of an instant and a longer one may not exist.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Formats a number of bytes, such as `512 B`, `12.3 KiB`, `4.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// Formats a number of seconds, such as `45s`, `12m 5s`, `3h 20m`, `4d 2h`.
pub(crate) fn duration(secs: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{small_unit}") }
    };
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => two(secs / 60, "m", secs % 60, "s"),
        3600..86_400 => two(secs / 3600, "h", secs % 3600 / 60, "m"),
        _ => two(secs / 86_400, "d", secs % 86_400 / 3600, "h"),
    }
}

/// Parses a duration of up to a century from the command line, such as `250ms`, `5s`, `1m 30s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let duration = humantime::parse_duration(text).map_err(|_| "not a duration; e.g. 250ms, 5s or 10m")?;
    if duration > MAX_DURATION { Err("longer than 100 years") } else { Ok(duration) }
}

/// Parses an address to listen on from the command line.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "not an IP address and port; e.g. 127.0.0.1:8080, 0.0.0.0:80 or [::]:80")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(
            [0, 1023, 1024, 12_595, 5 << 30, 3 << 40].map(size).join(", "),
            "0 B, 1023 B, 1.0 KiB, 12.3 KiB, 5.0 GiB, 3.0 TiB"
        );
        assert_eq!(
            [0, 59, 60, 725, 3600, 12_000, 90_000].map(duration).join(", "),
            "0s, 59s, 1m, 12m 5s, 1h, 3h 20m, 1d 1h"
        );
    }
}
