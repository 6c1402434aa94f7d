//! JSON pointers (RFC 6901) with `*` for any segment.

/// Returns the segments of a pointer. The whole value has none.
pub(crate) fn parse(pointer: &str) -> Vec<String> {
    let segments = pointer.split('/').skip(usize::from(pointer.is_empty() || pointer.starts_with('/')));
    segments.map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

/// Returns whether a pointer selects the value at this path.
pub(crate) fn matches(pointer: &[String], path: &[String]) -> bool {
    pointer.len() == path.len()
        && pointer.iter().zip(path).all(|(segment, name)| segment == "*" || segment == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_select_values() {
        let path = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(matches(&parse("/users/*/e~1mail"), &path(&["users", "0", "e/mail"])));
        assert!(matches(&parse("/users/0"), &path(&["users", "0"])));
        assert!(matches(&parse("users"), &path(&["users"])), "a forgotten slash");
        assert!(matches(&parse(""), &path(&[])));
        assert!(!matches(&parse("/users"), &path(&["users", "0"])));
    }
}
