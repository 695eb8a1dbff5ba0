//! W3C Trace Context: valid `traceparent` and `tracestate` pass unchanged, anything else is replaced by a new root.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::hex;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-{trace id}-{parent id}-{flags}` (Trace Context §3.2).
const LEN: usize = 55;
/// The most members of a `tracestate` (Trace Context §3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The first 55 bytes of the `traceparent`.
    parent: [u8; LEN],
    is_root: bool,
}

impl TraceContext {
    /// Reads the trace of a request, or starts one. `sampled` is the flag of a trace started here: backends that follow
    /// their parent's decision record it or not.
    pub fn from_headers(headers: &HeaderMap, sampled: bool, random: &mut fastrand::Rng) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => match valid_parent(value.as_bytes()) {
                Some(parent) => Self { parent, is_root: false },
                None => Self::root(sampled, random),
            },
            _ => Self::root(sampled, random),
        }
    }

    /// A new trace.
    pub fn root(sampled: bool, random: &mut fastrand::Rng) -> Self {
        // All zeros is no id (Trace Context §3.2.2.3 and §3.2.2.4).
        let trace = random.u128(..).max(1);
        let span = random.u64(..).max(1);
        let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex::write(&mut parent[3..35], &trace.to_be_bytes());
        hex::write(&mut parent[36..52], &span.to_be_bytes());
        if sampled {
            parent[54] = b'1';
        }
        Self { parent, is_root: true }
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        std::str::from_utf8(&self.parent[3..35]).unwrap_or_default()
    }

    /// The parent's id: 16 hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        std::str::from_utf8(&self.parent[36..52]).unwrap_or_default()
    }

    /// Whether the trace was started here.
    pub fn is_root(&self) -> bool {
        self.is_root
    }

    /// Sets the fields of the request toward the backend. A trace that came in passes as it is, without a `tracestate`
    /// that is malformed (Trace Context §3.3); a new one replaces both fields.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if self.is_root {
            let parent = HeaderValue::from_bytes(&self.parent).expect("digits and hyphens are visible ASCII");
            headers.insert(TRACEPARENT, parent);
        }
        let keeps_state = !self.is_root && is_valid_state(headers);
        if !keeps_state {
            headers.remove(TRACESTATE);
        }
    }
}

/// The first 55 bytes of a valid `traceparent`.
fn valid_parent(value: &[u8]) -> Option<[u8; LEN]> {
    let parent: [u8; LEN] = value.get(..LEN)?.try_into().ok()?;
    let is_hex = |digits: &[u8]| digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |digits: &[u8]| digits.iter().all(|byte| *byte == b'0');
    let (version, trace, span, flags) = (&parent[..2], &parent[3..35], &parent[36..52], &parent[53..]);
    // §3.2.4: a later version may append fields after another hyphen; version 00 has none and ff is invalid.
    let fits = match version {
        b"00" => value.len() == LEN,
        b"ff" => false,
        _ => value.len() == LEN || value[LEN] == b'-',
    };
    let valid = fits
        && [2, 35, 52].iter().all(|at| parent[*at] == b'-')
        && [version, trace, span, flags].into_iter().all(is_hex)
        && !is_zero(trace)
        && !is_zero(span);
    valid.then_some(parent)
}

fn is_valid_state(headers: &HeaderMap) -> bool {
    let mut members = 0;
    headers.get_all(TRACESTATE).iter().all(|line| {
        line.to_str().is_ok_and(|line| {
            line.split(',').map(|member| member.trim_matches([' ', '\t'])).all(|member| {
                // §3.3.1.1: empty members are allowed.
                member.is_empty() || {
                    members += 1;
                    members <= MAX_MEMBERS && is_valid_member(member)
                }
            })
        })
    })
}

fn is_valid_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    (1..=256).contains(&key.len())
        && key.as_bytes()[0].is_ascii_alphanumeric()
        && key.bytes().all(is_key)
        && key.matches('@').count() <= 1
        && (1..=256).contains(&value.len())
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value"))).collect()
    }

    #[test]
    fn parents() {
        for (value, valid) in [
            (VALID, true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x", false),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g", false),
            ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("", false),
        ] {
            let mut headers = headers(&[(TRACEPARENT, value), (TRACESTATE, "a=1")]);
            let context = TraceContext::from_headers(&headers, false, &mut fastrand::Rng::with_seed(1));
            assert_eq!(!context.is_root(), valid, "{value}");
            context.apply(&mut headers);
            assert_eq!(headers[TRACEPARENT] == value, valid, "{value}");
            assert_eq!(headers.contains_key(TRACESTATE), valid, "{value}");
            let written = headers[TRACEPARENT].to_str().expect("ASCII");
            assert_eq!(&written[3..35], context.trace_id(), "{value}");
            assert_eq!(&written[36..52], context.parent_id(), "{value}");
        }
    }

    #[test]
    fn a_new_root() {
        let mut random = fastrand::Rng::with_seed(1);
        for (name, sent, sampled) in [
            ("absent", headers(&[]), true),
            ("absent", headers(&[]), false),
            ("twice", headers(&[(TRACEPARENT, VALID), (TRACEPARENT, VALID)]), true),
            ("a state alone", headers(&[(TRACESTATE, "a=1")]), true),
        ] {
            let mut headers = sent;
            let context = TraceContext::from_headers(&headers, sampled, &mut random);
            context.apply(&mut headers);
            assert!(context.is_root(), "{name}");
            let lines: Vec<_> = headers.get_all(TRACEPARENT).iter().collect();
            assert_eq!(lines.len(), 1, "{name}");
            assert!(valid_parent(lines[0].as_bytes()).is_some(), "{name}: {lines:?}");
            assert_eq!(lines[0].as_bytes().ends_with(b"-01"), sampled, "{name}");
            assert!(!headers.contains_key(TRACESTATE), "{name}");
        }
    }

    #[test]
    fn states() {
        let most = vec!["a=1"; 32].join(",");
        let too_many = vec!["a=1"; 33].join(",");
        let long = format!("a={}", "x".repeat(256));
        let too_long = format!("a={}", "x".repeat(257));
        for (state, valid) in [
            ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", true),
            ("a=1,, b=2 ,", true),
            ("fw529a3039@dt=FfAB", true),
            (&*most, true),
            (&*too_many, false),
            (&*long, true),
            (&*too_long, false),
            ("a", false),
            ("a=", false),
            ("=1", false),
            ("A=1", false),
            ("a=1=2", false),
            ("a b=1", false),
            ("a@b@c=1", false),
        ] {
            let mut headers = headers(&[(TRACEPARENT, VALID), (TRACESTATE, state)]);
            let context = TraceContext::from_headers(&headers, false, &mut fastrand::Rng::with_seed(1));
            context.apply(&mut headers);
            assert_eq!(headers[TRACEPARENT], VALID, "{state}");
            assert_eq!(headers.get(TRACESTATE).is_some_and(|kept| kept == state), valid, "{state}");
        }
    }
}
