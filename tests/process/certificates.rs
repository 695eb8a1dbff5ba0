//! Certificates over real TLS: the gateway's own, which backends demand, and those of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};
use serde_json::json;
use sluicegate::identity::certificate::ClientTrust;
use sluicegate::server::tls::provider;

use super::identities::{Authority, Everybody, Identity};
use crate::support::{Answer, Client, Folder, Gateway, PATIENCE, eventually, program};

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

fn chain(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (vec![identity.der.clone().into()], PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap())
}

// === a backend that wants to know who calls ===

struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// Which certificates it takes.
#[derive(Clone, Copy)]
enum Demands {
    Nothing,
    /// It asks, and takes any.
    Anything,
    OneOfTheAuthority,
}

impl Backend {
    fn start(demands: Demands, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let everybody = Everybody::get();
        let (own, key) = chain(&everybody.server);
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let config = match demands {
            Demands::Nothing => builder.with_no_client_auth(),
            Demands::Anything => builder.with_client_cert_verifier(ClientTrust::none(provider()).optional()),
            Demands::OneOfTheAuthority => {
                let roots = roots(&everybody.authority);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = Arc::new(config.with_single_cert(own, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<AtomicUsize> = Arc::default();
        let count = connections.clone();
        // The threads end with the process or with their connection.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let config = config.clone();
                std::thread::spawn(move || serve(stream, config, number));
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Answers each request with the number of the connection and the digest of the certificate that it was shown on it.
fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, number: usize) {
    let mut tls = ServerConnection::new(config).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut stream).is_err() {
            // The alert arrives only when nothing that came is left unread: the other end closes.
            let _ = tls.write_tls(&mut stream);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
    }
    let shown = tls.peer_certificates().and_then(|chain| chain.first()).map(|it| digest(it)).unwrap_or_default();
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        let body = json!({ "connection": number, "shown": shown }).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.get_mut().write_all(answer.as_bytes()).and_then(|()| stream.get_mut().flush()).is_err() {
            return;
        }
    }
}

fn digest(der: &[u8]) -> String {
    sluicegate::identity::certificate::hex(&sluicegate::identity::certificate::sha256(der))
}

/// The connection and the certificate of an answer.
#[track_caller]
fn seen(answer: &Answer) -> (u64, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    (body["connection"].as_u64().unwrap(), body["shown"].as_str().unwrap().to_owned())
}

// === the gateway's own certificates ===

/// A folder with everybody's certificates in it, as PEM with the key behind.
fn folder(gateway: &str, api: &str) -> Folder {
    let everybody = Everybody::get();
    let folder = Folder::new(&[("gateway.toml", gateway), ("erp.toml", api)]);
    folder.write("ca.pem", everybody.authority.pem());
    folder.write("other-ca.pem", everybody.stranger.pem());
    for (name, identity) in &everybody.clients {
        folder.write(&format!("{name}.pem"), &both(identity));
    }
    folder
}

fn both(identity: &Identity) -> String {
    format!("{}{}", identity.pem, identity.key_pem)
}

fn api(operations: &str) -> String {
    format!("[api]\nname = \"erp\"\npath = \"/erp\"\nbackend = \"erp\"\n{operations}")
}

const ANY: &str = "[[operation]]\nname = \"Any\"\nmatch = \"GET /{*rest}\"\n";

struct Case {
    name: &'static str,
    demands: Demands,
    /// The certificate, if any.
    shows: Option<&'static str>,
    /// Who vouches for the backend.
    authorities: &'static str,
    want: Result<Option<&'static str>, &'static [&'static str]>,
}

/// What becomes of each certificate, and what the log says.
#[test]
fn a_backend_is_shown_a_certificate_and_the_log_says_who_refused_whom() {
    let everybody = Everybody::get();
    for version in [&TLS12, &TLS13] {
        for Case { name, demands, shows, authorities, want } in [
            Case {
                name: "one that it takes",
                demands: Demands::OneOfTheAuthority,
                shows: Some("erp"),
                authorities: "ca.pem",
                want: Ok(Some("erp")),
            },
            Case {
                name: "one that it does not ask for",
                demands: Demands::Nothing,
                shows: Some("erp"),
                authorities: "ca.pem",
                want: Ok(None),
            },
            Case {
                name: "none",
                demands: Demands::OneOfTheAuthority,
                shows: None,
                authorities: "ca.pem",
                want: Err(&["the backend demands a client certificate, and was shown none", "CertificateRequired"]),
            },
            Case {
                name: "one of another authority",
                demands: Demands::OneOfTheAuthority,
                shows: Some("stranger"),
                authorities: "ca.pem",
                want: Err(&[
                    "the backend refused the client certificate",
                    "UnknownCA; it was shown `CN=erp, O=Contoso, C=DE` of `CN=Fabrikam Root, O=Contoso, C=DE`, thumbprint ",
                    "valid until 2075-01-01",
                ]),
            },
            Case {
                name: "one whose time is over",
                demands: Demands::OneOfTheAuthority,
                shows: Some("expired"),
                authorities: "ca.pem",
                want: Err(&[
                    "the backend refused the client certificate",
                    "CertificateExpired",
                    "valid until 2025-01-01",
                ]),
            },
            Case {
                name: "none, because the backend's own is not trusted",
                demands: Demands::OneOfTheAuthority,
                shows: Some("erp"),
                authorities: "other-ca.pem",
                want: Err(&["the backend's certificate is not trusted", "UnknownIssuer", "`ca-file` of the backend"]),
            },
        ] {
            let backend = Backend::start(demands, &[version]);
            let shows = shows.map_or(String::new(), |who| {
                format!(
                    "credentials.certificate = \"gateway\"\n[certificates.gateway]\ncertificate-file = \"{who}.pem\"\n"
                )
            });
            let toml = format!("[backends.erp]\nurl = \"{}\"\nca-file = \"{authorities}\"\n{shows}", backend.url());
            let gateway = Gateway::run(folder(&toml, &api(ANY)).path());
            let answer = gateway.get("/erp/orders");
            let told = gateway.access_log(1)[0].to_string();
            match want {
                Ok(who) => {
                    let want = who.map(|who| digest(&everybody.client(who).der)).unwrap_or_default();
                    assert_eq!(seen(&answer).1, want, "{name} {version:?}: {told}");
                    // The second request goes over the same connection, and still counts as the same caller.
                    assert_eq!(seen(&gateway.get("/erp/orders")).1, want, "{name} {version:?}");
                }
                Err(texts) => {
                    assert_eq!(answer.status, 502, "{name} {version:?}: {}", answer.text());
                    assert!(!answer.text().contains("ertificate"), "the caller is told nothing: {}", answer.text());
                    for text in texts {
                        assert!(told.contains(text), "{name} {version:?}: `{text}` is not in {told}");
                    }
                    assert!(!told.contains("PRIVATE"), "{told}");
                }
            }
        }
    }
}

/// PKCS#12 as OpenSSL 3 writes it and as Windows and OpenSSL 1 did, a key that is encrypted, and one text with both.
#[test]
fn a_certificate_comes_in_many_forms() {
    let fixture = |name: &str| {
        let path = format!("{}/tests/fixtures/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let backend = Backend::start(Demands::Anything, &[&TLS13]);
    let text = |name: &str| String::from_utf8(fixture(name)).unwrap();
    let base64 = |name: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(fixture(name))
    };
    let certificates = format!(
        "[named-values]\npassword = {{ env = \"PASSWORD\" }}\npfx = {{ env = \"PFX\" }}\npem = {{ env = \"PEM\" }}\n\
         [backends.erp]\nurl = \"{}\"\nca-file = \"ca.pem\"\n\
         [certificates.modern]\npkcs12-file = \"modern.pfx\"\npassword = \"{{{{password}}}}\"\n\
         [certificates.legacy]\npkcs12-file = \"legacy.pfx\"\npassword = \"{{{{password}}}}\"\n\
         [certificates.encrypted]\ncertificate-file = \"chain.pem\"\nkey-file = \"encrypted.key\"\npassword = \"{{{{password}}}}\"\n\
         [certificates.from-pfx]\ncontent = \"{{{{pfx}}}}\"\n\
         [certificates.from-pem]\ncontent = \"{{{{pem}}}}\"\n",
        backend.url()
    );
    let operations: String = ["modern", "legacy", "encrypted", "from-pfx", "from-pem"]
        .map(|name| {
            format!(
                "[[operation]]\nname = \"{name}\"\nmatch = \"GET /{name}\"\n[[operation.inbound]]\n\
                 policy = \"authentication-certificate\"\ncertificate-id = \"{name}\"\n"
            )
        })
        .concat();
    let body = "[[operation]]\nname = \"body\"\nmatch = \"GET /body\"\n[[operation.inbound]]\n\
                policy = \"authentication-certificate\"\nbody = \"{{pfx}}\"\n";
    let folder = folder(&certificates, &api(&format!("{operations}{body}")));
    for name in ["modern.pfx", "legacy.pfx", "chain.pem", "encrypted.key"] {
        std::fs::write(folder.path().join(name), fixture(name)).unwrap();
    }
    let mut command = program();
    command.arg("run").arg(folder.path()).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let command = command.env("PASSWORD", "correct horse").env("PFX", base64("open.pfx"));
    let gateway = Gateway::spawn(command.env("PEM", format!("{}{}", text("chain.pem"), text("open.key"))));
    // The certificate stands behind those of its authorities.
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&fixture("chain.pem")).map(Result::unwrap).collect();
    let want = digest(&chain[2]);
    for name in ["modern", "legacy", "encrypted", "from-pfx", "from-pem", "body"] {
        assert_eq!(seen(&gateway.get(&format!("/erp/{name}"))).1, want, "{name}: {}", gateway.stderr());
    }
    // Nothing of the secrets is shown by the pages for operators.
    for page in ["/config", "/config?format=text"] {
        let shown = gateway.admin(page).text().to_owned();
        assert!(
            !shown.contains("correct horse")
                && !shown.contains("PRIVATE KEY")
                && !shown.contains(&base64("open.pfx")[..40])
        );
    }
}

/// Clients keep calling while the file is replaced again and again: nothing fails, and who has seen the new certificate never
/// sees the old one again.
#[test]
fn a_certificate_that_is_rotated_breaks_nothing() {
    let everybody = Everybody::get();
    let backend = Backend::start(Demands::OneOfTheAuthority, &[&TLS12, &TLS13]);
    let toml = format!(
        "[backends.erp]\nurl = \"{}\"\nca-file = \"ca.pem\"\ncredentials.certificate = \"gateway\"\n\
         [certificates.gateway]\ncertificate-file = \"gateway.pem\"\nkey-file = \"gateway.key\"\n",
        backend.url()
    );
    let generations: Vec<Identity> =
        (10..14).map(|serial| everybody.authority.client("gateway", serial, (2025, 2075))).collect();
    let folder = folder(&toml, &api(ANY));
    folder.write("gateway.pem", &generations[0].pem);
    folder.write("gateway.key", &generations[0].key_pem);
    let gateway = Gateway::run(folder.path());
    let end = gateway.metric("sluicegate_certificate_not_after_seconds{name=\"gateway\",shown_to=\"backends\"}");
    assert!(end.is_some_and(|end| (3.3e9..3.4e9).contains(&end)), "in 2075, and not {end:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, address) = (stop.clone(), gateway.address);
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(client.get("/erp/orders"));
                }
                answers
            })
        })
        .collect();
    let number =
        |shown: &str| generations.iter().position(|it| digest(&it.der) == shown).expect("one of the generations");
    for (at, next) in generations.iter().enumerate().skip(1) {
        // A certificate without its key, for a moment, is a mistake: what was in force stays so.
        folder.replace("gateway.pem", &next.pem);
        assert_eq!(number(&seen(&gateway.get("/erp/orders")).1), at - 1);
        folder.replace("gateway.key", &next.key_pem);
        eventually("the new certificate", || (number(&seen(&gateway.get("/erp/orders")).1) == at).then_some(()));
    }
    stop.store(true, Ordering::Relaxed);
    let mut by_connection: BTreeMap<u64, usize> = BTreeMap::new();
    for client in clients {
        let mut last = 0;
        for answer in client.join().unwrap() {
            let (connection, shown) = seen(&answer.expect("no connection is dropped"));
            let generation = number(&shown);
            assert!(generation >= last, "the certificate {generation} after {last}");
            last = generation;
            assert_eq!(*by_connection.entry(connection).or_insert(generation), generation);
        }
    }
    // A change of anything else does not make them connect again.
    let before = backend.connections();
    folder.replace("erp.toml", &api(&format!("{ANY}[[operation]]\nname = \"Other\"\nmatch = \"POST /\"\n")));
    eventually("another generation", || {
        (gateway.ready().1["configuration"]["generation"].as_u64()? >= 5).then_some(())
    });
    for _ in 0..4 {
        assert_eq!(number(&seen(&gateway.get("/erp/orders")).1), generations.len() - 1);
    }
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    assert!(backend.connections() <= before + workers, "{before} connections became {}", backend.connections());
}

