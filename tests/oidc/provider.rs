//! The two providers, and what a test gets from them: real tokens, and the keys to make wrong ones.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use sluicegate::clock::Clock;
use sluicegate::issuer::{Handle, Options, spawn};
use tempfile::TempDir;

use super::support::wire::{Connection, Message};

pub(super) const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys");
const VERIFIER: &str = "a-verifier-of-no-less-than-43-characters-in-all";
/// The S256 of the verifier (RFC 7636 §4.2).
const CHALLENGE: &str = "mSyhXloeBnwSgQzNL7m-Zri1Eaz2MlqhvbrPXWrPjVM";

/// What keeps a provider alive.
enum Running {
    /// Ends when its standard input does.
    Node(Child),
    Local {
        _handle: Handle,
        _keys: TempDir,
    },
}

/// A provider.
pub(super) struct Provider {
    /// The `iss` of its tokens.
    pub(super) issuer: String,
    pub(super) discovery: String,
    /// Its RSA key, of which it publishes the public half.
    pub(super) key: Signer,
    address: SocketAddr,
    running: Running,
}

/// What a token is to be like.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// For the API, with a scope, roles, `level` and `groups`.
    Good,
    /// By the authorization code flow with PKCE.
    SignedIn,
    /// For another API.
    OtherAudience,
    /// Without a scope.
    NoScope,
    /// Signed with another of its keys, by another algorithm.
    OtherAlgorithm,
    /// Good for a minute.
    Short,
    /// Encrypted.
    Encrypted,
}

impl Provider {
    /// npm's `oidc-provider`.
    pub(super) fn node() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oidc");
        assert!(
            Path::new(folder).join("node_modules/oidc-provider").is_dir(),
            "the provider is not installed: `tests/run` does it, or `npm ci --prefix tests/oidc`"
        );
        let keys = [("a", "rsa-a.pem"), ("b", "rsa-b.pem"), ("ec", "p256.pem")];
        let mut child = Command::new("node")
            .arg(format!("{folder}/provider.mjs"))
            .args(keys.map(|(kid, file)| format!("{kid}={KEYS}/{file}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js, which `tests/run` installs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the port of the provider");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let issuer = format!("http://{address}");
        let discovery = format!("{issuer}/.well-known/openid-configuration");
        let provider =
            Self { issuer, discovery, key: Signer::rsa("rsa-a.pem", "a"), address, running: Running::Node(child) };
        provider.publish("a,ec");
        provider
    }

    /// `sluicegate issuer`, with the same keys.
    pub(super) fn local(clock: Clock) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let file = keys.path().join("keys.pem");
        let pem = ["rsa-a.pem", "p256.pem"].map(|name| std::fs::read_to_string(format!("{KEYS}/{name}")).unwrap());
        std::fs::write(&file, pem.concat()).unwrap();
        let algorithms = ["RS256", "ES256"].map(|name| name.parse().unwrap()).to_vec();
        let options = Options { algorithms, key_file: Some(file), ..Options::default() };
        let (issuer, handle) = spawn(options, ([127, 0, 0, 1], 0).into(), clock).unwrap();
        let url = issuer.url().to_owned();
        Self {
            address: url.strip_prefix("http://").unwrap().parse().unwrap(),
            discovery: format!("{url}/.well-known/openid-configuration"),
            key: Signer::rsa("rsa-a.pem", issuer.keys().current(None).unwrap().id()),
            issuer: url,
            running: Running::Local { _handle: handle, _keys: keys },
        }
    }

    /// A token of the provider's own making.
    pub(super) fn token(&self, wanted: Wanted) -> String {
        match (&self.running, wanted) {
            (Running::Node(_), Wanted::SignedIn) => self.signed_in("/auth", "app"),
            (Running::Node(_), wanted) => {
                let resource = match wanted {
                    Wanted::OtherAudience => "urn:invoices",
                    Wanted::OtherAlgorithm => "urn:orders:es256",
                    Wanted::Short => "urn:orders:short",
                    Wanted::Encrypted => "urn:orders:encrypted",
                    _ => "urn:orders",
                };
                let scope = if matches!(wanted, Wanted::NoScope) { "" } else { "&scope=orders.read" };
                let form = format!("grant_type=client_credentials&resource={resource}{scope}");
                self.granted(&form, Some("service:secret"))
            }
            (Running::Local { .. }, Wanted::SignedIn) => self.signed_in("/authorize", "app"),
            (Running::Local { .. }, Wanted::NoScope) => {
                self.granted("grant_type=client_credentials&resource=urn:orders", Some("service:secret"))
            }
            // It encrypts nothing; this is what such a token looks like.
            (Running::Local { .. }, Wanted::Encrypted) => {
                format!("{}.a2V5.aXY.Y2lwaGVydGV4dA.dGFn", encode(&json!({ "alg": "RSA-OAEP", "enc": "A256GCM" })))
            }
            (Running::Local { .. }, wanted) => {
                let mut request = json!({
                    "audiences": ["urn:orders"], "scopes": ["orders.read"], "roles": ["reader", "writer"],
                    "claims": { "level": 3, "groups": "sales,support" },
                });
                match wanted {
                    Wanted::OtherAudience => request["audiences"] = json!(["urn:invoices"]),
                    Wanted::OtherAlgorithm => request["algorithm"] = json!("ES256"),
                    Wanted::Short => request["lifetime"] = json!(60),
                    _ => {}
                }
                let answer = self.send("POST", "/-/mint", &[], request.to_string().as_bytes());
                token_of(&answer)
            }
        }
    }

