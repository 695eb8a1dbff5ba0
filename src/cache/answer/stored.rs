//! An answer that is kept: in memory of its own, and as bytes for the store that gateways share.

use std::time::{Duration, UNIX_EPOCH};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    AGE, CONTENT_LENGTH, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PROXY_AUTHENTICATE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::rules;
use crate::body::Body;
use crate::cache::LONGEST;
use crate::clock::{Clock, Nanos};

/// The first byte of a kept answer; another version begins with another one.
const ANSWER: u8 = 1;
/// The first byte of a list of the headers that tell variants apart.
const VARIANTS: u8 = 2;

/// An answer that is kept.
#[derive(Debug)]
pub struct Stored {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// When it came, on this gateway's clock.
    received: Nanos,
    /// How old it was then.
    age: Duration,
    /// How long it serves from then on.
    lifetime: Duration,
}

impl Stored {
    /// Keeps an answer whose body is all there. What it holds is copied: the pieces of a connection's buffer would keep all of it.
    pub fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], received: Nanos, lifetime: Duration) -> Self {
        let mut headers = compact(headers);
        if !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let age = rules::age(&headers);
        Self { status, headers, body: Bytes::copy_from_slice(body), received, age, lifetime }
    }

    /// What it takes to keep it.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        self.body.len() + headers.sum::<usize>()
    }

    /// How long it serves, from when it came.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// When it stops to serve.
    pub fn until(&self) -> Nanos {
        self.received + self.lifetime
    }

    /// The age that it came with.
    pub fn first_age(&self) -> Duration {
        self.age
    }

    /// The request headers that it depends on.
    pub fn varies(&self) -> Vec<HeaderName> {
        rules::varies(&self.headers).unwrap_or_default()
    }

    /// The answer to a request now: without a body to HEAD, and 304 where the request has it already (RFC 9110 §13.2.2).
    pub fn answer(&self, method: &Method, request: &HeaderMap, now: Nanos) -> Response<Body> {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = self.status;
        self.headers.clone_into(response.headers_mut());
        // In whole seconds, and never younger than it is (RFC 9111 §5.1).
        let age = self.age + now.since(self.received);
        response.headers_mut().insert(AGE, HeaderValue::from(age.as_secs()));
        if self.status == StatusCode::OK && self.is_known(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(CONTENT_LENGTH);
        } else if *method != Method::HEAD {
            *response.body_mut() = Body::from(self.body.clone());
        }
        response
    }

    /// Whether a request names what it has, and it is this.
    fn is_known(&self, request: &HeaderMap) -> bool {
        if request.contains_key(IF_NONE_MATCH) {
            let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
            let own = self.headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(weak);
            let mut tags = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
            return tags.any(|list| {
                list.trim() == "*" || own.as_ref().is_some_and(|own| list.split(',').any(|tag| weak(tag) == *own))
            });
        }
        let date = |value: Option<&HeaderValue>| httpdate::parse_http_date(value?.to_str().ok()?).ok();
        match (date(self.headers.get(LAST_MODIFIED)), date(request.get(IF_MODIFIED_SINCE))) {
            (Some(modified), Some(known)) => modified <= known,
            _ => false,
        }
    }

    /// As bytes for the store that gateways share. Its times are those of the calendar.
    pub fn write(&self, clock: &Clock) -> Vec<u8> {
        let now = clock.now();
        let since = clock.wall().checked_sub(now.since(self.received)).unwrap_or(UNIX_EPOCH);
        let mut out = Vec::with_capacity(self.bytes() + 64);
        out.put_u8(ANSWER);
        out.put_u16(self.status.as_u16());
        out.put_u64(millis(since.duration_since(UNIX_EPOCH).unwrap_or_default()));
        out.put_u64(millis(self.lifetime));
        out.put_u64(millis(self.age));
        out.put_u32(length(self.headers.len()));
        for (name, value) in &self.headers {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                out.put_u32(length(part.len()));
                out.put_slice(part);
            }
        }
        out.put_slice(&self.body);
        out
    }

    /// Reads what [`Stored::write`] wrote; nothing when it is anything else, or over.
    fn read(bytes: &Bytes, clock: &Clock) -> Option<Self> {
        let mut rest = bytes.get(1..)?;
        let status = StatusCode::from_u16(u16::from_be_bytes(take(&mut rest)?)).ok()?;
        let mut time = || take(&mut rest).map(u64::from_be_bytes).map(Duration::from_millis);
        let (since, lifetime, age) = (UNIX_EPOCH.checked_add(time()?)?, time()?.min(LONGEST), time()?.min(LONGEST));
        let mut headers = HeaderMap::new();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            let name = HeaderName::from_bytes(piece(&mut rest)?).ok()?;
            headers.try_append(name, HeaderValue::from_bytes(piece(&mut rest)?).ok()?).ok()?;
        }
        let body = bytes.slice(bytes.len() - rest.len()..);
        let (now, wall) = (clock.now(), clock.wall());
        // The clocks of gateways may differ by a little; nothing comes from the future.
        let kept = wall.duration_since(since).unwrap_or_default();
        let left = lifetime.checked_sub(kept).filter(|left| !left.is_zero())?;
        Some(Self { status, headers, body, received: now, age: age + kept, lifetime: left })
    }
}

