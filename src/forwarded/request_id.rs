//! The request id: the caller's when it is usable, else a new UUID.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::hex;

/// The longest id that is kept from a caller.
const MAX_LEN: usize = 128;

/// The id of one request.
#[derive(Clone, Debug)]
pub struct RequestId {
    /// Checked to be ASCII.
    value: HeaderValue,
    is_incoming: bool,
}

impl RequestId {
    /// Keeps the id that came in the field `name` when it came once, is 1 to 128 bytes long and consists of letters,
    /// digits, `.`, `_`, `:` and `-`, so that it can stand in a log line and a header; else makes a new one.
    pub fn from_headers(headers: &HeaderMap, name: &HeaderName, now: SystemTime, random: &mut fastrand::Rng) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if is_valid(value.as_bytes()) => Self { value: value.clone(), is_incoming: true },
            _ => Self::new(now, random),
        }
    }

    /// A new id: a UUID of version 7 (RFC 9562 §5.7), so that ids sort by time.
    pub fn new(now: SystemTime, random: &mut fastrand::Rng) -> Self {
        let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let bits = (millis << 80)
            | (0x7 << 76)
            | (u128::from(random.u16(..) & 0x0fff) << 64)
            | (0b10 << 62)
            | u128::from(random.u64(..) >> 2);
        let bytes = bits.to_be_bytes();
        let mut text = [b'-'; 36];
        for (digits, group) in [(0..8, 0..4), (9..13, 4..6), (14..18, 6..8), (19..23, 8..10), (24..36, 10..16)] {
            hex::write(&mut text[digits], &bytes[group]);
        }
        // Owned, not copied: the copies in both messages and in the log then cost no allocation.
        let value = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
        Self { value: value.expect("digits and hyphens are visible ASCII"), is_incoming: false }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    /// Whether the caller gave it.
    pub fn is_incoming(&self) -> bool {
        self.is_incoming
    }

    /// The id as a header's value. A kept id shares the bytes that came in.
    pub fn to_header_value(&self) -> HeaderValue {
        self.value.clone()
    }
}

/// Whether an id can stand in a log line and a header: 1 to 128 letters, digits, `.`, `_`, `:` and `-`.
fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_LEN).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NAME: HeaderName = HeaderName::from_static("x-request-id");

    fn of(values: &[&str]) -> RequestId {
        let values = values.iter().map(|value| (NAME, HeaderValue::from_bytes(value.as_bytes()).expect("a value")));
        RequestId::from_headers(&values.collect(), &NAME, UNIX_EPOCH, &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn kept_or_new() {
        let longest = "x".repeat(128);
        let too_long = "x".repeat(129);
        for (values, kept) in [
            (&["abc-1.2_3:4"][..], true),
            (&["a"], true),
            (&[&*longest], true),
            (&[&*too_long], false),
            (&[""], false),
            (&[], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["a,b"], false),
            (&["caf\u{e9}"], false),
            (&["a", "b"], false),
        ] {
            let id = of(values);
            assert_eq!(id.is_incoming(), kept, "{values:?}");
            assert_eq!(kept, values.first() == Some(&id.as_str()), "{values:?}");
            assert_eq!(id.to_header_value(), id.as_str(), "{values:?}");
        }
    }

    #[test]
    fn new_ids_are_version_7() {
        let mut random = fastrand::Rng::with_seed(7);
        let now = UNIX_EPOCH + Duration::from_millis(0x0123_4567_89ab);
        let id = RequestId::new(now, &mut random);
        let text = id.as_str();
        assert!(text.starts_with("01234567-89ab-7"), "{text}");
        assert_eq!(text.len(), 36);
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert!(text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
        }));
        assert_ne!(RequestId::new(now, &mut random).as_str(), text);
        let later = RequestId::new(now + Duration::from_millis(1), &mut random);
        assert!(later.as_str() > text);
    }
}
