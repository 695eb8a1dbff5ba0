//! What the tests here share: keys, tokens, and an issuer on a loopback socket that behaves as badly as told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Signing, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/", $name))
    };
}
pub(super) use fixture;

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A key to sign with: a library of its own, so that signing and verifying do not share mistakes.
pub(crate) struct Signer {
    key: EncodingKey,
    algorithm: Signing,
}

impl Signer {
    pub(crate) fn rsa_a(algorithm: Signing) -> Self {
        Self { key: EncodingKey::from_rsa_pem(fixture!("rsa-a.pem").as_bytes()).unwrap(), algorithm }
    }

    pub(crate) fn rsa_b(algorithm: Signing) -> Self {
        Self { key: EncodingKey::from_rsa_pem(fixture!("rsa-b.pem").as_bytes()).unwrap(), algorithm }
    }

    pub(crate) fn p256() -> Self {
        let key = EncodingKey::from_ec_pem(fixture!("p256.pem").as_bytes()).unwrap();
        Self { key, algorithm: Signing::ES256 }
    }

    pub(crate) fn p384() -> Self {
        let key = EncodingKey::from_ec_pem(fixture!("p384.pem").as_bytes()).unwrap();
        Self { key, algorithm: Signing::ES384 }
    }

    pub(crate) fn ed25519() -> Self {
        let key = EncodingKey::from_ed_pem(fixture!("ed25519.pem").as_bytes()).unwrap();
        Self { key, algorithm: Signing::EdDSA }
    }

    pub(crate) fn secret(secret: &[u8], algorithm: Signing) -> Self {
        Self { key: EncodingKey::from_secret(secret), algorithm }
    }

    /// Signs texts as they are, so that a test can write what no library would.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }

    pub(crate) fn token(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = json!({ "alg": format!("{:?}", self.algorithm), "typ": "JWT" });
        if let Some(kid) = kid {
            header["kid"] = json!(kid);
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// The public half as an issuer publishes it.
    pub(crate) fn jwk(&self, kid: Option<&str>) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk["use"] = json!("sig");
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }
}

/// How the issuer answers one path.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(Value),
    Bytes(Vec<u8>),
    /// What is made of the request, head and body.
    Made(fn(&str) -> Value),
    /// The whole answer, head and all.
    Raw(Vec<u8>),
    /// A body that never ends, a byte at a time, so that no single read takes long.
    Drip,
    Status(u16),
    Redirect(String),
    /// A chunked body without end.
    Endless,
    /// `content-length` announces this many bytes.
    Announce(u64),
    /// The head, and then nothing.
    Stall,
    /// The connection is closed at once.
    Close,
}

/// An HTTP/1.1 server that answers from a table and counts what it was asked.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    pub(crate) hits: AtomicUsize,
    answers: Mutex<Vec<(String, Answer)>>,
    /// What was asked, head and body.
    pub(crate) requests: Mutex<Vec<String>>,
    /// Each answer takes a permit, so that a test can hold one back.
    pub(crate) gate: Semaphore,
    /// Gains a permit with each request.
    pub(crate) asked: Semaphore,
}

impl Issuer {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            hits: AtomicUsize::new(0),
            answers: Mutex::default(),
            requests: Mutex::default(),
            gate: Semaphore::new(1_000),
            asked: Semaphore::new(0),
        });
        let serving = Arc::clone(&issuer);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&serving).serve(socket));
            }
        });
        issuer
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        let mut answers = self.answers.lock();
        answers.retain(|(known, _)| known != path);
        answers.push((path.to_owned(), answer));
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.answer("/keys", Answer::Json(json!({ "keys": keys })));
    }

    async fn serve(self: Arc<Self>, mut socket: tokio::net::TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let mut request = String::from_utf8(head).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if socket.read_exact(&mut body).await.is_err() {
            return;
        }
        request.push_str(&String::from_utf8(body).unwrap());
        self.requests.lock().push(request.clone());
        self.hits.fetch_add(1, Ordering::SeqCst);
        self.asked.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        let answer = self.answers.lock().iter().find(|(known, _)| *known == path).map(|(_, answer)| answer.clone());
        let plain = |status: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        };
        let bytes = match answer.unwrap_or(Answer::Status(404)) {
            Answer::Json(value) => plain("200 OK", value.to_string().as_bytes()),
            Answer::Bytes(body) => plain("200 OK", &body),
            Answer::Made(make) => plain("200 OK", make(&request).to_string().as_bytes()),
            Answer::Raw(bytes) => bytes,
            Answer::Drip => {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
                let mut beat = tokio::time::interval(std::time::Duration::from_millis(10));
                while socket.write_all(b" ").await.is_ok() {
                    beat.tick().await;
                }
                return;
            }
            Answer::Status(status) => plain(&format!("{status} Told So"), b"{\"keys\":[]}"),
            Answer::Redirect(to) => {
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
            }
            Answer::Announce(length) => format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes(),
            Answer::Endless => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            Answer::Stall => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(),
            Answer::Close => return,
        };
        let endless = bytes.ends_with(b"chunked\r\n\r\n");
        let _ = socket.write_all(&bytes).await;
        let chunk = [b"8000\r\n".as_slice(), &[b' '; 0x8000], b"\r\n"].concat();
        while endless && socket.write_all(&chunk).await.is_ok() {}
        // Until the client closes: an answer that stalls must not end early.
        let _ = socket.read(&mut [0; 64]).await;
    }
}
