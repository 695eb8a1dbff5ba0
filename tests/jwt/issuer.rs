//! Signers, and an issuer on a loopback socket that behaves as badly as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::wire::PATIENCE;

pub(crate) const RSA_A: &str = include_str!("../fixtures/keys/rsa-a.pem");
const RSA_B: &str = include_str!("../fixtures/keys/rsa-b.pem");
const P256: &str = include_str!("../fixtures/keys/p256.pem");

pub(crate) struct Signer {
    pub(crate) key: EncodingKey,
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: &'static str,
}

impl Signer {
    pub(crate) fn rsa(pem: &str, algorithm: Algorithm, kid: &'static str) -> Self {
        Self { key: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), algorithm, kid }
    }

    pub(crate) fn a() -> Self {
        Self::rsa(RSA_A, Algorithm::RS256, "a")
    }

    pub(crate) fn b() -> Self {
        Self::rsa(RSA_B, Algorithm::RS256, "b")
    }

    pub(crate) fn p256() -> Self {
        Self { key: EncodingKey::from_ec_pem(P256.as_bytes()).unwrap(), algorithm: Algorithm::ES256, kid: "ec" }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": format!("{:?}", self.algorithm), "kid": self.kid });
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk["kid"] = json!(self.kid);
        jwk
    }
}

pub(crate) fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// How the issuer answers when it is asked for its keys.
#[derive(Clone)]
pub(crate) enum Answer {
    Keys(Vec<Value>),
    Status(u16),
    /// To its other path, which would have the keys.
    Redirect,
    /// More bytes than any key set has.
    Huge,
    /// Connections are closed without a word.
    Down,
}

/// An issuer with a discovery document and a key set.
pub(crate) struct Issuer {
    address: SocketAddr,
    answer: Mutex<Answer>,
    /// How often it was asked for its keys.
    hits: AtomicUsize,
    /// How often it was asked for what a redirect names.
    pub(crate) strayed: AtomicUsize,
    /// While there is one, each answer waits for a word, after saying that it was asked.
    pub(crate) gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Issuer {
    pub(crate) fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            answer: Mutex::new(answer),
            hits: AtomicUsize::new(0),
            strayed: AtomicUsize::new(0),
            gate: Mutex::new(None),
        });
        let serving = issuer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serving.serve(stream);
            }
        });
        issuer
    }

    pub(crate) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `iss` of a tenant's tokens.
    pub(crate) fn of_tenant(&self, tenant: &str, version: u8) -> String {
        if version == 2 {
            format!("{}/{tenant}/v2.0", self.name())
        } else {
            format!("https://sts.windows.net/{tenant}/")
        }
    }

    /// A discovery document as Entra ID writes it: the issuer has the id of the tenant even where the URL has its domain, and a
    /// template where it has none.
    fn entra(&self, tenant: &str, version: u8) -> Value {
        let id = match tenant {
            "common" | "organizations" => "{tenantid}",
            "contoso.test" => CONTOSO,
            id => id,
        };
        json!({ "issuer": self.of_tenant(id, version), "jwks_uri": format!("{}/{tenant}/discovery/keys", self.name()) })
    }

    pub(crate) fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Holds answers back: the one end hears of each request, the other lets it be answered.
    pub(crate) fn hold(&self) -> (Receiver<()>, Sender<()>) {
        let (asked, heard) = channel();
        let (release, word) = channel();
        *self.gate.lock().unwrap() = Some((asked, word));
        (heard, release)
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(first)) = lines.next() else { return };
        for line in lines.by_ref() {
            if line.is_ok_and(|line| line.is_empty()) {
                break;
            }
        }
        let path = first.split(' ').nth(1).unwrap();
        let text = |body: &Value| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
        if path == "/.well-known/openid-configuration" {
            let document = json!({ "issuer": self.name(), "jwks_uri": format!("{}/keys", self.name()) });
            let _ = stream.write_all(text(&document).as_bytes());
            return;
        }
        if let Some((tenant, version)) = entra(path) {
            let _ = stream.write_all(text(&self.entra(tenant, version)).as_bytes());
            return;
        }
        if path == "/elsewhere" {
            self.strayed.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(text(&json!({ "keys": [Signer::a().jwk()] })).as_bytes());
            return;
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        if let Some((asked, word)) = &*self.gate.lock().unwrap() {
            asked.send(()).unwrap();
            word.recv_timeout(PATIENCE).unwrap();
        }
        let answer = self.answer.lock().unwrap().clone();
        let bytes = match answer {
            Answer::Keys(keys) => text(&json!({ "keys": keys })).into_bytes(),
            Answer::Status(status) => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").into_bytes(),
            Answer::Redirect => b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Answer::Huge => text(&json!({ "keys": [Signer::a().jwk()], "padding": "x".repeat(2 << 20) })).into_bytes(),
            Answer::Down => return,
        };
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // A client that stops reading must not be cut off before it says so.
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// The tenant whose domain is `contoso.test`.
pub(crate) const CONTOSO: &str = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb";

/// The tenant and the version of a discovery document's path.
fn entra(path: &str) -> Option<(&str, u8)> {
    let tenant = path.strip_suffix("/.well-known/openid-configuration")?.strip_prefix('/')?;
    Some(tenant.strip_suffix("/v2.0").map_or((tenant, 1), |tenant| (tenant, 2)))
}