/// One backend, several callers' certificates, all at once: each request arrives under its own.
#[test]
fn certificates_of_different_requests_are_never_mixed() {
    let everybody = Everybody::get();
    let backend = Backend::start(Demands::Anything, &[&TLS12, &TLS13]);
    let toml = format!(
        "[server]\nworkers = 1\n[backends.erp]\nurl = \"{}\"\nca-file = \"ca.pem\"\n\
         [certificates.erp]\ncertificate-file = \"erp.pem\"\n[certificates.crm]\ncertificate-file = \"crm.pem\"\n",
        backend.url()
    );
    let operations = "[[operation]]\nname = \"Chosen\"\nmatch = \"GET /chosen/{who}\"\n[[operation.inbound]]\n\
                      policy = \"authentication-certificate\"\ncertificate-id = \"@pathParameters('who')\"\n\
                      [[operation]]\nname = \"None\"\nmatch = \"GET /none\"\n";
    let gateway = Gateway::run(folder(&toml, &api(operations)).path());
    let connections: Arc<Mutex<BTreeMap<&str, BTreeSet<u64>>>> = Arc::default();
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (address, connections) = (gateway.address, connections.clone());
            std::thread::spawn(move || {
                let mut connection = Client::new(address);
                for round in 0..30 {
                    let (path, who) = [("/erp/chosen/erp", "erp"), ("/erp/chosen/crm", "crm"), ("/erp/none", "")]
                        [(client + round) % 3];
                    let (number, shown) = seen(&connection.get(path).unwrap());
                    let want = if who.is_empty() { String::new() } else { digest(&everybody.client(who).der) };
                    assert_eq!(shown, want, "{path}");
                    connections.lock().unwrap().entry(who).or_default().insert(number);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let connections = connections.lock().unwrap();
    let all: BTreeSet<u64> = connections.values().flatten().copied().collect();
    assert_eq!(all.len(), connections.values().map(BTreeSet::len).sum::<usize>(), "{connections:?}");
    assert_eq!(gateway.get("/erp/chosen/nobody").status, 500);
    // They were kept, or each request would have its own.
    assert!(backend.connections() < 60, "{}", backend.connections());
}

// === clients' certificates ===

/// Calls the gateway over TLS.
fn call(
    address: SocketAddr,
    shows: Option<&Identity>,
    version: &'static SupportedProtocolVersion,
    head: &str,
) -> Option<String> {
    let everybody = Everybody::get();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots(&everybody.authority));
    let config = match shows {
        Some(identity) => {
            let (chain, key) = chain(identity);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, tcp);
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).ok()?;
    Some(answer)
}

/// As `tests/policies/validate-client-certificate.golden`, over TLS: who is let in, who is not, and what the log says.
#[test]
fn clients_are_known_by_the_certificate_of_their_connection() {
    let everybody = Everybody::get();
    let gateway = |mode: &str| {
        let toml = format!(
            "[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [server.client-certificates]\nmode = \"{mode}\"\nca-files = [\"ca.pem\"]\nforward = \"x-forwarded-client-cert\"\n\
             [backends.erp]\nurl = \"sample:/v1\"\n"
        );
        let operations = "[[operation]]\nname = \"Erp\"\nmatch = \"GET /invoices\"\n[[operation.inbound]]\n\
             policy = \"validate-client-certificate\"\n[[operation.inbound.identities]]\ncommon-name = \"erp\"\nissuer-subject = \"CN=Contoso Root, O=Contoso, C=DE\"\n\
             san = \"URI:spiffe://contoso/erp\"\nconsumer = \"erp\"\n\
             [[operation.outbound]]\npolicy = \"set-header\"\nname = \"x-consumer\"\nvalue = \"@consumer()\"\n";
        let folder = folder(&toml, &api(operations));
        folder.write("server.pem", &everybody.server.pem);
        folder.write("server.key", &everybody.server.key_pem);
        Gateway::run(folder.path())
    };
    let head = "GET /erp/invoices?pageSize=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let optional = gateway("optional");
    let mut lines = 0;
    for version in [&TLS12, &TLS13] {
        for (who, want, cause) in [
            (Some("erp"), Ok(()), ""),
            (None, Err("ClientCertificateNotPresent"), "the client has shown none in its TLS handshake"),
            (Some("crm"), Err("ClientCertificateNotAllowed"), "common name is `crm`, not `erp`"),
            (Some("stranger"), Err("ClientCertificateNotTrusted"), "its chain does not lead to one of the authorities"),
            (Some("expired"), Err("ClientCertificateExpired"), "its time is over: subject `CN=erp, O=Contoso, C=DE`"),
            (Some("future"), Err("ClientCertificateNotYetValid"), "it is from the future: subject"),
        ] {
            let answer =
                call(optional.address, who.map(|who| everybody.client(who)), version, head).expect("an answer");
            lines += 1;
            let told = optional.access_log(lines)[lines - 1].to_string();
            match want {
                Ok(()) => {
                    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-consumer: erp\r\n"), "{answer}");
                }
                Err(reason) => {
                    assert!(
                        answer.starts_with("HTTP/1.1 403 ") && answer.contains("Invalid client certificate"),
                        "{who:?}: {answer}"
                    );
                    assert!(told.contains(reason) && told.contains(cause), "{who:?}: {told}");
                }
            }
        }
    }
    // Nobody is asked: the log says that, not that the client forgot it.
    let off = gateway("off");
    assert!(call(off.address, Some(everybody.client("erp")), &TLS13, head).unwrap().starts_with("HTTP/1.1 403 "));
    assert!(off.access_log(1)[0].to_string().contains("clients are not asked for one"), "{:?}", off.access_log(1));
    // The handshake itself refuses.
    let required = gateway("required");
    assert!(call(required.address, Some(everybody.client("erp")), &TLS13, head).unwrap().starts_with("HTTP/1.1 200 "));
    for who in [None, Some("stranger"), Some("expired")] {
        assert_eq!(call(required.address, who.map(|who| everybody.client(who)), &TLS12, head), None, "{who:?}");
    }
}
