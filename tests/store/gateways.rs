//! Whole gateways on one store, over real HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::server::Server;
use super::support::backend::Backend;
use super::support::gateway::Gateway;
use super::support::wire::PATIENCE;

/// How long servers and gateways may take to find each other again.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A gateway with one policy that counts in a store.
pub(crate) fn gateway(backend: SocketAddr, store: &str, policy: &str) -> Gateway {
    let gateway = format!("[store]\nkind = \"redis\"\n{store}\n[backends.upstream]\nurl = \"http://{backend}\"\n");
    let api = format!(
        "[api]\nname = \"all\"\npath = \"/\"\nbackend = \"upstream\"\n[[inbound]]\n{policy}\n\
         [[operation]]\nname = \"All\"\nmatch = \"* /*\"\n"
    );
    let files = vec![("gateway.toml".to_owned(), gateway), ("all.toml".to_owned(), api)];
    let started = Gateway::start(files, None);
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

/// A client with one connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// The status of a request, sent after the last one was answered.
    pub(crate) fn call(&mut self, key: &str) -> u16 {
        let Self { stream, received } = self;
        // In one piece, so that it is not held back for an acknowledgement.
        let request = format!("GET / HTTP/1.1\r\nhost: gateway.test\r\nx-key: {key}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let head = loop {
            if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            read_more(stream, received);
        };
        let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let whole = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
        while received.len() < whole {
            read_more(stream, received);
        }
        received.drain(..whole);
        text[9..12].parse().unwrap()
    }
}

fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).unwrap();
    assert!(read > 0, "the gateway closed the connection");
    received.extend_from_slice(&chunk[..read]);
}

/// How many of `clients` times `requests` requests for `key` are admitted, sent at once to all gateways.
pub(crate) fn admitted(gateways: &[Gateway], key: &str, clients: usize, requests: usize) -> usize {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let address = gateways[client % gateways.len()].address;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let statuses: Vec<u16> = (0..requests).map(|_| client.call(key)).collect();
                    assert!(statuses.iter().all(|status| [200, 403, 429].contains(status)), "{statuses:?}");
                    statuses.iter().filter(|status| **status == 200).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    })
}

#[test]
fn three_gateways_admit_exactly_the_limit_of_64_clients() {
    let server = Server::start(&[]);
    let backend = Backend::start();
    let store =
        format!("url = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\non-error = \"deny\"", server.url());
    for (algorithm, more) in
        [("sliding-window", ""), ("token-bucket", ""), ("fixed-window", "start = \"first-call\"\n")]
    {
        let policy = format!(
            "policy = \"rate-limit\"\nid = \"{algorithm}\"\ncalls = 100\nperiod = \"1h\"\nkey = \"all\"\nalgorithm = \"{algorithm}\"\n{more}"
        );
        let gateways: Vec<Gateway> = (0..3).map(|_| gateway(backend.address, &store, &policy)).collect();
        assert_eq!(admitted(&gateways, "", 64, 6), 100, "{algorithm}: of 384");
        server.command("FLUSHALL\r\n").unwrap();
    }
}

/// Is set in the end, whatever happens before.
pub(crate) struct Finally<'a>(pub(crate) &'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A limit of 90 for each `x-key`, none of which come back while a test runs, in a store.
pub(crate) struct Shared<'a> {
    /// The store, as `[store]` has it.
    pub(crate) store: &'a str,
    pub(crate) policy: &'a str,
    /// The status of what it refuses.
    pub(crate) refusal: u16,
}

const RATE: &str = "policy = \"rate-limit\"\nid = \"shared\"\ncalls = 90\nperiod = \"1h\"\nkey = \"@headers('x-key')\"";

/// Kills one of `servers` while three gateways are under load, and starts it again. Nobody notices but by what is admitted.
pub(crate) fn survive(servers: &mut [Server], Shared { store, policy, refusal }: &Shared<'_>) {
    let backend = Backend::start();
    let store = format!(
        "{store}\ntimeout = \"250ms\"\nconnect-timeout = \"250ms\"\npause = \"200ms\"\non-error = \"local\"\nreplicas = 3"
    );
    let gateways: Vec<Gateway> = (0..3).map(|_| gateway(backend.address, &store, policy)).collect();
    assert_eq!(admitted(&gateways, "before", 6, 40), 90);

    let answered = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|client| {
                let (address, answered, done) = (gateways[client % 3].address, &answered, &done);
                scope.spawn(move || {
                    let mut connection = Client::connect(address);
                    let mut admitted = 0;
                    while !done.load(Ordering::Relaxed) {
                        match connection.call(&format!("client-{client}")) {
                            200 => admitted += 1,
                            status => assert_eq!(status, *refusal, "whatever happens to the store"),
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    admitted
                })
            })
            .collect();
        // A check that fails ends the clients too.
        let _end = Finally(&done);
        let began = Instant::now();
        // Clients that failed end early; then nothing is answered any more.
        let more = |requests: usize| {
            let goal = answered.load(Ordering::Relaxed) + requests;
            while answered.load(Ordering::Relaxed) < goal && clients.iter().all(|client| !client.is_finished()) {
                assert!(began.elapsed() < LONG, "requests are not answered");
                std::thread::yield_now();
            }
        };
        // The gateways' clocks say when they look whether the server is back.
        let pause = || gateways.iter().for_each(|gateway| gateway.clock.advance(Duration::from_millis(200)));
        more(300);
        servers[0].kill();
        for _ in 0..3 {
            more(300);
            pause();
        }
        servers[0].restart();
        more(300);
        // In the end each gateway counts in the store again: in its own memory it has a third.
        for gateway in &gateways {
            let mut attempt = 0;
            while admitted(std::slice::from_ref(gateway), &format!("{}-{attempt}", gateway.address), 6, 40) != 90 {
                assert!(began.elapsed() < LONG, "a gateway counts for itself");
                pause();
                attempt += 1;
            }
        }
        // And all of them together.
        assert_eq!(admitted(&gateways, "after", 6, 40), 90);
        done.store(true, Ordering::Relaxed);
        for client in clients {
            let admitted = client.join().unwrap();
            // 90 in the store, 30 in its gateway's own memory, and 90 after the store forgot.
            assert!(admitted <= 90 + 30 + 90, "{admitted} admitted");
        }
    });
}

#[test]
fn a_server_that_dies_under_load_costs_no_answer() {
    let server = Server::start(&[]);
    let store = format!("url = \"{}\"", server.url());
    survive(&mut [server], &Shared { store: &store, policy: RATE, refusal: 429 });
}

#[test]
fn a_server_of_a_cluster_that_dies_under_load_costs_no_answer() {
    let mut servers = Server::cluster();
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let store = format!("urls = {urls:?}\ntopology = \"cluster\"");
    survive(&mut servers, &Shared { store: &store, policy: RATE, refusal: 429 });
}
