//! Host patterns: `api.contoso.com`, `*.contoso.com`, or any host.

use super::template::TemplateError;

/// Which hosts an API answers on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    #[default]
    Any,
    /// This host; in lower case.
    Exact(Box<str>),
    /// One or more labels, then this suffix, which begins with a dot; in lower case.
    Suffix(Box<str>),
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl HostPattern {
    /// Parses `*`, a host name or address, or `*.` before a host name. Ports do not take part.
    ///
    /// # Errors
    /// Where the pattern is wrong and what would be accepted.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let whole = 0..text.len();
        if text.starts_with('[') {
            let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            return match inside.and_then(|inside| inside.parse::<std::net::Ipv6Addr>().ok()) {
                Some(_) => Ok(Self::Exact(text.to_ascii_lowercase().into())),
                None => Err(TemplateError::new(whole, "not an IPv6 address", "write `[2001:db8::1]`")),
            };
        }
        let (suffix, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name_at = text.len() - name.len();
        if let Some(at) = name.find(|character: char| !is_host_character(character)) {
            let end = at + name[at..].chars().next().map_or(1, char::len_utf8);
            let hint = match &name[at..end] {
                "*" => "`*` stands alone or before the first dot, as in `*.contoso.com`",
                ":" => "leave the port out; the listener decides it",
                "/" => "write the host only; the path is the API's `path`",
                _ => "use letters, digits, `-`, `_` and `.`; write international names in Punycode (`xn--…`)",
            };
            let message = format!("`{}` cannot stand in a host name", &name[at..end]);
            return Err(TemplateError::new(name_at + at..name_at + end, message, hint));
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.split('.').any(str::is_empty) {
            return Err(TemplateError::new(whole, "a host name has an empty label", "write `api.contoso.com`"));
        }
        let name = name.to_ascii_lowercase();
        Ok(if suffix { Self::Suffix(format!(".{name}").into()) } else { Self::Exact(name.into()) })
    }
}

fn is_host_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

/// The host of an authority: without the port and without the dot of a fully qualified name.
pub(super) fn without_port(authority: &str) -> &str {
    let host = match authority.rfind([':', ']']) {
        Some(at) if authority.as_bytes()[at] == b':' => &authority[..at],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (text, want) in [
            ("*", Ok(HostPattern::Any)),
            ("API.Contoso.com", Ok(HostPattern::Exact("api.contoso.com".into()))),
            ("api.contoso.com.", Ok(HostPattern::Exact("api.contoso.com".into()))),
            ("*.contoso.com", Ok(HostPattern::Suffix(".contoso.com".into()))),
            ("127.0.0.1", Ok(HostPattern::Exact("127.0.0.1".into()))),
            ("[::1]", Ok(HostPattern::Exact("[::1]".into()))),
            ("", Err((0..0, "a host name has an empty label"))),
            ("a..b", Err((0..4, "a host name has an empty label"))),
            ("*.", Err((0..2, "a host name has an empty label"))),
            ("api.*.com", Err((4..5, "`*` cannot stand in a host name"))),
            ("api.com:8080", Err((7..8, "`:` cannot stand in a host name"))),
            ("*.b\u{fc}ro.de", Err((3..5, "`\u{fc}` cannot stand in a host name"))),
            ("[::1", Err((0..4, "not an IPv6 address"))),
        ] {
            let got = HostPattern::parse(text).map_err(|error| (error.span, error.message));
            assert_eq!(got, want.map_err(|(span, message)| (span, message.to_owned())), "{text}");
        }
    }

    #[test]
    fn ports() {
        for (authority, want) in [
            ("a.com", "a.com"),
            ("a.com:80", "a.com"),
            ("a.com.", "a.com"),
            ("a.com.:443", "a.com"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(authority), want, "{authority}");
        }
    }
}
