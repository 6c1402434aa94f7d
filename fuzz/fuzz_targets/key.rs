//! Targets and keys: the normal form is normal, and no two targets share a key. Lines are targets; the last is what is
//! added to the key of the first.
#![no_main]

use larder_core::{CacheKey, TargetUri};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = CacheKey::from_bytes(data).map(|key| assert_eq!(key.as_bytes(), data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let targets: Vec<_> = text.split('\n').filter_map(|line| TargetUri::parse(line).ok()).collect();
    for target in &targets {
        one(target);
        for other in &targets {
            assert_eq!(
                target == other,
                CacheKey::new(target) == CacheKey::new(other),
                "{target:?}, {other:?}"
            );
        }
        // A reference of the origin's leads to a target in normal form, or nowhere.
        for reference in text.split('\n') {
            let _ = target.join(reference).map(|joined| one(&joined));
        }
    }
    if let (Some(target), Some(extra)) = (targets.first(), text.split('\n').next_back()) {
        framed(&CacheKey::new(target), extra.as_bytes());
    }
});

fn one(target: &TargetUri) {
    let again = TargetUri::parse(target.as_str());
    assert_eq!(again.as_ref(), Ok(target), "the normal form has another normal form");
    let parts = CacheKey::of_parts(target.scheme(), target.authority(), target.path_and_query());
    let key = CacheKey::new(target);
    assert_eq!(parts.as_ref(), Ok(&key));
    assert_eq!(CacheKey::from_bytes(key.as_bytes()).as_ref(), Some(&key));
    assert_eq!(key.target(), target.as_str());
}

/// What is added in two parts is not what is added in one.
fn framed(key: &CacheKey, extra: &[u8]) {
    let whole = key.with_extra(extra);
    assert_ne!(&whole, key);
    assert_eq!(CacheKey::from_bytes(whole.as_bytes()).as_ref(), Some(&whole));
    for cut in 0..=extra.len().min(64) {
        let (one, other) = extra.split_at(cut);
        assert_ne!(key.with_extra(one).with_extra(other), whole);
    }
}
