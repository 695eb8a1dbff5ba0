//! Whole gateways on one store, over real HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::server::Server;
use super::support::backend::Backend;
use super::support::gateway::Gateway;
use super::support::wire::PATIENCE;

/// A gateway whose API admits 100 requests an hour of everybody together.
fn gateway(backend: SocketAddr, store: &str, policy: &str) -> Gateway {
    let gateway = format!(
        "[store]\nkind = \"redis\"\nurl = \"{store}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\non-error = \"deny\"\n\
         [backends.upstream]\nurl = \"http://{backend}\"\n"
    );
    let api = format!(
        "[api]\nname = \"all\"\npath = \"/\"\nbackend = \"upstream\"\n[[inbound]]\n{policy}\n\
         [[operation]]\nname = \"All\"\nmatch = \"* /*\"\n"
    );
    let files = vec![("gateway.toml".to_owned(), gateway), ("all.toml".to_owned(), api)];
    let started = Gateway::start(files, None);
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

/// The statuses of requests sent one after another on one connection.
fn statuses(address: SocketAddr, requests: usize) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    (0..requests)
        .map(|_| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n").unwrap();
            let head = loop {
                if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                read_more(&mut stream, &mut received);
            };
            let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let whole = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
            while received.len() < whole {
                read_more(&mut stream, &mut received);
            }
            received.drain(..whole);
            text[9..12].parse().unwrap()
        })
        .collect()
}

fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).unwrap();
    assert!(read > 0, "the gateway closed the connection");
    received.extend_from_slice(&chunk[..read]);
}

#[test]
fn three_gateways_admit_exactly_the_limit_of_64_clients() {
    let server = Server::start(&[]);
    let backend = Backend::start();
    for (algorithm, more) in
        [("sliding-window", ""), ("token-bucket", ""), ("fixed-window", "start = \"first-call\"\n")]
    {
        let policy = format!(
            "policy = \"rate-limit\"\nid = \"{algorithm}\"\ncalls = 100\nperiod = \"1h\"\nkey = \"all\"\nalgorithm = \"{algorithm}\"\n{more}"
        );
        let gateways: Vec<Gateway> = (0..3).map(|_| gateway(backend.address, &server.url(), &policy)).collect();
        let admitted = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..64)
                .map(|client| {
                    let address = gateways[client % 3].address;
                    scope.spawn(move || {
                        let statuses = statuses(address, 6);
                        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
                        statuses.iter().filter(|status| **status == 200).count()
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
        });
        assert_eq!(admitted, 100, "{algorithm}: of 384");
        server.command("FLUSHALL\r\n").unwrap();
    }
}
