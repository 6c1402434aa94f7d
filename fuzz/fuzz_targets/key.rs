//! Fuzzes targets and keys. Normalizing a target twice must equal normalizing it once, and
//! different targets must have different keys. Each line of the data is a target; the last is also
//! added to the key of the first.
#![no_main]

use larder_core::{CacheKey, TargetUri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = CacheKey::from_bytes(data).map(|key| assert_eq!(key.as_bytes(), data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let targets: Vec<_> = text.split('\n').filter_map(|line| TargetUri::parse(line).ok()).collect();
    for target in &targets {
        check_normal_form(target);
        for other in &targets {
            assert_eq!(
                target == other,
                CacheKey::new(target) == CacheKey::new(other),
                "{target:?}, {other:?}"
            );
        }
        // Resolving a reference returns a target in normal form, or an error.
        for reference in text.split('\n') {
            let _ = target.join(reference).map(|joined| check_normal_form(&joined));
        }
    }
    if let (Some(target), Some(extra)) = (targets.first(), text.split('\n').next_back()) {
        check_additions(&CacheKey::new(target), extra.as_bytes());
    }
});

/// Checks that the target is in normal form, and that all ways to create its key agree.
fn check_normal_form(target: &TargetUri) {
    let reparsed = TargetUri::parse(target.as_str());
    assert_eq!(reparsed.as_ref(), Ok(target), "normalizing the target again changed it");
    let parts = CacheKey::from_parts(target.scheme(), target.authority(), target.path_and_query());
    let key = CacheKey::new(target);
    assert_eq!(parts.as_ref(), Ok(&key));
    assert_eq!(CacheKey::from_bytes(key.as_bytes()).as_ref(), Some(&key));
    assert_eq!(key.target(), target.as_str());
}

/// Checks that an addition to a key differs from the same bytes added in two parts.
fn check_additions(key: &CacheKey, extra: &[u8]) {
    let whole = key.with_extra(extra);
    assert_ne!(&whole, key);
    assert_eq!(CacheKey::from_bytes(whole.as_bytes()).as_ref(), Some(&whole));
    for cut in 0..=extra.len().min(64) {
        let (one, other) = extra.split_at(cut);
        assert_ne!(key.with_extra(one).with_extra(other), whole);
    }
}
