//! Origins, and which of them may call.

use http::HeaderValue;

/// The origins that may call.
pub(super) enum Origins {
    /// Every one.
    Any,
    /// Those that match.
    These(Box<[Pattern]>),
}

impl Origins {
    /// What `Access-Control-Allow-Origin` says to this origin.
    pub(super) fn allow(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(patterns) => {
                let parts = Parts::of(origin)?;
                patterns.iter().any(|pattern| pattern.matches(&parts)).then(|| origin.clone())
            }
        }
    }
}

/// Scheme, host and port of an origin (RFC 6454 §4), as they stand in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    /// With the default of the scheme; zero when it has none.
    port: u16,
}

impl<'a> Parts<'a> {
    pub(super) fn of(origin: &'a HeaderValue) -> Option<Self> {
        Self::parse(origin.to_str().ok()?)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme_is_valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        // The colons of an IPv6 address stand before its bracket.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host_is_valid = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !matches!(host.as_bytes().first(), None | Some(b'.'))
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte))
            }
        };
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
            Some(_) => return None,
            None if scheme.eq_ignore_ascii_case("https") => 443,
            None if scheme.eq_ignore_ascii_case("http") => 80,
            None => 0,
        };
        (scheme_is_valid && host_is_valid).then_some(Self { scheme, host, port })
    }
}

/// An origin as configured.
#[derive(Debug)]
pub(super) struct Pattern {
    scheme: Box<str>,
    /// In lower case; what follows the `*` of a wildcard, with its dot.
    host: Box<str>,
    wildcard: bool,
    port: u16,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Parts { scheme, host, port } = Parts::parse(text.strip_suffix('/').unwrap_or(text))?;
        let (host, wildcard) = match host.strip_prefix('*') {
            Some(rest) if rest.len() > 1 && rest.starts_with('.') => (rest, true),
            Some(_) => return None,
            None => (host, false),
        };
        let (scheme, lower) = (scheme.to_ascii_lowercase().into(), host.to_ascii_lowercase());
        (!host.contains('*')).then_some(Self { scheme, host: lower.into(), wildcard, port })
    }

    pub(super) fn matches(&self, origin: &Parts<'_>) -> bool {
        let host = origin.host.as_bytes();
        let same = match host.len().checked_sub(self.host.len()) {
            Some(0) => !self.wildcard,
            Some(_) => self.wildcard,
            None => return false,
        };
        same && self.port == origin.port
            && self.scheme.eq_ignore_ascii_case(origin.scheme)
            && host[host.len() - self.host.len()..].eq_ignore_ascii_case(self.host.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        struct Case {
            pattern: &'static str,
            yes: &'static [&'static str],
            no: &'static [&'static str],
        }
        for Case { pattern, yes, no } in [
            Case {
                pattern: "https://contoso.com/",
                yes: &["https://contoso.com", "https://contoso.com:443", "HTTPS://Contoso.com"],
                no: &[
                    "http://contoso.com",
                    "https://contoso.com:8443",
                    "https://www.contoso.com",
                    "https://contoso.com.evil.example",
                    "https://evilcontoso.com",
                    "https://contoso.com@evil.example",
                    "null",
                    "contoso.com",
                    "",
                ],
            },
            Case {
                pattern: "https://*.contoso.com",
                yes: &["https://a.contoso.com", "https://a.b.contoso.com:443"],
                no: &[
                    "https://contoso.com",
                    "https://.contoso.com",
                    "https://acontoso.com",
                    "https://a.contoso.com.evil.example",
                    "http://a.contoso.com",
                    "https://evil.example#.contoso.com",
                    "https://evil.example/.contoso.com",
                ],
            },
            Case { pattern: "http://localhost:3000", yes: &["http://localhost:3000"], no: &["http://localhost"] },
            Case { pattern: "http://[::1]:80", yes: &["http://[::1]"], no: &["http://[::1]:81", "http://[::2]"] },
            Case { pattern: "capacitor://localhost", yes: &["capacitor://localhost"], no: &["ionic://localhost"] },
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            let matches = |origin: &&str| Parts::parse(origin).is_some_and(|parts| parsed.matches(&parts));
            for origin in yes {
                assert!(matches(origin), "{pattern}: {origin}");
            }
            for origin in no {
                assert!(!matches(origin), "{pattern}: {origin}");
            }
        }
        for wrong in [
            "*",
            "contoso.com",
            "https://",
            "https://*",
            "https://*.",
            "https://a.*.com",
            "https://a/b",
            "https://a:x",
            "https://a:",
            "https://a:65536",
            "null",
            "1s://a",
            "",
        ] {
            assert!(Pattern::parse(wrong).is_none(), "{wrong}");
        }
    }
}
