//! Under which key an answer is kept: everything that may make it another one, each part with its length.

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

/// The key of an answer: compared as a whole, so that no two requests ever share one by chance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key(SmallVec<[u8; 256]>);

impl Key {
    /// Adds a part. The letter says what it is, so that a key never means something else under other settings.
    pub fn part(&mut self, letter: u8, part: &[u8]) {
        self.0.push(letter);
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds the values that a header has in a request. That it is not there is unlike that it is empty.
    pub fn header(&mut self, name: &HeaderName, headers: &HeaderMap) {
        self.part(b'h', name.as_str().as_bytes());
        if *name == header::ACCEPT_ENCODING {
            return self.codings(headers);
        }
        for value in headers.get_all(name) {
            self.part(b'=', value.as_bytes());
        }
    }

    /// The codings that a request accepts, in one order and without preferences: whatever the backend chose of them for one request
    /// is acceptable to all others that accept the same.
    fn codings(&mut self, headers: &HeaderMap) {
        // Without the field anything may come, with an empty one nothing but the plain answer (RFC 9110 §12.5.3).
        if headers.contains_key(header::ACCEPT_ENCODING) {
            self.part(b'+', &[]);
        }
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings: SmallVec<[&str; 8]> = values
            .flat_map(|value| value.split(','))
            .map(|item| {
                let (coding, quality) = item.split_once(';').unwrap_or((item, ""));
                let quality = quality.trim().get(2..).and_then(|number| number.parse::<f32>().ok());
                // What is refused says something, unless it is what goes without saying.
                if quality == Some(0.0) { item.trim() } else { coding.trim() }
            })
            .filter(|coding| !coding.is_empty())
            .collect();
        codings.sort_unstable();
        codings.dedup();
        for coding in codings {
            self.part(b'=', coding.as_bytes());
        }
    }

    /// Adds the query, its parameters in the order of their names; of these names only, when there are any.
    pub fn query(&mut self, query: Option<&str>, names: Option<&[Box<str>]>) {
        let name = |pair: &str| pair.find('=').unwrap_or(pair.len());
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        match names {
            None => {
                let mut pairs: SmallVec<[&str; 16]> = pairs.collect();
                // Stable: the order of several values of one name may matter.
                pairs.sort_by_key(|pair| &pair[..name(pair)]);
                for pair in pairs {
                    self.part(b'q', pair.as_bytes());
                }
            }
            Some(names) => {
                for wanted in names {
                    self.part(b'p', wanted.as_bytes());
                    for pair in pairs.clone().filter(|pair| is_named(&pair[..name(pair)], wanted)) {
                        let value = pair.split_once('=').map_or("", |(_, value)| value);
                        self.part(b'=', value.as_bytes());
                    }
                }
            }
        }
    }

    /// The key of one variant: the values of the headers that tell variants apart.
    #[must_use]
    pub fn variant(&self, names: &[HeaderName], headers: &HeaderMap) -> Self {
        let mut key = self.clone();
        for name in names {
            key.header(name, headers);
        }
        key
    }
}

/// Whether a parameter's name as it stands in a query is this one; escapes are read, and names compare without case, as Azure API
/// Management's do.
fn is_named(written: &str, wanted: &str) -> bool {
    if !written.contains(['%', '+']) {
        return written.eq_ignore_ascii_case(wanted);
    }
    let plain = written.replace('+', " ");
    let name = percent_encoding::percent_decode_str(&plain).decode_utf8_lossy();
    name.eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &HeaderName, values: &[&str]) -> Key {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        let mut key = Key::default();
        key.header(name, &headers);
        key
    }

    #[test]
    fn headers_tell_apart_what_they_say() {
        for (one, two, same) in [
            (&["a"][..], &["a"][..], true),
            (&["a"], &["b"], false),
            (&[], &[""], false),
            (&["a", "b"], &["a,b"], false),
            (&["a", "b"], &["b", "a"], false),
        ] {
            assert_eq!(with(&header::ACCEPT, one) == with(&header::ACCEPT, two), same, "{one:?} {two:?}");
        }
        for (one, two, same) in [
            (&["gzip, br"][..], &["br;q=0.5,gzip"][..], true),
            (&["gzip", "br"], &["gzip, br"], true),
            (&["gzip"], &["gzip, br"], false),
            (&["gzip"], &["gzip;q=0"], false),
            (&[], &["identity"], false),
            (&[], &[""], false),
        ] {
            let name = header::ACCEPT_ENCODING;
            assert_eq!(with(&name, one) == with(&name, two), same, "{one:?} {two:?}");
        }
    }

    #[test]
    fn queries_tell_apart_what_they_ask() {
        let key = |query: &str, names: Option<&[Box<str>]>| {
            let mut key = Key::default();
            key.query(Some(query), names);
            key
        };
        let named: &[Box<str>] = &["page".into(), "my size".into()];
        for (one, two, names, same) in [
            ("a=1&b=2", "b=2&a=1", None, true),
            ("a=1&a=2", "a=2&a=1", None, false),
            ("a=1", "a=1&b=", None, false),
            ("a=1&&", "a=1", None, true),
            ("page=1&x=1", "x=2&page=1", Some(named), true),
            ("page=1", "page=2", Some(named), false),
            ("Page=1", "page=1", Some(named), true),
            ("my+size=1", "my%20size=2", Some(named), false),
            ("my+size=1", "my%20size=1", Some(named), true),
            ("page=", "", Some(named), false),
        ] {
            assert_eq!(key(one, names) == key(two, names), same, "{one} {two}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[&str]| {
            let mut key = Key::default();
            parts.iter().for_each(|part| key.part(b'x', part.as_bytes()));
            key
        };
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
    }
}
