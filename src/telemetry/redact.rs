//! What must never be shown: the headers and query parameters whose values are secrets.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// Headers that carry credentials or session state. RFC 9110 §11 and RFC 6265 name the first group; the rest are the
/// key headers of Azure and of common gateways.
const HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "api-key",
    "apikey",
    "ocp-apim-subscription-key",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-client-cert",
    "x-functions-key",
    "x-gateway-key",
    "x-ms-client-principal",
    "x-ms-token-aad-access-token",
    "x-ms-token-aad-id-token",
    "x-ms-token-aad-refresh-token",
    "x-vault-token",
];

/// Headers that hold a URL, whose query may hold a secret: a signed download link, an address to poll.
const URL_HEADERS: &[&str] =
    &["azure-asyncoperation", "content-location", "location", "operation-location", "referer", "x-original-url"];

/// Query parameters whose whole name says secret, in normal form: lower case, without `-`, `_` and `.`.
const PARAMETERS: &[&str] = &[
    "accesskey",
    "assertion",
    "auth",
    "clientassertion",
    "code",
    "jwt",
    "key",
    "pass",
    "passwd",
    "pwd",
    "sas",
    "samlresponse",
    "sig",
];

/// Endings that say secret, in normal form: `client_secret`, `ocp-apim-subscription-key`, `X-Amz-Signature`.
const ENDINGS: &[&str] = &[
    "apikey",
    "authorization",
    "credential",
    "credentials",
    "functionskey",
    "password",
    "secret",
    "signature",
    "subscriptionkey",
    "token",
];

/// Endings that are positions in a list rather than secrets, although they end in `token`.
const PAGING: &[&str] = &["continuationtoken", "pagetoken", "skiptoken", "synctoken"];

/// Schemes that may be shown before a masked credential: which one was used is the first question about a 401.
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "negotiate", "ntlm", "sharedaccesssignature", "sharedkey"];

/// The longest parameter name that is compared; what follows is not looked at.
const LONGEST_NAME: usize = 64;

/// Decides what is a secret by its name, and hides it. The default knows the common names.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    headers: Vec<HeaderName>,
    parameters: Vec<Box<[u8]>>,
}

impl Redactor {
    /// Hides these headers too.
    #[must_use]
    pub fn with_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.headers.extend(names);
        self
    }

    /// Hides these query parameters too. Case, `-`, `_` and `.` make no difference.
    #[must_use]
    pub fn with_parameters<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.parameters.extend(names.into_iter().map(|name| Normal::of(name.as_bytes()).bytes().into()));
        self
    }

    /// Whether the values of this header are secrets.
    pub fn is_secret_header(&self, name: &HeaderName) -> bool {
        HEADERS.contains(&name.as_str()) || self.headers.contains(name)
    }

    /// Whether the values of this query parameter are secrets. The name may still be percent-encoded.
    pub fn is_secret_parameter(&self, name: &str) -> bool {
        self.is_secret_name(name.as_bytes())
    }

    fn is_secret_name(&self, name: &[u8]) -> bool {
        let normal = Normal::of(name);
        let name = normal.bytes();
        let listed = |list: &[&str]| list.iter().any(|known| known.as_bytes() == name);
        let ends = |list: &[&str]| list.iter().any(|ending| name.ends_with(ending.as_bytes()));
        listed(PARAMETERS) || (ends(ENDINGS) && !ends(PAGING)) || self.parameters.iter().any(|known| **known == *name)
    }

    /// A header's value as it may be shown. Of a credential only a well-known scheme is left: `Bearer ***`. In a URL the
    /// secrets of its query are masked.
    pub fn header<'v>(&self, name: &HeaderName, value: &'v HeaderValue) -> Cow<'v, str> {
        if !self.is_secret_header(name) {
            return match value.to_str() {
                Ok(url) if URL_HEADERS.contains(&name.as_str()) => self.url(url),
                _ => String::from_utf8_lossy(value.as_bytes()),
            };
        }
        let scheme = value.to_str().ok().and_then(|text| text.split_once(' ')).map(|(scheme, _)| scheme);
        match scheme {
            Some(scheme) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                Cow::Owned(format!("{scheme} {MASK}"))
            }
            _ => Cow::Borrowed(MASK),
        }
    }

    /// A query as it may be shown: `a=1&sig=***`. Borrowed when there is nothing to hide.
    pub fn query<'q>(&self, query: &'q str) -> Cow<'q, str> {
        let mut shown: Option<String> = None;
        self.each_pair(query, |from, piece, hidden| {
            if hidden && shown.is_none() {
                shown = Some(query[..from].to_owned());
            }
            if let Some(text) = &mut shown {
                text.push_str(piece);
                if hidden {
                    text.push_str(MASK);
                }
            }
        });
        shown.map_or(Cow::Borrowed(query), Cow::Owned)
    }

    /// A URL or a path with a query as it may be shown: no user information, secrets in the query masked.
    pub fn url<'u>(&self, url: &'u str) -> Cow<'u, str> {
        let (before, query) = url.split_once('?').map_or((url, None), |(before, query)| (before, Some(query)));
        let masked = query.map(|query| self.query(query));
        let user = before.find("://").and_then(|scheme| {
            let authority = scheme + 3;
            let end = before[authority..].find('/').map_or(before.len(), |slash| authority + slash);
            before[authority..end].rfind('@').map(|at| (authority, authority + at))
        });
        if user.is_none() && !matches!(masked, Some(Cow::Owned(_))) {
            return Cow::Borrowed(url);
        }
        let mut text = match user {
            Some((from, to)) => [&before[..from], MASK, &before[to..]].concat(),
            None => before.to_owned(),
        };
        if let Some(query) = masked {
            text.push('?');
            text.push_str(&query);
        }
        Cow::Owned(text)
    }

    /// Cuts a query into pieces that may be shown: `piece` is up to and with the `=` of a secret, whose value is left
    /// out and `hidden` is true; otherwise it is the whole pair. Separators stay with the pair before them. `from` is where
    /// the piece starts. `;` separates too, because some backends read it so.
    pub(super) fn each_pair<'q>(&self, query: &'q str, mut each: impl FnMut(usize, &'q str, bool)) {
        let bytes = query.as_bytes();
        let mut from = 0;
        while from < bytes.len() {
            let end = memchr::memchr2(b'&', b';', &bytes[from..]).map_or(bytes.len(), |at| from + at);
            let next = (end + 1).min(bytes.len());
            match memchr::memchr(b'=', &bytes[from..end]) {
                Some(equals) if equals + 1 < end - from && self.is_secret_name(&bytes[from..from + equals]) => {
                    each(from, &query[from..=from + equals], true);
                    each(end, &query[end..next], false);
                }
                _ => each(from, &query[from..next], false),
            }
            from = next;
        }
    }
}

