//! Decides by the name of a field, parameter or member whether its value is a secret.

/// Last words of the names of secrets.
const LAST: &[&str] = &[
    "apikey",
    "auth",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "sig",
    "signature",
    "token",
];

/// Last two words of the names of secrets.
const LAST_TWO: &[[&str; 2]] = &[
    ["access", "key"],
    ["api", "key"],
    ["auth", "key"],
    ["key", "id"],
    ["license", "key"],
    ["private", "key"],
    ["secret", "key"],
    ["session", "id"],
    ["session", "key"],
    ["shared", "key"],
    ["signing", "key"],
    ["subscription", "key"],
];

/// Endings of words that were joined, such as `accesstoken`.
const ENDINGS: &[&str] = &["apikey", "password", "secret", "sessionid", "token"];

/// What precedes `token` in names of positions in a list, which are no secrets.
const POSITIONS: &[&str] =
    &["continuation", "cursor", "next", "page", "pagination", "prev", "previous", "sync"];

/// Returns whether a header field, a query parameter or a form field of this name is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let words = words(name);
    let joined = words.concat();
    let position = joined.strip_suffix("token");
    if position.is_some_and(|position| POSITIONS.iter().any(|name| position.ends_with(name))) {
        return false;
    }
    let Some(last) = words.last() else { return false };
    let ends_with = |pair: &[&str; 2]| words.len() > 1 && words.ends_with(&pair.map(str::to_owned));
    LAST.contains(&last.as_str())
        || ENDINGS.iter().any(|ending| last.ends_with(ending))
        || LAST_TWO.iter().any(ends_with)
}

/// Returns whether a parameter is a secret by its name, or by name and value: `key` is the API key
/// of some services, and a plain name in others.
pub(super) fn is_secret_parameter(name: &str, value: &str) -> bool {
    is_secret(name) || name.eq_ignore_ascii_case("key") && is_random(value)
}

/// Returns whether a member of JSON is a secret. A `token` is one only if its value is random:
/// tokens of texts have that name, too.
pub(super) fn is_secret_member(name: &str, value: &str) -> bool {
    match &*words(name).concat() {
        "auth" | "sig" | "signature" | "token" | "tokens" => is_random(value),
        _ => is_secret(name),
    }
}

/// Returns whether a text is a long one of letters, digits and a few signs, as keys are.
fn is_random(text: &str) -> bool {
    let signs = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.~+/=:%".contains(&letter);
    text.len() >= 16
        && text.bytes().all(signs)
        && text.bytes().any(|letter| letter.is_ascii_digit())
        && text.bytes().any(|letter| letter.is_ascii_alphabetic())
}

/// Returns the words of a name in lower case. They are separated by signs, or by a capital after a
/// small letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut previous = ' ';
    for letter in name.chars().take(256) {
        let begins = !previous.is_alphanumeric() || previous.is_lowercase() && letter.is_uppercase();
        if letter.is_alphanumeric() {
            if begins {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(letter.to_lowercase());
            }
        }
        previous = letter;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "X-Api-Key",
            "apikey",
            "x-goog-api-key",
            "Ocp-Apim-Subscription-Key",
            "PRIVATE-TOKEN",
            "X-Auth-Token",
            "X-Amz-Security-Token",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "AWSAccessKeyId",
            "access_token",
            "accessToken",
            "accesstoken",
            "client_secret",
            "sig",
            "x-vault-token",
            "JSESSIONID",
            "sessionid",
            "session_id",
            "page_access_token",
        ] {
            let known = is_secret(name);
            assert!(known, "{name}");
        }
    }

    #[test]
    fn other_names_are_kept() {
        for name in [
            "content-type",
            "etag",
            "x-ratelimit-remaining-tokens",
            "max_tokens",
            "page_token",
            "nextPageToken",
            "next_token",
            "continuationToken",
            "token_type",
            "www-authenticate",
            "author",
            "key",
            "x-request-id",
            "idempotency-key",
            "sort_key",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
        assert!(is_secret_parameter("key", "AIzaSyA-1234567890abcdefghij"));
        assert!(!is_secret_parameter("key", "users/anna"));
        assert!(!is_secret_member("token", " the"));
        assert!(is_secret_member("token", "ghp_0123456789abcdef"));
        assert!(is_secret_member("access_token", "x"));
    }
}
