//! What has to be said in a host template for its URL to be one.

use std::sync::LazyLock;

use regex::Regex;

/// `@headers('name', 'default')`
pub(crate) struct Found {
    /// In lower case.
    pub(crate) function: String,
    pub(crate) name: String,
    pub(crate) default: Option<String>,
    pub(crate) length: usize,
}

static CALL: LazyLock<Regex> = LazyLock::new(|| {
    let call = r"(?<f>headers?|queryparameters|connectionparameters)\(\s*'(?<n>[^']*)'\s*(?:,\s*'(?<d>[^']*)'\s*)?\)";
    let braced = call.replace("<f>", "<g>").replace("<n>", "<m>").replace("<d>", "<e>");
    Regex::new(&format!(r"^@(?:(?i:{call})|\{{(?i:{braced})\}})")).unwrap()
});

/// The call that a text begins with.
pub(crate) fn call_at(text: &str) -> Option<Found> {
    let found = CALL.captures(text)?;
    let group = |one: &str, other: &str| found.name(one).or(found.name(other)).map(|it| it.as_str().to_owned());
    Some(Found {
        function: group("f", "g")?.to_ascii_lowercase(),
        name: group("n", "m")?,
        default: group("d", "e"),
        length: found[0].len(),
    })
}

/// The letters and digits of a name.
pub(crate) fn label(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// The value of `@function('name')` in a host template. With `host` the URL is at that one, if it can be.
pub(crate) fn part(template: &str, function: &str, name: &str, host: Option<&str>) -> Option<String> {
    for (at, _) in template.match_indices('@') {
        let Some(found) = call_at(&template[at..]) else { continue };
        let same = found.function.trim_end_matches('s') == function.trim_end_matches('s');
        if !same || !found.name.eq_ignore_ascii_case(name) {
            continue;
        }
        let (before, after) = (&template[..at], &template[at + found.length..]);
        let label = label(name);
        let inside = |host: &str| match before.split_once("://") {
            None if before.is_empty() => Some(format!("https://{host}")),
            None => None,
            Some((_, start)) => {
                Some(host.strip_prefix(start)?.strip_suffix(after.split('/').next().unwrap_or_default())?.to_owned())
            }
        };
        return Some(match (host.and_then(inside), before) {
            (Some(value), _) => value,
            (None, "") if after.starts_with('@') => format!("https://{label}.contoso.example"),
            (None, "") => format!("https://{label}.contoso.example/of/{label}"),
            (None, _) if before.contains('?') => format!("of-{label}=1"),
            (None, _) if before.ends_with("://") && matches!(after.bytes().next(), None | Some(b'/')) => {
                format!("{label}.contoso.example")
            }
            (None, _) if before.ends_with(':') => "8443".to_owned(),
            (None, _) => label,
        });
    }
    None
}
