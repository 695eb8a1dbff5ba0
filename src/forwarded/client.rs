//! The client's address behind trusted proxies, and the forwarding fields toward the backend.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use http::header::{Entry, FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use smallvec::SmallVec;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Which fields tell of the client, both those believed and those sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The scheme that the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// Reads it as it is written in a URL, in any case.
    fn parse(text: &[u8]) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|scheme| text.eq_ignore_ascii_case(scheme.as_str().as_bytes()))
    }

    /// As it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// How the client reached the proxies in front, as far as they tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The scheme that it used.
    pub scheme: Option<Scheme>,
    /// The host that it named; not checked.
    pub host: Option<HeaderValue>,
}

/// The address ranges whose word about the client is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    /// Whether the address, taken as IPv4 when it is an IPv4-mapped IPv6 address, is in one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }
}

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = IpNet>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// The other end of a connection, worked out once for all of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    address: IpAddr,
    is_trusted: bool,
    scheme: Scheme,
    text: HeaderValue,
}

impl Peer {
    /// The address; IPv4 when the socket shows an IPv4-mapped IPv6 address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it is one of the trusted proxies.
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }
}

/// Reads and writes the forwarding fields.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    trusted: TrustedProxies,
    fields: Fields,
}

impl Forwarding {
    /// Forwarding with these proxies and fields.
    pub fn new(trusted: TrustedProxies, fields: Fields) -> Self {
        Self { trusted, fields }
    }

    /// Which fields are believed of somebody at this address; none when he is not trusted.
    pub fn believed_of(&self, address: IpAddr) -> Option<Fields> {
        self.trusted.contains(address).then_some(self.fields)
    }

    /// Looks at a new connection.
    pub fn peer(&self, socket: SocketAddr, scheme: Scheme) -> Peer {
        let address = socket.ip().to_canonical();
        let text = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
        Peer { address, is_trusted: self.trusted.contains(address), scheme, text }
    }

    /// The client's address: the nearest hop, seen from here, that is not a trusted proxy.
    ///
    /// The chain is read from right to left, because only its end was written by someone trusted. A hop that gives no
    /// address (`unknown`, `_hidden`, nonsense) ends it at the proxy that wrote it.
    pub fn client(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        if peer.is_trusted { self.hops(peer, headers).0 } else { peer.address }
    }

    /// The client's address behind a trusted peer, and the number of trusted proxies beyond that peer.
    fn hops(&self, peer: &Peer, headers: &HeaderMap) -> (IpAddr, usize) {
        let (mut client, mut proxies) = (peer.address, 0);
        let mut visit = |hop: Option<IpAddr>| {
            let Some(address) = hop else { return false };
            client = address;
            let is_proxy = self.trusted.contains(address);
            proxies += usize::from(is_proxy);
            is_proxy
        };
        match self.fields {
            Fields::XForwarded => {
                'lines: for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
                    let Ok(line) = line.to_str() else { break };
                    for hop in line.rsplit(',') {
                        if !visit(parse_node(hop.trim())) {
                            break 'lines;
                        }
                    }
                }
            }
            Fields::Forwarded => {
                'lines: for line in headers.get_all(FORWARDED).iter().rev() {
                    let Some(line) = line.to_str().ok() else { break };
                    let Some(elements) = split_quoted(line, b',') else { break };
                    for element in elements.into_iter().rev() {
                        if !visit(forwarded_for(&line[element])) {
                            break 'lines;
                        }
                    }
                }
            }
        }
        (client, proxies)
    }

    /// The scheme and the host that the client used, by the word of trusted proxies.
    ///
    /// Of a list that they have made together, the entry counts that the outermost of them wrote: what stands before it came from the
    /// client. A field with one value was written by the one that set it last.
    pub fn outside(&self, peer: &Peer, headers: &HeaderMap) -> Outside {
        if !peer.is_trusted {
            return Outside::default();
        }
        match self.fields {
            Fields::XForwarded => {
                let one = |name: HeaderName| {
                    let mut lines = headers.get_all(name).iter();
                    let first = lines.next()?;
                    if lines.next().is_none() && !first.as_bytes().contains(&b',') { Some(first.clone()) } else { None }
                };
                // Several values are rare; then it matters how many proxies there are.
                let several = |name: HeaderName| {
                    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
                    let values: SmallVec<[&str; 4]> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
                    let last = values.len().checked_sub(1)?;
                    let place = last - self.hops(peer, headers).1.min(last);
                    HeaderValue::from_str(values.get(place)?).ok()
                };
                let value = |name: HeaderName| one(name.clone()).or_else(|| several(name));
                let scheme = value(X_FORWARDED_PROTO).and_then(|value| Scheme::parse(value.as_bytes()));
                Outside { scheme, host: value(X_FORWARDED_HOST) }
            }
            Fields::Forwarded => {
                let lines = headers.get_all(FORWARDED).iter().filter_map(|line| line.to_str().ok());
                let mut elements: SmallVec<[&str; 4]> = SmallVec::new();
                for line in lines {
                    let Some(parts) = split_quoted(line, b',') else { return Outside::default() };
                    elements.extend(parts.into_iter().map(|part| &line[part]));
                }
                let Some(last) = elements.len().checked_sub(1) else { return Outside::default() };
                let element = elements[last - self.hops(peer, headers).1.min(last)];
                let value = |name: &str| parameter(element, name);
                let scheme = value("proto").and_then(|value| Scheme::parse(value.as_bytes()));
                Outside { scheme, host: value("host").and_then(|value| HeaderValue::from_str(value).ok()) }
            }
        }
    }

    /// Sets the forwarding fields of the request toward the backend.
    ///
    /// What an untrusted peer sent is replaced, so that it cannot speak for others; what a trusted proxy sent is kept and
    /// the proxy itself appended. The family of fields that is not in use is removed in either case: the proxy that
    /// guards one may let the client write the other.
    pub fn apply(&self, peer: &Peer, host: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let in_use = |name: &HeaderName| match self.fields {
            Fields::XForwarded => name != FORWARDED,
            Fields::Forwarded => name == FORWARDED,
        };
        let doomed: SmallVec<[HeaderName; 4]> = headers
            .keys()
            .filter(|name| is_certificate(name) || (is_forwarding(name) && !(peer.is_trusted && in_use(name))))
            .cloned()
            .collect();
        for name in &doomed {
            headers.remove(name);
        }
        match self.fields {
            Fields::XForwarded => {
                if !peer.is_trusted {
                    // Nothing is left of what came.
                    headers.append(X_FORWARDED_FOR, peer.text.clone());
                    headers.append(X_FORWARDED_PROTO, HeaderValue::from_static(peer.scheme.as_str()));
                    if let Some(host) = host {
                        headers.append(X_FORWARDED_HOST, host.clone());
                    }
                    return;
                }
                append(headers, X_FORWARDED_FOR, &peer.text);
                if let Entry::Vacant(vacant) = headers.entry(X_FORWARDED_PROTO) {
                    vacant.insert(HeaderValue::from_static(peer.scheme.as_str()));
                }
                if let Some(host) = host
                    && let Entry::Vacant(vacant) = headers.entry(X_FORWARDED_HOST)
                {
                    vacant.insert(host.clone());
                }
            }
            Fields::Forwarded => {
                if let Some(element) = element(peer, host) {
                    append(headers, FORWARDED, &element);
                }
            }
        }
    }
}

