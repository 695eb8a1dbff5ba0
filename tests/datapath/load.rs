//! Large bodies and many connections, in bounded memory.

use std::io::{Read, Write};

use crate::support::{Backend, Client, GET, Gateway, OK};

const LARGE: usize = 100 * 1024 * 1024;

/// The most memory that this process has had in use, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn swallow(from: &mut impl Read, length: usize) {
    let copied = std::io::copy(&mut from.take(length as u64), &mut std::io::sink()).unwrap();
    assert_eq!(copied, length as u64);
}

fn pour(into: &mut impl Write, length: usize) {
    let piece = vec![b'x'; 64 * 1024];
    for _ in 0..length / piece.len() {
        into.write_all(&piece).unwrap();
    }
}

#[test]
fn large_bodies_stream_both_ways() {
    let backend = Backend::new(|client, _| {
        while let Some(head) = client.head() {
            if head.first_line.starts_with("PUT") {
                swallow(&mut client.0, LARGE);
                client.send(OK);
            } else {
                client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
                pour(client.0.get_mut(), LARGE);
            }
        }
    });
    let gateway = Gateway::new(backend.address);
    let before = peak();
    let mut client = gateway.connect();
    client.send(GET);
    client.head().unwrap();
    swallow(&mut client.0, LARGE);
    client.send(&format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    pour(client.0.get_mut(), LARGE);
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(backend.connections(), 1);
    // Other tests of this process run at the same time.
    assert!(peak() - before < 64, "{} MiB", peak() - before);
}

#[test]
fn a_thousand_idle_connections() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    let mut clients: Vec<Client> = (0..1000).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 200);
    }
    assert_eq!(gateway.totals().open, 1000);
    assert_eq!(backend.connections(), 1);
    for client in clients.iter_mut().rev() {
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 200);
    }
}
