//! Which answers a shared cache may keep, and for how long their backend calls them fresh: RFC 9111 §3 and §4.2.

use std::time::{Duration, SystemTime};

use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, StatusCode};

/// What an answer says about being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing.
    Unsaid,
    /// It stays fresh for so long from now.
    For(Duration),
    /// It must not be used again.
    Never,
}

/// Whether an answer can serve anybody else, whatever it says about being kept: it is whole, is for nobody alone, and what it depends on
/// is known.
pub fn is_whole(status: StatusCode, headers: &HeaderMap) -> bool {
    let partial = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) || status.is_informational();
    !partial && !headers.contains_key(SET_COOKIE) && varies(headers).is_some()
}

/// The request headers that an answer depends on, sorted; none when it depends on more than that (`Vary: *`).
pub fn varies(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            // `*` is a letter that names may have, and means something else here (RFC 9110 §12.5.5).
            if name == "*" {
                return None;
            }
            names.push(HeaderName::from_bytes(name.as_bytes()).ok()?);
        }
    }
    names.sort_unstable_by(|one, two| one.as_str().cmp(two.as_str()));
    names.dedup();
    Some(names)
}

/// What an answer says about being kept in a cache that callers share.
pub fn freshness(headers: &HeaderMap, now: SystemTime) -> Freshness {
    let mut longest = None;
    let mut shared = None;
    // What cannot be read may forbid it.
    if headers.get_all(CACHE_CONTROL).iter().any(|value| value.to_str().is_err()) {
        return Freshness::Never;
    }
    for (name, argument) in directives(headers) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // With names of fields only those must not be kept or reused. A cache may take the whole answer for meant (§5.2.2.4, §5.2.2.7).
        if is("no-store") || is("private") || is("no-cache") {
            return Freshness::Never;
        }
        // What cannot be read counts as stale (§4.2.1), and of several the shortest.
        let seconds = || delta_seconds(argument.trim_matches('"')).unwrap_or(0);
        if is("s-maxage") {
            shared = Some(shared.map_or_else(seconds, |known: u64| known.min(seconds())));
        } else if is("max-age") {
            longest = Some(longest.map_or_else(seconds, |known: u64| known.min(seconds())));
        }
    }
    let lifetime = match (shared.or(longest), headers.get(EXPIRES)) {
        (Some(seconds), _) => Duration::from_secs(seconds),
        (None, Some(expires)) => {
            let date = headers.get(DATE).and_then(date_of).unwrap_or(now);
            date_of(expires).and_then(|expires| expires.duration_since(date).ok()).unwrap_or_default()
        }
        (None, None) => return Freshness::Unsaid,
    };
    match lifetime.saturating_sub(age(headers)) {
        Duration::ZERO => Freshness::Never,
        left => Freshness::For(left),
    }
}

/// How old an answer was when it came.
pub fn age(headers: &HeaderMap) -> Duration {
    let age = headers.get(AGE).and_then(|age| delta_seconds(age.to_str().ok()?.trim()));
    Duration::from_secs(age.unwrap_or(0))
}

/// A number of seconds; what is too large to be counted with stands for the largest (§1.2.2).
fn delta_seconds(text: &str) -> Option<u64> {
    const LARGEST: u64 = 1 << 31;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().map_or(LARGEST, |seconds: u64| seconds.min(LARGEST)))
}

/// Whether a request asks that nothing of it or of its answer is kept (§5.2.1.5).
pub fn forbids_storing(headers: &HeaderMap) -> bool {
    directives(headers).any(|(name, _)| name.eq_ignore_ascii_case("no-store"))
}

/// Whether a request wants what is kept, or nothing (§5.2.1.7).
pub fn only_if_cached(headers: &HeaderMap) -> bool {
    directives(headers).any(|(name, _)| name.eq_ignore_ascii_case("only-if-cached"))
}

fn date_of(value: &http::HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// The directives of `Cache-Control`, each with its argument as it is written.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lists = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(items).map(|item| {
        let (name, argument) = item.split_once('=').unwrap_or((item, ""));
        (name.trim(), argument.trim())
    })
}

/// The items of a list, in which commas between quotes do not count.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_an_answer_says() {
        const SUNDAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const LATER: &str = "Sun, 06 Nov 1994 08:50:07 GMT";
        let seconds = |seconds| Freshness::For(Duration::from_secs(seconds));
        for (fields, want) in [
            (&[][..], Freshness::Unsaid),
            (&[("cache-control", "public")], Freshness::Unsaid),
            (&[("cache-control", "max-age=60")], seconds(60)),
            (&[("cache-control", "max-age=60, s-maxage=5")], seconds(5)),
            (&[("cache-control", "Max-Age=\"60\"")], seconds(60)),
            (&[("cache-control", "max-age=60"), ("cache-control", "max-age=30")], seconds(30)),
            (&[("cache-control", "max-age=60"), ("age", "59")], seconds(1)),
            (&[("cache-control", "max-age=60"), ("age", "60")], Freshness::Never),
            (&[("cache-control", "max-age=soon")], Freshness::Never),
            (&[("cache-control", "max-age=99999999999999999999")], seconds(1 << 31)),
            (&[("cache-control", "max-age=60"), ("age", "99999999999999999999")], Freshness::Never),
            (&[("cache-control", "max-age=60, note=\"é\"")], Freshness::Never),
            (&[("cache-control", "max-age=0")], Freshness::Never),
            (&[("cache-control", "public, no-store")], Freshness::Never),
            (&[("cache-control", "PRIVATE")], Freshness::Never),
            (&[("cache-control", "private=\"x, y\", max-age=60")], Freshness::Never),
            (&[("cache-control", "no-cache")], Freshness::Never),
            (&[("cache-control", "extension=\"a, no-store\"")], Freshness::Unsaid),
            (&[("cache-control", "must-revalidate")], Freshness::Unsaid),
            (&[("expires", LATER), ("date", SUNDAY)], seconds(30)),
            (&[("expires", SUNDAY), ("date", SUNDAY)], Freshness::Never),
            (&[("expires", "0"), ("date", SUNDAY)], Freshness::Never),
            (&[("expires", SUNDAY), ("cache-control", "max-age=9")], seconds(9)),
        ] {
            assert_eq!(freshness(&headers(fields), Clock::manual().wall()), want, "{fields:?}");
        }
    }

    #[test]
    fn which_answers_can_serve_others() {
        for (status, fields, want) in [
            (200, &[][..], true),
            (404, &[], true),
            (206, &[], false),
            (304, &[], false),
            (200, &[("set-cookie", "a=1")], false),
            (200, &[("vary", "accept")], true),
            (200, &[("vary", "accept, *")], false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_whole(status, &headers(fields)), want, "{status} {fields:?}");
        }
        let names = varies(&headers(&[("vary", "Origin, accept"), ("vary", "origin")])).unwrap();
        assert_eq!(names, ["accept", "origin"]);
    }

    #[test]
    fn ages_can_be_counted_with() {
        for (text, want) in [("0", 0), (" 7 ", 7), ("-1", 0), ("+7", 0), ("18446744073709551615", 1 << 31)] {
            let age = age(&headers(&[("age", text)]));
            assert_eq!(age, Duration::from_secs(want), "{text}");
        }
    }

    #[test]
    fn what_a_request_asks() {
        let asks = headers(&[("cache-control", "no-store, Only-If-Cached")]);
        assert!(forbids_storing(&asks) && only_if_cached(&asks));
        let asks = headers(&[("cache-control", "no-cache")]);
        assert!(!forbids_storing(&asks) && !only_if_cached(&asks));
    }
}
