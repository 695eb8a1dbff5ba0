//! What tokens do to everybody else, over sockets: the latency of other requests while 1,000 new tokens a second are verified, and
//! the gateway's memory after 1,000,000 bad ones.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/", $name))
    };
}

/// How many connections each kind of traffic has, so that every worker gets some.
const CONNECTIONS: usize = 4;
/// Requests a second of each kind.
const RATE: usize = 1_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The program, with an open API and one for each kind of key.
struct Gateway {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = URL_SAFE_NO_PAD.encode(SECRET);
        let public = fixture!("rsa-a.pub.pem");
        let api = |name: &str, key: String| {
            let policy = match key.as_str() {
                "" => String::new(),
                key => format!(
                    "[[inbound]]\npolicy = \"validate-jwt\"\naudiences = [\"api://orders\"]\nkeys = [{{ id = \"key\", {key} }}]\n"
                ),
            };
            let text = format!(
                "[api]\nname = \"{name}\"\npath = \"/{name}\"\n\n{policy}\n[[inbound]]\npolicy = \"return-response\"\n\n\
                 [[operation]]\nname = \"Get\"\nmatch = \"GET /\"\n"
            );
            std::fs::write(folder.path().join(format!("{name}.toml")), text).expect("a file");
        };
        std::fs::write(folder.path().join("gateway.toml"), "").expect("a file");
        api("open", String::new());
        api("rsa", format!("pem = \"\"\"{public}\"\"\""));
        api("secret", format!("secret = \"{secret}\""));
        let mut child = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .arg("run")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.trim_start().starts_with("gateway ")).expect("it tells its address");
        let address = line.rsplit("://").next().and_then(|address| address.trim().parse().ok()).expect("an address");
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, _folder: folder }
    }

    /// Its memory in KiB, as the kernel counts it.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_nodelay(true).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// Sends `requests` and gives the status of each answer.
    fn exchange(&mut self, requests: &[String]) -> Vec<u16> {
        self.0.get_mut().write_all(requests.concat().as_bytes()).expect("the gateway reads");
        requests.iter().map(|_| self.status().expect("the gateway answers")).collect()
    }

    fn status(&mut self) -> Option<u16> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        let status = line.get(9..12)?.parse().ok()?;
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        self.0.read_exact(&mut vec![0; length]).ok()?;
        Some(status)
    }
}

fn request(api: &str, token: Option<&str>) -> String {
    let field = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET /{api}/ HTTP/1.1\r\nhost: gateway.test\r\n{field}\r\n")
}

/// Sends each request when its time has come, whatever became of the ones before it: how long each took from then on.
fn paced(address: SocketAddr, requests: &[String]) -> Vec<Duration> {
    let mut connection = Connection::open(address);
    let interval = Duration::from_secs(1) * CONNECTIONS as u32 / RATE as u32;
    let begun = Instant::now();
    let send = |(number, request): (usize, &String)| {
        let due = begun + interval * number as u32;
        wait(due.saturating_duration_since(Instant::now()));
        assert_eq!(connection.exchange(std::slice::from_ref(request)), [200]);
        due.elapsed()
    };
    requests.iter().enumerate().map(send).collect()
}

#[expect(clippy::disallowed_methods, reason = "a thread that sends by the clock has nothing else to do")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

/// The latency of requests to the open API while `beside` is sent, each part on a connection of its own.
fn unrelated(address: SocketAddr, seconds: usize, beside: &[Vec<String>]) -> Vec<Duration> {
    let plain = vec![request("open", None); seconds * RATE / CONNECTIONS];
    std::thread::scope(|scope| {
        let tokens: Vec<_> = beside.iter().map(|part| scope.spawn(|| paced(address, part))).collect();
        let plain: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| paced(address, &plain))).collect();
        let found = plain.into_iter().flat_map(|one| one.join().expect("requests are answered")).collect();
        tokens.into_iter().for_each(|one| drop(one.join().expect("tokens are accepted")));
        found
    })
}

/// The size of an access token of Entra ID: about 1.5 KiB.
fn token(number: usize, key: &EncodingKey, algorithm: Algorithm, expires: u64) -> String {
    let claims = json!({
        "aud": "api://orders", "exp": expires, "jti": number, "sub": "s".repeat(43), "oid": "0".repeat(36), "padding": "p".repeat(550),
    });
    encode(&Header { kid: Some("key".to_owned()), ..Header::new(algorithm) }, &claims, key).expect("a key that signs")
}

const LATER: u64 = 4_102_444_800;