/// What stands in the store at the place of an answer.
pub(super) enum Read {
    Answer(Stored),
    Variants(Vec<HeaderName>),
}

/// Reads what another gateway wrote.
pub(super) fn read(bytes: Vec<u8>, clock: &Clock) -> Option<Read> {
    let bytes = Bytes::from(bytes);
    match *bytes.first()? {
        ANSWER => Stored::read(&bytes, clock).map(Read::Answer),
        VARIANTS => {
            let names = bytes[1..].split(|byte| *byte == b'\n');
            names.map(|name| HeaderName::from_bytes(name).ok()).collect::<Option<_>>().map(Read::Variants)
        }
        _ => None,
    }
}

/// The names of the headers that tell variants apart, for the store.
pub(super) fn write_variants(names: &[HeaderName]) -> Vec<u8> {
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_str().as_bytes()).collect();
    [&[VARIANTS][..], &names.join(&b'\n')].concat()
}

/// The headers in one piece of memory, without those that are of one connection or one hop only (RFC 9111 §3.1).
fn compact(headers: &HeaderMap) -> HeaderMap {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut all = BytesMut::with_capacity(length);
    let mut kept = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers {
        if [TRANSFER_ENCODING, PROXY_AUTHENTICATE].contains(name) || name.as_str() == "proxy-authentication-info" {
            continue;
        }
        all.extend_from_slice(value.as_bytes());
        let own = all.split().freeze();
        if let Ok(own) = HeaderValue::from_maybe_shared(own) {
            kept.append(name, own);
        }
    }
    kept
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (first, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(clock: &Clock) -> Stored {
        let headers: HeaderMap = [
            ("etag", "\"7\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("age", "3"),
            ("vary", "accept"),
            ("x-a", "1"),
            ("x-a", "2"),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
        Stored::new(StatusCode::OK, &headers, b"body", clock.now(), Duration::from_secs(60))
    }

    fn asks(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_answer_grows_older() {
        let clock = Clock::manual();
        let stored = stored(&clock);
        clock.advance(Duration::from_millis(10_999));
        let answer = stored.answer(&Method::GET, &HeaderMap::new(), clock.now());
        assert_eq!(answer.headers()[AGE], "13", "3 s when it came, and 10 since");
        assert_eq!(answer.headers()[CONTENT_LENGTH], "4");
        assert_eq!(answer.body().bytes().unwrap(), "body");
        let answer = stored.answer(&Method::HEAD, &HeaderMap::new(), clock.now());
        assert_eq!(
            (answer.headers()[CONTENT_LENGTH].to_str().unwrap(), answer.body().bytes().unwrap().len()),
            ("4", 0)
        );
    }

    #[test]
    fn what_the_caller_has_is_not_sent() {
        let clock = Clock::manual();
        let stored = stored(&clock);
        for (fields, want) in [
            (&[][..], 200),
            (&[("if-none-match", "\"7\"")], 304),
            (&[("if-none-match", "W/\"7\"")], 304),
            (&[("if-none-match", "\"6\", \"7\"")], 304),
            (&[("if-none-match", "*")], 304),
            (&[("if-none-match", "\"6\"")], 200),
            (&[("if-none-match", "\"6\""), ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], 200),
            (&[("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")], 304),
            (&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], 200),
            (&[("if-modified-since", "yesterday")], 200),
        ] {
            let answer = stored.answer(&Method::GET, &asks(fields), clock.now());
            assert_eq!(answer.status().as_u16(), want, "{fields:?}");
            assert_eq!(answer.headers().contains_key(CONTENT_LENGTH), want == 200, "{fields:?}");
        }
    }

    #[test]
    fn another_gateway_reads_what_one_wrote() {
        let clock = Clock::manual();
        clock.advance(Duration::from_secs(100));
        let first = stored(&clock);
        clock.advance(Duration::from_secs(5));
        let bytes = first.write(&clock);
        let other = Clock::manual();
        other.advance(Duration::from_secs(110));
        let Some(Read::Answer(second)) = read(bytes.clone(), &other) else { panic!("not read") };
        assert_eq!((second.status, &second.headers, &second.body), (first.status, &first.headers, &first.body));
        assert_eq!(second.age, Duration::from_secs(13), "3 s, and 10 that it was kept");
        assert_eq!(second.lifetime, Duration::from_secs(50));
        other.advance(Duration::from_secs(50));
        assert!(read(bytes.clone(), &other).is_none(), "it is over");
        for end in 0..bytes.len() - 4 {
            assert!(read(bytes[..end].to_vec(), &clock).is_none(), "cut off after {end} bytes");
        }
        let names = [http::header::ACCEPT, http::header::ORIGIN];
        let Some(Read::Variants(read)) = read(write_variants(&names), &clock) else { panic!("not read") };
        assert_eq!(read, names);
    }
}
