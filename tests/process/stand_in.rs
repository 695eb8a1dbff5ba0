//! `--stand-in`: what the program calls in place of all backends of a connector.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use crate::support::{Client, Gateway, PATIENCE, backend, program};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FREE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// A folder with packages whose connections are given.
fn imported() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (package, parameters) in
        [("tasks", &["region=eu", "api_key=env:TASKS_KEY"][..]), ("orders/orders.yaml", &["token=pass-through"])]
    {
        let mut import = program();
        import.args(["import", "connector"]).arg(Path::new(ROOT).join("tests/connectors").join(package));
        import.arg("--out").arg(folder.path());
        for parameter in parameters {
            import.args(["--parameter", parameter]);
        }
        let output = import.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    folder
}

/// A server that tells the heads of the requests that it gets.
fn recorder() -> (SocketAddr, Receiver<String>) {
    let (sender, heads) = mpsc::channel();
    let address = backend(move |stream| {
        let mut head = String::new();
        while std::io::BufRead::read_line(stream, &mut head).is_ok_and(|read| read > 2) {}
        let _ = sender.send(head);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let _ = stream.get_mut().write_all(answer.as_bytes());
    });
    (address, heads)
}

/// The value of a field of a head.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|it| it.1)
}

#[test]
fn run_asks_an_address_in_place_of_every_backend() {
    let folder = imported();
    let (address, heads) = recorder();
    let stand_in = address.to_string();
    let gateway = Gateway::spawn(
        program().arg("run").arg(folder.path()).args(FREE).args(["--stand-in", &stand_in]).env("TASKS_KEY", "hush"),
    );
    gateway.says(&format!("note: no backend is called; every request goes to a stand-in, at {address}"));
    assert_eq!(gateway.get("/tasks/v2/lists/7/tasks").status, 200);
    let head = heads.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("GET /tasks/v2/lists/7/tasks?"), "{head}");
    assert_eq!(field(&head, "host"), Some("api.contoso.com"), "the host that is meant: {head}");
    assert_eq!(field(&head, "x-api-key"), Some("hush"), "{head}");
    let own = "authorization: Bearer mine\r\n";
    assert_eq!(Client::new(gateway.address).request("GET", "/orders/orders", own).unwrap().status, 200);
    let head = heads.recv_timeout(PATIENCE).unwrap();
    assert_eq!((field(&head, "host"), field(&head, "authorization")), (Some("eu.contoso.com"), Some("Bearer mine")));
}

#[test]
fn the_echo_takes_large_bodies_and_says_where_it_stops() {
    let folder = imported();
    let gateway = Gateway::spawn(
        program().arg("run").arg(folder.path()).args(FREE).args(["--stand-in", "echo"]).env("TASKS_KEY", "hush"),
    );
    let fields = "authorization: Bearer mine\r\ncontent-type: application/json\r\n";
    let send = |length: usize| {
        let body = format!("{{\"item\":\"{}\"}}", "x".repeat(length));
        Client::new(gateway.address).send("POST", "/orders/orders", fields, &body).unwrap()
    };
    let answer = send(5 << 20);
    assert_eq!(answer.status, 200);
    assert!(answer.json()["body"].as_str().unwrap().len() > 5 << 20);
    let refused = send(16 << 20);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.text().contains("longer than 16 MiB"), "{}", refused.text());
}

#[test]
fn a_reload_keeps_the_stand_in() {
    let folder = imported();
    let gateway = Gateway::spawn(
        program().arg("run").arg(folder.path()).args(FREE).args(["--stand-in", "echo"]).env("TASKS_KEY", "hush"),
    );
    gateway.says("every request goes to an echo, which answers with what it got");
    let seen = |region: &str| {
        let answer = gateway.get("/tasks/v2/lists/7/tasks").json();
        answer["headers"]["x-region"].as_str().is_some_and(|value| value.starts_with(region))
    };
    assert!(seen("eu/"));
    let file = folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("region = \"eu\""), "{text}");
    std::fs::write(&file, text.replace("region = \"eu\"", "region = \"us\"")).unwrap();
    gateway.signal("HUP");
    crate::support::eventually("the new region", || seen("us/").then_some(()));
}

#[test]
fn oneshot_asks_an_address_in_place_of_every_backend() {
    let folder = imported();
    let (address, heads) = recorder();
    let output = program()
        .arg("oneshot")
        .arg(folder.path())
        .args(["--stand-in", &address.to_string(), "--listen", "127.0.0.1:0", "--admin", "off", "--"])
        .args(["sh", "-c", "curl -s $SLUICEGATE_URL/tasks/v2/lists/7/tasks"])
        .env("TASKS_KEY", "hush")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"{}");
    assert_eq!(field(&heads.recv_timeout(PATIENCE).unwrap(), "host"), Some("api.contoso.com"));
}

#[test]
fn a_stand_in_that_does_not_answer_is_a_failure_of_the_backend() {
    let folder = imported();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::spawn(
        program()
            .arg("run")
            .arg(folder.path())
            .args(FREE)
            .args(["--stand-in", &closed.to_string()])
            .env("TASKS_KEY", "hush"),
    );
    let answer = gateway.get("/tasks/v2/lists/7/tasks");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], 502, "{}", answer.text());
}