    /// A token by client credentials.
    fn granted(&self, form: &str, basic: Option<&str>) -> String {
        let basic = basic.map(|text| ("authorization".to_owned(), format!("Basic {}", STANDARD.encode(text))));
        let form_type = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        let fields: Vec<_> = basic.into_iter().chain([form_type]).collect();
        token_of(&self.send("POST", "/token", &fields, form.as_bytes()))
    }

    /// A token by the authorization code flow with PKCE, as a browser goes through it.
    fn signed_in(&self, path: &str, client: &str) -> String {
        let redirect = "http://127.0.0.1/callback";
        let mut target = format!(
            "{path}?client_id={client}&response_type=code&redirect_uri={redirect}&scope=openid%20orders.read&resource=urn:orders\
             &state=s&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        let mut cookies: Vec<(String, String)> = Vec::new();
        for _ in 0..8 {
            let jar = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
            let answer = self.send("GET", &target, &[("cookie".to_owned(), jar)], b"");
            for (name, value) in answer.fields_of("set-cookie").filter_map(|set| set.split(';').next()?.split_once('='))
            {
                cookies.retain(|(known, _)| known != name);
                if !value.is_empty() {
                    cookies.push((name.to_owned(), value.to_owned()));
                }
            }
            let location = answer.field("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
            if let Some(query) = location.strip_prefix(&format!("{redirect}?")) {
                let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                assert_eq!(value("state"), Some("s"));
                let code = value("code").unwrap_or_else(|| panic!("{query}"));
                let form = format!(
                    "grant_type=authorization_code&client_id={client}&code={code}&redirect_uri={redirect}&code_verifier={VERIFIER}"
                );
                return self.granted(&form, None);
            }
            target = location.strip_prefix(&self.issuer).unwrap_or(&location).to_owned();
        }
        panic!("redirected in circles: {target}");
    }

    /// Puts keys of `oidc-provider` in force, the first of which signs.
    pub(super) fn publish(&self, keys: &str) {
        self.send("POST", &format!("/-/keys?use={keys}"), &[], b"");
    }

    /// Ends a provider that is a process of its own.
    pub(super) fn stop(&mut self) {
        if let Running::Node(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends what must be answered with success or a redirect.
    pub(super) fn send(&self, method: &str, target: &str, fields: &[(String, String)], body: &[u8]) -> Message {
        let mut head =
            format!("{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.address, body.len());
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let mut connection = Connection::open(self.address);
        connection.send(&[head.as_bytes(), b"connection: close\r\n\r\n", body].concat());
        let answer = connection.response(method).unwrap();
        let status = answer.first_line.split(' ').nth(1).unwrap();
        assert!(status.starts_with(['2', '3']), "{target}: {}", String::from_utf8_lossy(&answer.body));
        answer
    }

    /// Claims of a good token at this time.
    pub(super) fn claims(&self, now: u64) -> Value {
        json!({ "iss": self.issuer, "aud": "urn:orders", "sub": "ann", "iat": now, "exp": now + 3600 })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

fn token_of(answer: &Message) -> String {
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A key to sign with: a library of its own, so that signing and verifying do not share mistakes.
pub(super) struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    pub(super) kid: String,
}

impl Signer {
    pub(super) fn rsa(file: &str, kid: &str) -> Self {
        let pem = std::fs::read(format!("{KEYS}/{file}")).unwrap();
        Self { key: EncodingKey::from_rsa_pem(&pem).unwrap(), algorithm: Algorithm::RS256, kid: kid.to_owned() }
    }

    /// HMAC with the published half of the provider's key as the secret.
    pub(super) fn confused(kid: &str) -> Self {
        let public = std::fs::read(format!("{KEYS}/rsa-a.pub.pem")).unwrap();
        Self { key: EncodingKey::from_secret(&public), algorithm: Algorithm::HS256, kid: kid.to_owned() }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": format!("{:?}", self.algorithm), "typ": "at+jwt", "kid": self.kid });
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

pub(super) fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