/// Fields by which a proxy speaks about the client. Backends believe them.
fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip" | "x-original-forwarded-for")
}

/// Fields by which a proxy speaks about the client's certificate. They never pass as they came: who is believed, and what a
/// backend is told, is settled elsewhere.
fn is_certificate(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "x-forwarded-client-cert"
            | "x-forwarded-tls-client-cert"
            | "x-forwarded-tls-client-cert-info"
            | "client-cert"
            | "client-cert-chain"
            | "ssl-client-cert"
            | "x-arr-clientcert"
    )
}

/// Puts the value at the end of a list field, as one line.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut lines = headers.get_all(&name).iter().peekable();
    if lines.peek().is_none() {
        headers.insert(name, value.clone());
        return;
    }
    let mut joined = Vec::new();
    for line in lines {
        joined.extend_from_slice(line.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(value.as_bytes());
    // Joined from valid values, it is one.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(name, joined);
    }
}

/// This hop as an element of `Forwarded` (RFC 7239 §4).
fn element(peer: &Peer, host: Option<&HeaderValue>) -> Option<HeaderValue> {
    let mut text = String::with_capacity(96);
    // RFC 7239 §6: an IPv6 address is in brackets, and then quoted.
    let _ = match peer.address {
        IpAddr::V4(address) => write!(text, "for={address}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    };
    let _ = write!(text, ";proto={}", peer.scheme.as_str());
    if let Some(host) = host.and_then(|host| host.to_str().ok()) {
        text.push_str(";host=\"");
        for character in host.chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    HeaderValue::try_from(text).ok()
}

/// The address of a node: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let address = match node.strip_prefix('[') {
        Some(rest) => {
            let (inside, port) = rest.split_once(']')?;
            let port = port.strip_prefix(':').or_else(|| port.is_empty().then_some("0"))?;
            port.parse::<u16>().ok()?;
            IpAddr::V6(inside.parse().ok()?)
        }
        None => match node.parse() {
            Ok(address) => address,
            Err(_) => node.parse::<std::net::SocketAddrV4>().ok()?.ip().to_owned().into(),
        },
    };
    Some(address.to_canonical())
}

/// The address in the `for` parameter of an element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in split_quoted(element, b';')? {
        let Some((name, value)) = element[pair].split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            let value = value.trim();
            let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            found = Some(parse_node(value)?);
        }
    }
    found
}

/// The value of a parameter of an element, without its quotes.
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    split_quoted(element, b';')?.into_iter().find_map(|pair| {
        let (found, value) = element[pair].split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        found.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// Splits at a separator outside quoted strings; nothing when a string is not closed.
pub fn split_quoted(text: &str, separator: u8) -> Option<SmallVec<[Range<usize>; 8]>> {
    let mut parts = SmallVec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if byte == separator && !is_quoted => {
                parts.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(start..text.len());
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests;
