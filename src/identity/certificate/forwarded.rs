//! Certificates in headers: what a proxy in front tells of its client's, and what a backend is told.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls::pki_types::CertificateDer;

use super::{AlternativeName, ClientCertificate, ClientTrust, Name, from_hex, sha256};
use crate::clock::Nanos;
use crate::forwarded::split_quoted;

/// Envoy's header.
pub const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// RFC 9440 §2.2.
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// RFC 9440 §2.3.
pub const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// The most certificates of proxies that a worker remembers. Reading one costs tens of microseconds.
const REMEMBERED: usize = 256;

/// The most certificates of one chain.
const LONGEST_CHAIN: usize = 10;

thread_local! {
    static READ: RefCell<HashMap<Forwarded, Arc<ClientCertificate>>> = RefCell::default();
}

/// How a header tells of a certificate. The name of the header decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeaderFormat {
    /// Elements of `Hash`, `Cert`, `Subject` and others: Envoy, Istio, Linkerd, Azure Container Apps.
    Envoy,
    /// The certificate as a byte sequence (RFC 9440).
    Rfc9440,
    /// PEM, percent-encoded or not, or Base64 of DER: nginx, Traefik, App Service, application load balancers.
    Plain,
}

/// Which element of `X-Forwarded-Client-Cert` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Element {
    /// What the nearest proxy has added.
    #[default]
    Last,
    /// What the outermost proxy has written.
    First,
}

impl HeaderFormat {
    /// The format of a header.
    pub fn of(name: &HeaderName) -> Self {
        match name {
            _ if *name == X_FORWARDED_CLIENT_CERT => Self::Envoy,
            _ if *name == CLIENT_CERT => Self::Rfc9440,
            _ => Self::Plain,
        }
    }

    /// The header as it came; none when it did not come, or holds nothing.
    pub fn find(self, name: &HeaderName, element: Element, headers: &HeaderMap) -> Option<Forwarded> {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?;
        let more = values.next_back();
        let value = match (self, element) {
            (Self::Envoy, Element::Last) => more.unwrap_or(first),
            (Self::Envoy, Element::First) => first,
            // What cannot be a list came twice: which of them is the proxy's?
            _ if more.is_some() => return Some(Forwarded { format: self, element, value: None, chain: None }),
            _ => first,
        };
        // Apache and nginx send the header with nothing in it when there is no certificate.
        if matches!(value.as_bytes().trim_ascii(), b"" | b"(null)") {
            return None;
        }
        let chain = (self == Self::Rfc9440).then(|| headers.get(CLIENT_CERT_CHAIN).cloned()).flatten();
        Some(Forwarded { format: self, element, value: Some(value.clone()), chain })
    }
}

/// A header in which a trusted proxy tells of its client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forwarded {
    format: HeaderFormat,
    element: Element,
    value: Option<HeaderValue>,
    chain: Option<HeaderValue>,
}

/// Why a header tells of no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header that is no list.
    #[error("the proxy's header with the client's certificate came more than once")]
    Twice,
    /// Not in the format.
    #[error("the proxy's header with the client's certificate cannot be read")]
    Format,
    /// In the format, and what is in it is no certificate.
    #[error("what the proxy's header holds is no certificate")]
    Certificate,
    /// The digest is of another certificate.
    #[error("`Hash` and `Cert` of the proxy's header belong to different certificates")]
    Mismatch,
}

impl Forwarded {
    /// The certificate.
    ///
    /// # Errors
    /// When the header cannot be read.
    pub fn read(&self) -> Result<Arc<ClientCertificate>, HeaderError> {
        if let Some(known) = READ.with_borrow(|read| read.get(self).cloned()) {
            return Ok(known);
        }
        let certificate = Arc::new(self.parse()?);
        READ.with_borrow_mut(|read| {
            if read.len() >= REMEMBERED {
                read.clear();
            }
            read.insert(self.clone(), certificate.clone());
        });
        Ok(certificate)
    }

    fn parse(&self) -> Result<ClientCertificate, HeaderError> {
        let text = |value: &HeaderValue| value.to_str().map(str::to_owned).map_err(|_| HeaderError::Format);
        let value = text(self.value.as_ref().ok_or(HeaderError::Twice)?)?;
        let chain = match self.format {
            HeaderFormat::Envoy => {
                let elements = split_quoted(&value, b',').ok_or(HeaderError::Format)?;
                let element = match self.element {
                    Element::Last => elements.last(),
                    Element::First => elements.first(),
                };
                return envoy(&value[element.cloned().ok_or(HeaderError::Format)?]);
            }
            HeaderFormat::Rfc9440 => {
                let mut chain = vec![byte_sequence(&value)?];
                if let Some(rest) = &self.chain {
                    for item in text(rest)?.split(',') {
                        chain.push(byte_sequence(item)?);
                    }
                }
                chain
            }
            HeaderFormat::Plain => plain(&value)?,
        };
        certificate(chain)
    }
}

