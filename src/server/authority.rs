//! The host and port that a request is for, checked once and in one spelling (RFC 9112 §3.2, RFC 3986 §3.2.2).

use bytes::Bytes;
use http::HeaderValue;

/// A checked host with an optional port. Cloning it copies no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    text: HeaderValue,
    host: u16,
    port: Option<u16>,
}

impl Authority {
    /// Checks the value of a `Host` field or the authority of a request target; `None` when it is not one.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let (host, port, lower) = split(value.as_bytes())?;
        let text = if lower {
            value.clone()
        } else {
            HeaderValue::from_maybe_shared(Bytes::from(value.as_bytes().to_ascii_lowercase())).ok()?
        };
        Some(Self { text, host, port })
    }

    /// The host in lower case, an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        self.as_str().get(..usize::from(self.host)).unwrap_or_default()
    }

    /// The port, when one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host and port, in lower case, as sent.
    pub fn as_str(&self) -> &str {
        self.text.to_str().unwrap_or_default()
    }

    /// The same as the value of a `Host` field.
    pub fn value(&self) -> &HeaderValue {
        &self.text
    }

    /// Whether both mean the same, the port of the scheme being left out or not.
    pub fn agrees_with(&self, other: &Self, default_port: u16) -> bool {
        self.host() == other.host() && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

/// The length of the host, the port, and whether all is in lower case already.
fn split(bytes: &[u8]) -> Option<(u16, Option<u16>, bool)> {
    let mut lower = true;
    let host = if bytes.first() == Some(&b'[') {
        let end = memchr::memchr(b']', bytes)?;
        let address = std::str::from_utf8(&bytes[1..end]).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        lower = !address.bytes().any(|byte| byte.is_ascii_uppercase());
        end + 1
    } else {
        let mut end = bytes.len();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {}
                b'A'..=b'Z' => lower = false,
                b':' => {
                    end = at;
                    break;
                }
                // Escapes and sub-delimiters are legal in a registered name and used by nobody but attackers.
                _ => return None,
            }
        }
        end
    };
    if host == 0 {
        return None;
    }
    let port = match &bytes[host..] {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    Some((u16::try_from(host).ok()?, port, lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hosts_and_nothing_else() {
        for (text, want) in [
            ("example.com", Some(("example.com", None))),
            ("EXAMPLE.com:8080", Some(("example.com", Some(8080)))),
            ("127.0.0.1:1", Some(("127.0.0.1", Some(1)))),
            ("[::1]:443", Some(("[::1]", Some(443)))),
            ("[FE80::1]", Some(("[fe80::1]", None))),
            ("a_b-c.~d", Some(("a_b-c.~d", None))),
            ("example.com:", Some(("example.com", None))),
            ("", None),
            (":80", None),
            ("a:65536", None),
            ("a:123456", None),
            ("a:+80", None),
            ("a:80:80", None),
            ("a b", None),
            ("a,b", None),
            ("user@a", None),
            ("a/b", None),
            ("a?b", None),
            ("a#b", None),
            ("a%2eb", None),
            ("[::1", None),
            ("[::g]", None),
            ("[::1]x", None),
            ("::1", None),
        ] {
            let parsed = Authority::parse(&HeaderValue::from_str(text).unwrap());
            let got = parsed.as_ref().map(|it| (it.host(), it.port()));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn the_default_port_may_be_left_out() {
        let parse = |text| Authority::parse(&HeaderValue::from_static(text)).unwrap();
        assert!(parse("a").agrees_with(&parse("A:80"), 80));
        assert!(!parse("a").agrees_with(&parse("a:81"), 80));
        assert!(!parse("a").agrees_with(&parse("b"), 80));
    }
}
