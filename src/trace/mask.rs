//! Secrets: known from the configuration or learned from a request, and taken out of every text of a trace.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, COOKIE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, PROXY_AUTHORIZATION, SET_COOKIE,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use regex::{Captures, Regex};

use crate::telemetry::Redactor;
use crate::telemetry::redact::MASK;

/// Secrets that are shorter are hidden only where they stand alone: `eu` in `eu.contoso.com`, not in `neutral`.
const SHORT: usize = 4;
/// What a request shows to be a secret, by the name of a header for example, is looked for elsewhere from this length on. Shorter
/// values (`session=1`) would take half of the trace with them.
const LEAST_LEARNED: usize = 6;
/// The most secrets that are learned from one exchange. What comes after that is not recorded.
const MOST_LEARNED: usize = 256;
/// The most bodies that are held because they were read from end to end.
const MOST_READ: usize = 4;

/// Texts to hide, each with what is shown in its place.
#[derive(Default)]
pub struct Secrets {
    automaton: Option<AhoCorasick>,
    shown: Vec<Box<str>>,
    /// The length of the longest, as it may stand in a text.
    longest: usize,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").field("count", &self.shown.len()).finish_non_exhaustive()
    }
}

/// RFC 3986 §2.3: what need not be percent-encoded anywhere.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The ways in which a secret may stand in a text: as it is, in a URL, in a form, in JSON, in Base64.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let encoded = utf8_percent_encode(secret, RESERVED).to_string();
    let mut forms = vec![
        secret.to_owned(),
        json[1..json.len() - 1].to_owned(),
        encoded.to_lowercase(),
        encoded.replace("%20", "+"),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        encoded,
    ];
    if secret.len() >= SHORT {
        forms.push(STANDARD.encode(secret));
        forms.push(STANDARD_NO_PAD.encode(secret));
    }
    forms.sort();
    forms.dedup();
    forms
}

impl Secrets {
    /// These secrets, each with what is shown in its place.
    pub fn new<'s>(secrets: impl IntoIterator<Item = (&'s str, Cow<'s, str>)>) -> Self {
        let mut all: Vec<(String, Box<str>)> = Vec::new();
        for (secret, shown) in secrets {
            if !secret.is_empty() {
                all.extend(forms(secret).into_iter().map(|form| (form, shown.as_ref().into())));
            }
        }
        let longest = all.iter().map(|(form, _)| form.len()).max().unwrap_or_default();
        let automaton = (!all.is_empty()).then(|| {
            let patterns = all.iter().map(|(form, _)| form);
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns)
        });
        // Only a count beyond 2³¹ fails.
        let automaton = automaton.and_then(Result::ok);
        Self { automaton, shown: all.into_iter().map(|(_, shown)| shown).collect(), longest }
    }

    /// What one exchange has shown to be secret.
    fn learned(secrets: &[String]) -> Self {
        Self::new(secrets.iter().map(|secret| (secret.as_str(), Cow::Borrowed(MASK))))
    }

    fn hide(&self, text: &mut String) {
        let Some(automaton) = &self.automaton else { return };
        let mut hidden: Option<String> = None;
        let mut from = 0;
        for found in automaton.find_iter(text.as_str()) {
            if found.len() < SHORT && !stands_alone(text, found.start(), found.end()) {
                continue;
            }
            let out = hidden.get_or_insert_default();
            out.push_str(&text[from..found.start()]);
            out.push_str(&self.shown[found.pattern().as_usize()]);
            from = found.end();
        }
        if let Some(mut out) = hidden {
            out.push_str(&text[from..]);
            *text = out;
        }
    }
}

/// Whether neither a letter nor a digit stands beside a stretch of a text.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
}

/// Takes the secrets out of the texts of one trace.
pub(super) struct Scrubber<'a> {
    known: &'a Secrets,
    learned: Secrets,
}

impl<'a> Scrubber<'a> {
    pub(super) fn new(known: &'a Secrets, learned: &[String]) -> Self {
        Self { known, learned: Secrets::learned(learned) }
    }

    /// Takes the secrets out of a text.
    pub(super) fn scrub(&self, text: &mut String) {
        self.known.hide(text);
        self.learned.hide(text);
    }

    /// The length of the longest secret. Of a text that was cut, so much of the end may hold the beginning of one.
    pub(super) fn longest(&self) -> usize {
        self.known.longest.max(self.learned.longest)
    }
}

/// Values as a trace may hold them: what is a secret by its name is masked, and learned, so that it is found elsewhere too.
#[derive(Debug, Default)]
pub(super) struct Learned {
    secrets: Vec<String>,
    /// Bodies that all was learned from.
    read: Vec<Bytes>,
}

