//! The kinds of mistakes: every code that a report can show, and what it means.

/// Every code, sorted, with what it means.
pub const CODES: &[(&str, &str)] = &[
    ("after-forward-request", "A policy stands behind `forward-request`, which is the last one of its list."),
    ("ambiguous-match", "Two operations match the same requests, and neither is more specific than the other."),
    ("any-certificate", "A policy takes certificates that anybody can make (a warning)."),
    ("bad-address", "An address to listen on is not an IP address and a port."),
    ("bad-backend", "A backend has no URL, or keys that exclude each other."),
    ("bad-certificate", "A certificate of the gateway's own has no file, or keys that exclude each other."),
    ("bad-digest", "A subscription key is not written as the SHA-256 digest of a key."),
    ("bad-expression", "An expression cannot be read: its syntax, a function's name or the number of its arguments."),
    ("bad-file", "A file that the configuration names cannot be read, or holds something else."),
    ("bad-issuer", "A token issuer has no source of keys, several, or one that cannot be read."),
    ("bad-key", "A key that verifies tokens cannot be read, or is too weak."),
    ("bad-match", "The `match` of an operation is not a method and a path."),
    ("bad-name", "A name holds characters that cannot stand in it."),
    ("bad-policy", "A policy's keys exclude or need each other."),
    ("bad-range", "An address range is neither an address nor CIDR."),
    ("bad-subscription", "A subscription grants a product and a list of APIs."),
    ("bad-template", "A path, a path template or a host cannot be read."),
    (
        "bad-token-source",
        "A source of tokens for backends has keys that exclude or need each other, or a URL that is refused.",
    ),
    ("bad-url", "The URL of a backend cannot be called."),
    ("bad-user", "A user has no name that can be, or a password hash that is not accepted."),
    ("bad-value", "A value has the right type and cannot be: a duration, a size, a header's name, a date."),
    ("cheap-hash", "A password's hash is cheaper than what is recommended, so that it is soon guessed (a warning)."),
    ("duplicate-api", "Two files describe APIs of the same name."),
    ("duplicate-key", "Two subscriptions have the same key."),
    ("duplicate-match", "Two operations of an API have the same method and template."),
    ("duplicate-operation", "Two operations of an API have the same name."),
    ("duplicate-subscription", "Two subscriptions have the same name."),
    ("encoding", "A file is not UTF-8 text."),
    ("expired-certificate", "The time of a certificate of the gateway's own is over (a warning)."),
    ("host-bits", "A network is not written by its first address (a warning)."),
    ("limit-memory", "A rate limit may take much memory for each key (a warning)."),
    ("limits-contradict", "A rate limit is never reached, because another one beside it is stricter (a warning)."),
    ("lowercase-method", "A method is written in lower case, and methods are case-sensitive (a warning)."),
    ("misplaced-base", "`base` stands where there is no broader scope to run."),
    ("missing-file", "The folder has no gateway.toml."),
    ("missing-key", "A key that is needed is not there."),
    ("missing-secret", "The environment variable or the file of a named value is not there."),
    ("nested-fragment", "A fragment includes a fragment."),
    ("nested-named-value", "The text of a named value uses another one."),
    ("no-key-file", "The key file that gateway.toml names is not there (a warning)."),
    ("no-keys", "A subscription has no keys, so nobody can use it (a warning)."),
    ("no-operations", "An API has no operations, so every call is answered with 404 (a warning)."),
    ("no-token", "A policy asks for a verified token, and no policy before it verifies one (a warning)."),
    ("old-revocation-list", "A revocation list is out of date (a warning)."),
    ("shadowed-api", "An API is never reached: another one has the same hosts, path and version."),
    ("syntax", "A file is not TOML."),
    ("two-open-products", "An API is in two products that need no key."),
    ("unknown-api", "No file describes an API of this name."),
    ("unknown-backend", "No backend has this name."),
    ("unknown-certificate", "No certificate of the gateway's own has this name or thumbprint."),
    ("unknown-consumer", "No consumer has this name."),
    ("unknown-fragment", "No fragment has this name."),
    ("unknown-issuer", "No token issuer has this name."),
    ("unknown-key", "A table has a key that means nothing there."),
    ("unknown-named-value", "No named value has this name."),
    ("unknown-policy", "There is no policy of this name."),
    ("unknown-product", "No product has this name."),
    ("unknown-token-source", "No source of tokens for backends has this name."),
    ("unknown-value", "A value is not one of the few that a key takes."),
    ("unknown-variable", "A template uses a variable that the operation's own template does not have."),
    ("unreached-rule", "A rule is never tried, because one before it holds for every request (a warning)."),
    ("unreadable", "The folder or a file in it cannot be read."),
    ("unused-fragment", "No policy includes a fragment (a warning)."),
    ("version-schemes", "APIs with the same path tell their versions apart in different ways."),
    ("wrong-section", "A policy stands in a section where it cannot do its work."),
    ("wrong-type", "A value has the wrong type: text for a number, a table for a list."),
];

/// What a code means; empty for one that is not in the list.
pub fn meaning(code: &str) -> &'static str {
    CODES.binary_search_by(|(known, _)| (*known).cmp(code)).map_or("", |at| CODES[at].1)
}

#[cfg(test)]
mod tests {
    use super::CODES;
    use std::path::Path;

    fn sources(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_code_is_listed_once_and_used() {
        assert!(CODES.is_sorted_by(|a, b| a.0 < b.0), "sorted, none twice");
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
        for (code, meaning) in CODES {
            assert!(meaning.ends_with('.'), "`{code}` has a sentence");
            assert!(text.matches(&format!("\"{code}\"")).count() > 1, "`{code}` is reported somewhere");
        }
        let starts =
            ["Diagnostic::error(", "Diagnostic::warning(", "Diagnostic::global(", ".code(", "code: ", "cx.warn("];
        for start in starts {
            for (at, _) in text.match_indices(start) {
                let rest = text[at + start.len()..].trim_start();
                // `warn` takes the field before the code.
                let rest =
                    if start == "cx.warn(" { rest.split_once(", ").map_or(rest, |(_, rest)| rest) } else { rest };
                let Some(code) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !code.is_empty();
                assert!(!is_code || CODES.iter().any(|(known, _)| *known == code), "`{code}` is not in the list");
            }
        }
    }
}