fn certificate(chain: Vec<CertificateDer<'static>>) -> Result<ClientCertificate, HeaderError> {
    if chain.len() > LONGEST_CHAIN {
        return Err(HeaderError::Format);
    }
    ClientCertificate::from_chain(chain, true).map_err(|_| HeaderError::Certificate)
}

/// RFC 8941 §3.3.5; parameters are allowed and say nothing here.
fn byte_sequence(item: &str) -> Result<CertificateDer<'static>, HeaderError> {
    let item = item.split(';').next().unwrap_or_default().trim();
    let inner = item.strip_prefix(':').and_then(|item| item.strip_suffix(':')).ok_or(HeaderError::Format)?;
    STANDARD.decode(inner).map(CertificateDer::from).map_err(|_| HeaderError::Format)
}

/// PEM with whatever white space a proxy has made of its line breaks, or Base64; several are separated by commas.
fn plain(value: &str) -> Result<Vec<CertificateDer<'static>>, HeaderError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let decoded = percent_decode_str(value).decode_utf8().map_err(|_| HeaderError::Format)?;
    let decode = |text: &str| {
        let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        STANDARD.decode(bare).map(CertificateDer::from).map_err(|_| HeaderError::Format)
    };
    if !decoded.contains(BEGIN) {
        return decoded.split(',').map(decode).collect();
    }
    let blocks = decoded.split(BEGIN).skip(1);
    blocks.map(|block| decode(block.split_once(END).ok_or(HeaderError::Format)?.0)).collect()
}

/// One element of Envoy's header:
/// <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>
fn envoy(element: &str) -> Result<ClientCertificate, HeaderError> {
    let (mut hash, mut subject, mut names) = (None, None, Vec::new());
    let (mut leaf, mut chain) = (None, Vec::new());
    for pair in split_quoted(element, b';').ok_or(HeaderError::Format)? {
        let (key, value) = element[pair].split_once('=').ok_or(HeaderError::Format)?;
        let value = value.trim();
        let value = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\\\"", "\""),
            None => value.to_owned(),
        };
        let name = |kind| AlternativeName { kind, value: value.as_str().into() };
        match key.trim().to_ascii_lowercase().as_str() {
            "hash" => {
                let bytes = from_hex(&value).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                hash = Some(bytes.ok_or(HeaderError::Format)?);
            }
            "cert" => leaf = plain(&value)?.into_iter().next(),
            "chain" => chain = plain(&value)?,
            "subject" if value.is_empty() => {}
            "subject" => subject = Some(Name::parse(&value).ok_or(HeaderError::Format)?),
            "uri" if !value.is_empty() => names.push(name("URI")),
            "dns" if !value.is_empty() => names.push(name("DNS")),
            // `By` is the proxy's own name; others may follow one day.
            _ => {}
        }
    }
    let leaf = leaf.or_else(|| chain.first().cloned());
    let Some(leaf) = leaf else {
        if hash.is_none() && subject.is_none() && names.is_empty() {
            return Err(HeaderError::Certificate);
        }
        return Ok(ClientCertificate::told(hash, subject, names));
    };
    if hash.is_some_and(|hash| hash != sha256(&leaf)) {
        return Err(HeaderError::Mismatch);
    }
    chain.retain(|other| *other != leaf);
    chain.insert(0, leaf);
    certificate(chain)
}

// === toward the backend ===

/// How a backend is told of the client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardAs {
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    Envoy,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    Rfc9440,
}

impl ForwardAs {
    /// Sets the headers for a certificate. What cannot stand in a header is left out.
    pub fn set(self, certificate: &ClientCertificate, headers: &mut HeaderMap) {
        match self {
            Self::Envoy => {
                if let Ok(value) = HeaderValue::try_from(element(certificate)) {
                    headers.insert(X_FORWARDED_CLIENT_CERT, value);
                }
            }
            Self::Rfc9440 => {
                let item = |certificate: &CertificateDer<'_>| format!(":{}:", STANDARD.encode(certificate));
                let Some((leaf, rest)) = certificate.chain().split_first() else { return };
                if let Ok(value) = HeaderValue::try_from(item(leaf)) {
                    headers.insert(CLIENT_CERT, value);
                }
                let rest: Vec<String> = rest.iter().map(item).collect();
                if let Some(value) = HeaderValue::try_from(rest.join(", ")).ok().filter(|_| !rest.is_empty()) {
                    headers.insert(CLIENT_CERT_CHAIN, value);
                }
            }
        }
    }
}