fn latency(gateway: &Gateway, rounds: usize, seconds: usize) {
    let key = EncodingKey::from_rsa_pem(fixture!("rsa-a.pem").as_bytes()).expect("a fixture");
    let count = rounds * seconds * RATE;
    // Signing costs twenty times what verifying does, so it is done before.
    let all: Vec<String> =
        (0..count).map(|number| request("rsa", Some(&token(number, &key, Algorithm::RS256, LATER)))).collect();
    let fresh: Vec<Vec<String>> = all.chunks(seconds * RATE / CONNECTIONS).map(<[_]>::to_vec).collect();
    let known = vec![vec![all[0].clone(); seconds * RATE / CONNECTIONS]; CONNECTIONS];
    let mut seen = [const { Vec::new() }; 3];
    // In turns, so that what else the machine does falls on all alike.
    for round in fresh.chunks(CONNECTIONS) {
        seen[0].extend(unrelated(gateway.address, seconds, &[]));
        seen[1].extend(unrelated(gateway.address, seconds, &known));
        seen[2].extend(unrelated(gateway.address, seconds, round));
    }
    eprintln!("latency of {RATE} other requests a second, in microseconds:     p50     p90     p99   p99.9");
    let names = ["alone", "beside one token, 1,000 times a second", "beside 1,000 different tokens a second"];
    for (name, mut seen) in names.into_iter().zip(seen) {
        seen.sort_unstable();
        let at = |thousandth: usize| seen[(seen.len() - 1) * thousandth / 1_000].as_micros();
        eprintln!("  {name:<57} {:>6}  {:>6}  {:>6}  {:>6}", at(500), at(900), at(990), at(999));
    }
}

/// Sends `count` requests as fast as they are answered.
fn flood(address: SocketAddr, count: usize, want: u16, request: impl Fn(usize) -> String + Sync) {
    const BATCH: usize = 16;
    std::thread::scope(|scope| {
        for part in 0..CONNECTIONS {
            let request = &request;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                for batch in 0..count / CONNECTIONS / BATCH {
                    let number = |at| (batch * BATCH + at) * CONNECTIONS + part;
                    let requests: Vec<String> = (0..BATCH).map(|at| request(number(at))).collect();
                    assert!(connection.exchange(&requests).iter().all(|status| *status == want), "expected {want}");
                }
            });
        }
    });
}

fn memory(gateway: &Gateway, count: usize) {
    let rsa = EncodingKey::from_rsa_pem(fixture!("rsa-a.pem").as_bytes()).expect("a fixture");
    let secret = EncodingKey::from_secret(SECRET);
    let signature = token(0, &rsa, Algorithm::RS256, LATER).rsplit('.').next().map(str::to_owned).expect("a token");
    let forged = |number: usize, kid: &str| {
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "alg": "RS256", "kid": kid }));
        let claims = part(json!({ "aud": "api://orders", "exp": LATER, "jti": number }));
        request("rsa", Some(&format!("{header}.{claims}.{signature}")))
    };
    let bad = |number: usize| match number / CONNECTIONS % 4 {
        0 => request("rsa", Some(&format!("not.a.token-{number}"))),
        1 => forged(number, "key"),
        2 => forged(number, &format!("another-{number}")),
        _ => request("secret", Some(&token(number, &secret, Algorithm::HS256, 1_767_225_600))),
    };
    let good = |number: usize| request("secret", Some(&token(number, &secret, Algorithm::HS256, LATER)));
    for (name, want) in [("bad", 401), ("good", 200)] {
        let request = |number| if want == 200 { good(number) } else { bad(number) };
        // What is needed to work at all, and what is remembered by intent, is not what a million leave behind.
        flood(gateway.address, (count / 20).max(25_000), want, request);
        let before = gateway.resident();
        let begun = Instant::now();
        flood(gateway.address, count, want, |number| request(number + 1_000_000));
        let (after, took) = (gateway.resident(), begun.elapsed());
        eprintln!("{count} different {name} tokens in {took:.1?}: memory {before} KiB before, {after} KiB after");
        assert!(after < before + (16 << 10), "the bar is 16 MiB");
    }
}

fn main() {
    // Cargo runs benches as tests too, with `--test`; then the size is no matter.
    let small = std::env::args().any(|argument| argument == "--test");
    let gateway = Gateway::start();
    latency(&gateway, if small { 1 } else { 5 }, if small { 1 } else { 3 });
    memory(&gateway, if small { 10_000 } else { 1_000_000 });
}