impl Learned {
    /// Hides a text wherever it stands.
    pub(super) fn learn(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= LEAST_LEARNED && secret != MASK && !self.secrets.iter().any(|known| known == secret) {
            self.secrets.push(secret.to_owned());
        }
    }

    /// Whether so much was learned that more could not be hidden.
    pub(super) fn is_full(&self) -> bool {
        self.secrets.len() >= MOST_LEARNED
    }

    pub(super) fn all(&self) -> &[String] {
        &self.secrets
    }

    /// Whether a body has not been read from end to end yet. It counts as read from now on, and stays in memory, so that no other one
    /// is taken for it.
    pub(super) fn is_new(&mut self, body: &Bytes) -> bool {
        let is_known = self.read.iter().any(|known| known.as_ptr() == body.as_ptr() && known.len() == body.len());
        if !is_known {
            if self.read.len() >= MOST_READ {
                self.read.remove(0);
            }
            self.read.push(body.clone());
        }
        !is_known
    }

    /// A header's value.
    pub(super) fn header(&mut self, redactor: &Redactor, name: &HeaderName, value: &HeaderValue) -> String {
        // Entity tags are no secrets, wherever they come from.
        let marked = value.is_sensitive() && *name != IF_MATCH && *name != IF_NONE_MATCH;
        let text = String::from_utf8_lossy(value.as_bytes());
        if !redactor.is_secret_header(name) && !marked {
            return match redactor.header(name, value) {
                Cow::Owned(_) => self.url(redactor, &text),
                shown => shown.into_owned(),
            };
        }
        if *name == AUTHORIZATION || *name == PROXY_AUTHORIZATION {
            self.credentials(&text);
        } else if *name == COOKIE || *name == SET_COOKIE {
            let pairs = if *name == COOKIE { usize::MAX } else { 1 };
            let values = text.split(';').take(pairs).filter_map(|pair| pair.split_once('='));
            values.for_each(|(_, value)| self.learn(value.trim_matches('"')));
        } else {
            self.learn(&text);
        }
        if redactor.is_secret_header(name) { redactor.header(name, value).into_owned() } else { MASK.to_owned() }
    }

    /// Learns the value of an `Authorization`: of `Basic` the password, of all else what follows the scheme.
    fn credentials(&mut self, text: &str) {
        let (scheme, credentials) = text.split_once(' ').unwrap_or(("", text));
        self.learn(credentials);
        self.learn(text);
        if scheme.eq_ignore_ascii_case("basic")
            && let Ok(pair) = STANDARD.decode(credentials.trim())
            && let Some((_, password)) = String::from_utf8_lossy(&pair).split_once(':')
        {
            self.learn(password);
        }
    }

    /// A URL, or a path with a query.
    pub(super) fn url(&mut self, redactor: &Redactor, url: &str) -> String {
        if let Some((_, query)) = url.split_once('?') {
            self.query(redactor, query);
        }
        redactor.url(url).into_owned()
    }

    fn query(&mut self, redactor: &Redactor, query: &str) {
        for pair in query.split(['&', ';']) {
            if let Some((name, value)) = pair.split_once('=')
                && redactor.is_secret_parameter(name)
            {
                self.learn(value);
                self.learn(&percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy());
            }
        }
    }

    /// The text of a body: a form, or JSON, whole or cut.
    pub(super) fn body(&mut self, redactor: &Redactor, is_form: bool, text: &str) -> String {
        static MEMBER: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r#""((?:[^"\\]|\\.){1,80})"(\s*:\s*)"((?:[^"\\]|\\.)*)"#).ok());
        if is_form {
            self.query(redactor, text);
            return redactor.query(text).into_owned();
        }
        let Some(member) = &*MEMBER else { return String::new() };
        let hide = |found: &Captures<'_>| {
            let (name, value) = (&found[1], &found[3]);
            if !is_secret_member(redactor, name) || value.is_empty() {
                return found[0].to_owned();
            }
            self.learn(value);
            if let Ok(plain) = serde_json::from_str::<String>(&format!("\"{value}\"")) {
                self.learn(&plain);
            }
            format!("\"{name}\"{}\"{MASK}", &found[2])
        };
        member.replace_all(text, hide).into_owned()
    }
}