/// Keys in Envoy's order.
fn element(certificate: &ClientCertificate) -> String {
    /// What Envoy leaves as it is in PEM.
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\\\""));
    let mut pairs = Vec::new();
    if let Some(hash) = certificate.sha256() {
        pairs.push(format!("Hash={}", super::hex(hash).to_ascii_lowercase()));
    }
    if let Some(leaf) = certificate.chain().first() {
        let lines = STANDARD.encode(leaf);
        let lines: Vec<&str> = lines.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        pairs.push(format!("Cert=\"{}\"", utf8_percent_encode(&pem, KEPT)));
    }
    if let Some(subject) = certificate.subject() {
        pairs.push(format!("Subject={}", quoted(&subject.compact())));
    }
    for kind in ["URI", "DNS"] {
        for name in certificate.names().iter().filter(|name| name.kind == kind) {
            let special = name.value.contains([',', ';', '=', '"']);
            let value = if special { quoted(&name.value) } else { name.value.to_string() };
            pairs.push(format!("{kind}={value}"));
        }
    }
    pairs.join(";")
}

// === one request ===

/// What a proxy tells, and how it reads.
type Told = (Forwarded, OnceLock<Result<Arc<ClientCertificate>, HeaderError>>);

/// The certificate of a request's client.
#[derive(Debug)]
pub enum Presented {
    /// There is none.
    None(Absence),
    /// The client has shown it in the handshake of its connection.
    Connection(Arc<ClientCertificate>),
    /// A trusted proxy tells of it; read when it is first asked for.
    Header(Box<Told>),
}

/// Why there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// The client has shown none, if it was asked at all.
    #[default]
    NotShown,
    /// The trusted proxy's request does not have the header.
    NotTold,
    /// The header came from elsewhere.
    NotBelieved,
}

impl Default for Presented {
    fn default() -> Self {
        Self::None(Absence::default())
    }
}

impl Presented {
    /// What a trusted proxy tells.
    pub fn in_header(header: Forwarded) -> Self {
        Self::Header(Box::new((header, OnceLock::new())))
    }

    /// The certificate, when there is one.
    ///
    /// # Errors
    /// When what the proxy tells cannot be read.
    pub fn certificate(&self) -> Result<Option<&Arc<ClientCertificate>>, HeaderError> {
        match self {
            Self::None(_) => Ok(None),
            Self::Connection(certificate) => Ok(Some(certificate)),
            Self::Header(header) => {
                let (header, read) = &**header;
                read.get_or_init(|| header.read()).as_ref().map(Some).map_err(|error| *error)
            }
        }
    }
}

/// What is known and told of clients' certificates.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The header in which trusted proxies tell of their client's certificate.
    pub header: Option<(HeaderName, HeaderFormat, Element)>,
    /// Whether the listener asks for certificates.
    pub asks: bool,
    /// How backends are told.
    pub forward: Option<ForwardAs>,
    /// Who is believed.
    pub trust: Arc<ClientTrust>,
}

impl ClientCertificates {
    /// The certificate of a request's client: what a trusted proxy tells where one is asked, else what the connection's other
    /// end has shown.
    pub fn presented(
        &self,
        is_trusted: bool,
        connection: Option<&Arc<ClientCertificate>>,
        headers: &HeaderMap,
    ) -> Presented {
        match &self.header {
            // The certificate of the connection is then the proxy's own.
            Some((name, format, element)) if is_trusted => {
                format.find(name, *element, headers).map_or(Presented::None(Absence::NotTold), Presented::in_header)
            }
            header => connection.map_or_else(
                || match header {
                    Some((name, ..)) if headers.contains_key(name) => Presented::None(Absence::NotBelieved),
                    _ => Presented::None(Absence::NotShown),
                },
                |certificate| Presented::Connection(certificate.clone()),
            ),
        }
    }

    /// Takes the certificate's header off, and tells the backend what is known. Of a certificate from a connection it is told
    /// only when that was verified; what a trusted proxy tells is passed on.
    pub fn apply(&self, presented: &Presented, wall: SystemTime, now: Nanos, headers: &mut HeaderMap) {
        if let Some((name, ..)) = &self.header {
            headers.remove(name);
        }
        let Some(forward) = self.forward else { return };
        let Ok(Some(certificate)) = presented.certificate() else { return };
        let in_force = certificate.validity().is_some_and(|it| it.not_before <= wall && wall <= it.not_after);
        let verdict = || self.trust.verdict(certificate, wall, now);
        if certificate.is_forwarded() || (in_force && verdict().is_good()) {
            forward.set(certificate, headers);
        }
    }
}
