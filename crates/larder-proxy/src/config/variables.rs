//! Replaces environment variables in the texts of a configuration.

use std::borrow::Cow;

/// Replaces `${NAME}` and `${NAME:-default}` by the value of a variable, and `$$` by `$`. Any other
/// `$` stays. The default applies if the variable is not set or empty. Returns the text, and
/// whether it contains a variable.
///
/// # Errors
///
/// Returns what is wrong: a variable is not set, or its name is not one.
pub(super) fn expand<'t>(
    text: &'t str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Cow<'t, str>, bool), String> {
    let Some(first) = text.find('$') else { return Ok((text.into(), false)) };
    let (mut expanded, mut rest) = (text[..first].to_owned(), &text[first..]);
    let mut is_variable = false;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(name) = after.strip_prefix('{') {
            let (name, after) =
                name.split_once('}').ok_or("`${` without `}`; write `$$` for a single `$`")?;
            expanded.push_str(&value_of(name, variable)?);
            is_variable = true;
            rest = after;
        } else {
            expanded.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    expanded.push_str(rest);
    Ok((expanded.into(), is_variable))
}

/// Returns the value for `NAME` or `NAME:-default`.
fn value_of(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match text.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (text, None),
    };
    let is_of_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !begins || !name.bytes().all(is_of_name) {
        return Err(format!(
            "'{name}' is not the name of an environment variable; write ${{NAME}}, ${{NAME:-default}}, or \
             $$ for a single $"
        ));
    }
    match (variable(name), default) {
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
        )),
        (Some(value), None) => Ok(value),
        (value, Some(default)) => Ok(value.filter(|value| !value.is_empty()).unwrap_or(default.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<(String, bool), String> {
        let variable = |name: &str| match name {
            "HOST" => Some("db.example".to_owned()),
            "EMPTY" => Some(String::new()),
            "CODE" => Some("${HOST}".to_owned()),
            _ => None,
        };
        expand(text, &variable).map(|(text, is_variable)| (text.into_owned(), is_variable))
    }

    #[test]
    fn variables_are_replaced_once() {
        for (text, value, is_variable) in [
            ("plain", "plain", false),
            ("${HOST}", "db.example", true),
            ("http://${HOST}:80/${HOST}", "http://db.example:80/db.example", true),
            ("${NONE:-a:-b}", "a:-b", true),
            ("${EMPTY:-x}${EMPTY}", "x", true),
            ("${HOST:-x}", "db.example", true),
            ("$${HOST}", "${HOST}", false),
            ("$$$${HOST}", "$${HOST}", false),
            ("$$${HOST}", "$db.example", true),
            ("a$b$", "a$b$", false),
            ("${CODE}", "${HOST}", true),
            ("${NONE:-}", "", true),
        ] {
            assert_eq!(expanded(text), Ok((value.to_owned(), is_variable)), "{text}");
        }
    }

    #[test]
    fn errors_name_the_variable() {
        for (text, words) in [
            ("${NONE}", "the environment variable NONE is not set"),
            ("${A B}", "'A B' is not the name"),
            ("${}", "'' is not the name"),
            ("${1A}", "'1A' is not the name"),
            ("${HOST", "`${` without `}`"),
        ] {
            let error = expanded(text).expect_err(words);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