/// A name in lower case, percent-decoded, without `-`, `_`, `.` and `$`; on the stack.
struct Normal {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Normal {
    fn of(name: &[u8]) -> Self {
        let mut normal = Self { bytes: [0; LONGEST_NAME], length: 0 };
        // The end of a name says what it is, so of a long name the end is kept.
        let name = &name[name.len().saturating_sub(LONGEST_NAME)..];
        let mut rest = name;
        while let [first, tail @ ..] = rest {
            let mut byte = *first;
            rest = tail;
            if let (b'%', [high, low, tail @ ..]) = (byte, rest)
                && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            {
                byte = high << 4 | low;
                rest = tail;
            }
            if !matches!(byte, b'-' | b'_' | b'.' | b'$' | b'+' | b' ') {
                normal.bytes[normal.length] = byte.to_ascii_lowercase();
                normal.length += 1;
            }
        }
        normal
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_shown_without_secrets() {
        let redactor = Redactor::default().with_parameters(["tenant-pin"]);
        struct Case {
            query: &'static str,
            want: &'static str,
        }
        for Case { query, want } in [
            Case { query: "", want: "" },
            Case { query: "page=1&pageSize=20", want: "page=1&pageSize=20" },
            Case { query: "a=1&subscription-key=s3cret&b=2", want: "a=1&subscription-key=***&b=2" },
            Case { query: "Ocp-Apim-Subscription-Key=s", want: "Ocp-Apim-Subscription-Key=***" },
            Case { query: "api_key=s&apiKey=s&key=s", want: "api_key=***&apiKey=***&key=***" },
            Case { query: "code=s&sig=s&sv=2024", want: "code=***&sig=***&sv=2024" },
            Case { query: "access_token=s=s&x", want: "access_token=***&x" },
            Case { query: "client_secret=s;password=s", want: "client_secret=***;password=***" },
            Case { query: "X-Amz-Signature=s", want: "X-Amz-Signature=***" },
            Case { query: "sub%73cription-key=s", want: "sub%73cription-key=***" },
            Case { query: "key=", want: "key=" },
            Case { query: "key", want: "key" },
            Case { query: "monkey=1&keyboard=2&decode=3", want: "monkey=1&keyboard=2&decode=3" },
            Case { query: "$skiptoken=7&pageToken=8", want: "$skiptoken=7&pageToken=8" },
            Case { query: "tenantPin=1234&pin=5", want: "tenantPin=***&pin=5" },
            Case { query: "&&key=s&", want: "&&key=***&" },
            Case { query: "größe=1&key=ß", want: "größe=1&key=***" },
        ] {
            assert_eq!(redactor.query(query), want, "{query}");
        }
        assert!(matches!(redactor.query("a=1"), Cow::Borrowed(_)), "nothing to hide, nothing to copy");
    }

    #[test]
    fn a_long_name_is_judged_by_its_end() {
        let name = format!("{}_password", "x".repeat(500));
        assert!(Redactor::default().is_secret_parameter(&name));
    }

    #[test]
    fn headers_are_shown_without_secrets() {
        let own = HeaderName::from_static("x-own");
        let redactor = Redactor::default().with_headers([own.clone()]);
        for (name, value, want) in [
            ("accept", "application/json", "application/json"),
            ("authorization", "Bearer abc.def.ghi", "Bearer ***"),
            ("authorization", "abc def", "***"),
            ("authorization", "abc", "***"),
            ("cookie", "session=1", "***"),
            ("set-cookie", "session=1", "***"),
            ("proxy-authorization", "Basic dTpw", "Basic ***"),
            ("ocp-apim-subscription-key", "abc", "***"),
            ("x-api-key", "abc", "***"),
            ("x-functions-key", "abc", "***"),
            ("x-own", "abc", "***"),
            ("location", "https://files.example/a?sig=abc&se=1", "https://files.example/a?sig=***&se=1"),
            ("x-other", "https://files.example/a?sig=abc", "https://files.example/a?sig=abc"),
        ] {
            let shown = redactor.header(&HeaderName::from_static(name), &HeaderValue::from_static(value)).into_owned();
            assert_eq!(shown, want, "{name}: {value}");
        }
        assert!(!Redactor::default().is_secret_header(&own));
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let redactor = Redactor::default();
        for (url, want) in [
            ("https://erp.example/v1?code=abc&x=1", "https://erp.example/v1?code=***&x=1"),
            ("redis://user:pass@redis.example:6379/0", "redis://***@redis.example:6379/0"),
            ("https://erp.example/people/a@b", "https://erp.example/people/a@b"),
            ("/orders?sig=x", "/orders?sig=***"),
            ("/orders", "/orders"),
        ] {
            assert_eq!(redactor.url(url), want);
        }
    }
}