/// Whether a member of a JSON body is a secret by its name. Where a URL has a `code` or a `key` it is one; a body has codes of
/// errors and keys of records.
pub(super) fn is_secret_member(redactor: &Redactor, name: &str) -> bool {
    const TOO_COMMON: [&str; 4] = ["auth", "code", "key", "pass"];
    redactor.is_secret_parameter(name) && !TOO_COMMON.iter().any(|common| name.eq_ignore_ascii_case(common))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_every_form() {
        let secrets = Secrets::new([
            ("p@ss w\"rd/1", Cow::Borrowed("{{erp-key}}")),
            ("eu", Cow::Borrowed("{{region}}")),
            ("hush-hush", Cow::Borrowed("***")),
        ]);
        let scrubber = Scrubber::new(&secrets, &["learned".to_owned()]);
        for (text, want) in [
            ("nothing", "nothing"),
            ("a p@ss w\"rd/1 b", "a {{erp-key}} b"),
            (r#"{"a":"p@ss w\"rd/1"}"#, r#"{"a":"{{erp-key}}"}"#),
            ("?a=p%40ss%20w%22rd%2F1&b=1", "?a={{erp-key}}&b=1"),
            ("?a=p%40ss%20w%22rd%2f1&b=1", "?a={{erp-key}}&b=1"),
            ("a=p%40ss+w%22rd%2F1", "a={{erp-key}}"),
            ("cEBzcyB3InJkLzE=", "{{erp-key}}"),
            ("https://eu.contoso.com/neutral/eu", "https://{{region}}.contoso.com/neutral/{{region}}"),
            ("hush-hushhush-hush learned", "****** ***"),
        ] {
            let mut text = text.to_owned();
            scrubber.scrub(&mut text);
            assert_eq!(text, want);
        }
    }

    #[test]
    fn what_a_header_says_is_learned() {
        let redactor = Redactor::default().with_parameters(["tenant-pin"]);
        struct Case {
            name: &'static str,
            value: &'static str,
            sensitive: bool,
            want: &'static str,
            learned: &'static [&'static str],
        }
        for Case { name, value, sensitive, want, learned } in [
            Case { name: "accept", value: "a/b", sensitive: false, want: "a/b", learned: &[] },
            Case { name: "x-own", value: "abcdefg", sensitive: true, want: "***", learned: &["abcdefg"] },
            Case { name: "if-match", value: "\"abcdef\"", sensitive: true, want: "\"abcdef\"", learned: &[] },
            Case {
                name: "authorization",
                value: "Bearer abcdefg",
                sensitive: false,
                want: "Bearer ***",
                learned: &["abcdefg", "Bearer abcdefg"],
            },
            Case {
                name: "authorization",
                value: "Basic bWU6aHVzaC0xMjM=",
                sensitive: true,
                want: "Basic ***",
                learned: &["bWU6aHVzaC0xMjM=", "Basic bWU6aHVzaC0xMjM=", "hush-123"],
            },
            Case {
                name: "cookie",
                value: "a=1; session=abcdefg",
                sensitive: false,
                want: "***",
                learned: &["abcdefg"],
            },
            Case {
                name: "location",
                value: "/x?tenantPin=ab%2Fcdef&b=1",
                sensitive: false,
                want: "/x?tenantPin=***&b=1",
                learned: &["ab%2Fcdef", "ab/cdef"],
            },
        ] {
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(sensitive);
            let mut secrets = Learned::default();
            let shown = secrets.header(&redactor, &HeaderName::from_static(name), &value);
            assert_eq!((shown.as_str(), secrets.all()), (want, learned.map_to_owned().as_slice()), "{name}");
        }
    }

    trait MapToOwned {
        fn map_to_owned(&self) -> Vec<String>;
    }

    impl MapToOwned for &[&str] {
        fn map_to_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn members_of_bodies_are_masked_by_name() {
        let redactor = Redactor::default();
        for (is_form, text, want) in [
            (false, r#"{"access_token":"abc.def","code":"NotFound"}"#, r#"{"access_token":"***","code":"NotFound"}"#),
            (false, r#"{"a": {"client-secret" : "x\"y", "b": 1}}"#, r#"{"a": {"client-secret" : "***", "b": 1}}"#),
            (false, r#"{"password":"cut off"#, r#"{"password":"***"#),
            (false, "password: none of JSON", "password: none of JSON"),
            (true, "grant_type=x&client_secret=abcdefg", "grant_type=x&client_secret=***"),
        ] {
            assert_eq!(Learned::default().body(&redactor, is_form, text), want);
        }
        let mut learned = Learned::default();
        learned.body(&redactor, false, r#"{"token":"a\"bcdefg"}"#);
        assert_eq!(learned.all(), [r#"a\"bcdefg"#, "a\"bcdefg"]);
    }
}
