//! The `format` of texts and numbers: those that OpenAPI and JSON Schema define are checked, others say nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::number::Number;

/// A format that is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// None, or one that is not known: `password`, `binary`, `html`.
    #[default]
    Any,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// `2026-11-26T05:30:00Z` (RFC 3339 §5.6).
    DateTime,
    /// The same without an offset, which makers of connectors write.
    DateTimeWithoutOffset,
    /// `2026-11-26`
    Date,
    /// `05:30:00Z`
    Time,
    /// RFC 9562.
    Uuid,
    /// An address of mail.
    Email,
    /// A URI with a scheme (RFC 3986).
    Uri,
    /// A name of DNS (RFC 1123).
    Hostname,
    /// An address of IPv4.
    Ipv4,
    /// An address of IPv6.
    Ipv6,
    /// Base64 (RFC 4648 §4).
    Byte,
}

impl Format {
    /// The format of this name.
    pub fn find(name: &str) -> Self {
        match name {
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "date-time" => Self::DateTime,
            "date-no-tz" => Self::DateTimeWithoutOffset,
            "date" => Self::Date,
            "time" => Self::Time,
            "uuid" | "guid" => Self::Uuid,
            "email" => Self::Email,
            "uri" | "url" => Self::Uri,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "byte" => Self::Byte,
            _ => Self::Any,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::DateTime => "date-time",
            Self::DateTimeWithoutOffset => "date-no-tz",
            Self::Date => "date",
            Self::Time => "time",
            Self::Uuid => "uuid",
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Byte => "byte",
        }
    }

    /// Whether a text has the format.
    pub fn takes_text(self, text: &str) -> bool {
        match self {
            Self::Any | Self::Int32 | Self::Int64 => true,
            Self::DateTime => date_time(text, true),
            Self::DateTimeWithoutOffset => date_time(text, false) || date_time(text, true),
            Self::Date => date(text),
            Self::Time => time(text, true, "23:59"),
            Self::Uuid => uuid(text),
            Self::Email => email(text),
            Self::Uri => uri(text),
            Self::Hostname => hostname(text),
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Byte => base64(text),
        }
    }

    /// Whether a number has the format.
    pub fn takes_number(self, number: Number) -> bool {
        let within = |low: &str, high: &str| {
            let bound = |text| Number::parse(text).is_some_and(|bound| number >= bound);
            bound(low) && Number::parse(high).is_some_and(|high| number <= high)
        };
        match self {
            Self::Int32 => within("-2147483648", "2147483647"),
            Self::Int64 => within("-9223372036854775808", "9223372036854775807"),
            _ => true,
        }
    }
}

fn date_time(text: &str, offset: bool) -> bool {
    let Some((day, rest)) = text.split_at_checked(10) else { return false };
    let Some(clock) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    date(day) && time(clock, offset, "23:59")
}

/// `YYYY-MM-DD`, a day that there is.
fn date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && (1..=days).contains(&day)
}

/// `HH:MM:SS`, with a fraction and an offset. A second of 60 is one that was inserted, and stands only at the end of a day in UTC.
fn time(text: &str, offset: bool, last: &str) -> bool {
    let bytes = text.as_bytes();
    let number = |at: usize| {
        let digits = text.get(at..at + 2)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    let (Some(hour), Some(minute), Some(second)) = (number(0), number(3), number(6)) else { return false };
    if bytes[2] != b':' || bytes[5] != b':' || hour > 23 || minute > 59 || second > 60 {
        return false;
    }
    let mut rest = &text[8..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    if !offset {
        return rest.is_empty() && second < 60;
    }
    let shift = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - rest.len();
            let (Some(hours), Some(minutes)) = (number(at + 1), number(at + 4)) else { return false };
            if hours > 23 || minutes > 59 {
                return false;
            }
            let minutes = i64::from(hours * 60 + minutes);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return false,
    };
    let utc = (i64::from(hour * 60 + minute) - shift).rem_euclid(24 * 60);
    second < 60 || format!("{:02}:{:02}", utc / 60, utc % 60) == last
}

fn uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Whether it looks like an address (RFC 5321 §4.1.2), quoted local parts included.
fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let domain_is = match literal {
        Some(address) => match address.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => address.parse::<Ipv4Addr>().is_ok(),
        },
        None => hostname(domain),
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let dotted = local.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    domain_is && local.len() <= 64 && (quoted || dotted)
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        bytes.len() < 64
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    text.len() < 254 && text.split('.').all(label)
}

/// Whether it has a scheme and only characters that may stand in a URI.
fn uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_is = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let mut left = rest.bytes();
    while let Some(byte) = left.next() {
        let fine = match byte {
            b'%' => left.next().zip(left.next()).is_some_and(|(a, b)| a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
            byte => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    // Brackets stand around addresses of IPv6 only, and a number follows the colon of a port.
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let path = rest.strip_prefix("//").map_or(rest, |inner| &inner[authority.unwrap_or_default().len()..]);
    let authority_is = authority.is_none_or(|authority| {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let user = &authority[..authority.len() - host.len()];
        let port = match host.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                Some((address, port)) if address.starts_with('v') || address.parse::<Ipv6Addr>().is_ok() => port,
                _ => return false,
            },
            None => host.find(':').map_or("", |colon| &host[colon..]),
        };
        !user.contains(['[', ']'])
            && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit())))
    });
    scheme_is && authority_is && !path.contains(['[', ']']) && path.matches('#').count() < 2
}

fn base64(text: &str) -> bool {
    use base64::Engine as _;
    use base64::alphabet::STANDARD;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let wide = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'));
    if text.contains(['\r', '\n']) {
        ENGINE.decode(wide.collect::<Vec<_>>()).is_ok()
    } else {
        ENGINE.decode(text).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_take_what_they_should() {
        for (format, text, want) in [
            ("date-time", "2026-11-26T05:30:00Z", true),
            ("date-time", "2026-11-26T05:30:00.25+01:00", true),
            ("date-time", "2026-11-26T05:30:00", false),
            ("date-time", "2026-02-29T05:30:00Z", false),
            ("date-time", "1998-12-31T23:59:60Z", true),
            ("date-time", "1998-12-31T22:59:60Z", false),
            ("date-no-tz", "2026-11-26T05:30:00", true),
            ("date", "2024-02-29", true),
            ("date", "2024-2-29", false),
            ("uuid", "0b5e1d0c-2f3a-4f43-9f37-9d5f4a1a2b11", true),
            ("uuid", "0b5e1d0c2f3a4f439f379d5f4a1a2b11", false),
            ("email", "joe.bloggs@contoso.com", true),
            ("email", ".joe@contoso.com", false),
            ("uri", "https://contoso.com:8080/a?b=c#d", true),
            ("uri", "/a/b", false),
            ("uri", "http://contoso.com/a b", false),
            ("ipv4", "10.0.0.1", true),
            ("ipv4", "10.0.0.256", false),
            ("byte", "aGVsbG8=", true),
            ("byte", "a*", false),
            ("html", "<p>", true),
        ] {
            assert_eq!(Format::find(format).takes_text(text), want, "{format}: {text}");
        }
        for (format, number, want) in [
            ("int32", "2147483647", true),
            ("int32", "2147483648", false),
            ("int64", "-9223372036854775808", true),
            ("int64", "9223372036854775808", false),
        ] {
            assert_eq!(Format::find(format).takes_number(Number::parse(number).unwrap()), want, "{format}: {number}");
        }
    }
}
