//! Limits of tokens in a store: several gateways in front of one model, and what decides while the store is away.

use std::net::{SocketAddr, TcpListener};

use super::gateways::{Client, admitted, gateway};
use super::server::Server;
use super::support::gateway::Gateway;
use super::support::wire::Connection;

/// A model whose every answer has used 50 tokens.
fn model() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut connection = Connection::on(stream);
                let body = r#"{"usage":{"prompt_tokens":20,"completion_tokens":30,"total_tokens":50}}"#;
                let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
                while connection.request().is_some() {
                    connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
                }
            });
        }
    });
    address
}

const POLICY: &str = "policy = \"llm-token-limit\"\ncounter-key = \"@coalesce(headers('x-key'), 'all')\"\n";

fn store(server: &Server, more: &str) -> String {
    format!("url = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\n{more}", server.url())
}

#[test]
fn three_gateways_admit_exactly_what_is_counted_ahead() {
    let server = Server::start(&[]);
    let model = model();
    let store = store(&server, "on-error = \"deny\"");
    for limit in [
        "tokens-per-minute = 1000",
        "tokens-per-minute = 1000\nalgorithm = \"fixed-window\"\nstart = \"first-call\"",
        "token-quota = 1000\ntoken-quota-period = \"monthly\"",
        "tokens-per-minute = 100000\ntoken-quota = 1000\ntoken-quota-period = \"yearly\"",
    ] {
        let policy = format!("{POLICY}{limit}\nreserve = 50");
        let gateways: Vec<Gateway> = (0..3).map(|_| gateway(model, &store, &policy)).collect();
        assert_eq!(admitted(&gateways, "key", 64, 6), 20, "{limit}: of 384, each of which uses 50 of 1000");
        server.command("FLUSHALL\r\n").unwrap();
    }
}

#[test]
fn what_one_gateway_has_counted_the_others_see() {
    let server = Server::start(&[]);
    let model = model();
    let store = store(&server, "on-error = \"deny\"");
    for (limit, refused) in
        [("tokens-per-minute = 1000", 429), ("token-quota = 1000\ntoken-quota-period = \"monthly\"", 403)]
    {
        let policy = format!("{POLICY}{limit}");
        let gateways: Vec<Gateway> = (0..3).map(|_| gateway(model, &store, &policy)).collect();
        let mut clients: Vec<Client> = gateways.iter().map(|gateway| Client::connect(gateway.address)).collect();
        // One after the other, so that at most the last one's tokens are still on their way when the next one comes.
        let statuses: Vec<u16> = (0..60).map(|call| clients[call % 3].call("key")).collect();
        let admitted = statuses.iter().filter(|status| **status == 200).count();
        assert!((20..=23).contains(&admitted), "{limit}: {statuses:?}");
        assert!(statuses[30..].iter().all(|status| *status == refused), "{limit}: {statuses:?}");
        server.command("FLUSHALL\r\n").unwrap();
    }
}

#[test]
fn while_the_store_is_away_each_gateway_counts_its_part() {
    let mut server = Server::start(&[]);
    let model = model();
    let store = store(&server, "on-error = \"local\"\nreplicas = 2\npause = \"10s\"");
    for (key, limit) in
        [("rate", "tokens-per-minute = 1000"), ("quota", "token-quota = 1000\ntoken-quota-period = \"monthly\"")]
    {
        let gateway = gateway(model, &store, &format!("{POLICY}{limit}"));
        let mut client = Client::connect(gateway.address);
        assert_eq!(client.call(key), 200, "{limit}: the store counts");
        server.kill();
        let statuses: Vec<u16> = (0..40).map(|_| client.call(key)).collect();
        let admitted = statuses.iter().filter(|status| **status == 200).count();
        assert!((9..=14).contains(&admitted), "{limit}: about half of 20, {statuses:?}");
        assert!(statuses[20..].iter().all(|status| *status != 200), "{limit}: {statuses:?}");
        server.restart();
    }
}
