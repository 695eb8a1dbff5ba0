//! Answers, values and side calls that whole gateways keep: one call for many clients, what outlives a reload, what gateways share in a
//! Redis server, and what happens when it dies.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sluicegate::config::folder::NamedText;

use super::server::Server;
use super::support::gateway::Gateway;
use super::support::wire::{Connection, Message, PATIENCE};

/// A backend that answers when it is told to, with the number of the request. What is below `/varies` varies by `Accept`.
struct Held {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    /// What came, in order.
    targets: Vec<String>,
    released: bool,
}

impl Held {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let shared = state.clone();
        // They end with the process; a test has nothing to wait for in them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(Connection::on(stream), &shared));
            }
        });
        Self { address, state }
    }

    /// Answers everything from now on.
    fn released(self) -> Self {
        self.release();
        self
    }

    fn release(&self) {
        self.state.0.lock().unwrap().released = true;
        self.state.1.notify_all();
    }

    fn calls(&self) -> usize {
        self.state.0.lock().unwrap().targets.len()
    }

    /// Waits for so many requests.
    #[track_caller]
    fn wait_for(&self, calls: usize) {
        let (state, changed) = &*self.state;
        let enough = |state: &mut State| state.targets.len() < calls;
        let (state, waited) = changed.wait_timeout_while(state.lock().unwrap(), PATIENCE, enough).unwrap();
        assert!(!waited.timed_out(), "{} of {calls} calls came", state.targets.len());
    }
}

fn serve(mut connection: Connection, shared: &(Mutex<State>, Condvar)) {
    while let Some(request) = connection.request() {
        let (state, changed) = shared;
        let varies = request.first_line.contains("/varies");
        let mut state = state.lock().unwrap();
        state.targets.push(request.first_line);
        let number = state.targets.len();
        changed.notify_all();
        drop(changed.wait_while(state, |state| !state.released).unwrap());
        let body = format!("{{\"n\":\"{number}\"}}");
        let vary = if varies { "vary: accept\r\n" } else { "" };
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{vary}content-length: {length}\r\n\r\n");
        connection.send((head + &body).as_bytes());
    }
}

const LOOKS: &str = "[[inbound]]\npolicy = \"cache-lookup\"\n";
const STORES: &str = "[[outbound]]\npolicy = \"cache-store\"\nduration = \"1h\"\n";

fn files(backend: SocketAddr, tables: &str, policies: &str) -> Vec<NamedText> {
    let gateway = format!("[backends.upstream]\nurl = \"http://{backend}\"\n{tables}\n");
    let api = format!(
        "[api]\nname = \"all\"\npath = \"/\"\nbackend = \"upstream\"\n{policies}\n\
         [[operation]]\nname = \"All\"\nmatch = \"* /*\"\n"
    );
    vec![("all.toml".to_owned(), api), ("gateway.toml".to_owned(), gateway)]
}

#[track_caller]
fn start(backend: SocketAddr, tables: &str, policies: &str) -> Gateway {
    let started = Gateway::start(files(backend, tables, policies), None);
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

/// The body of the answer to a GET.
#[track_caller]
fn get(gateway: &Gateway, target: &str) -> String {
    let request = Message { first_line: format!("GET {target}"), ..Message::default() };
    let answer = gateway.send(&request).expect("an answer");
    assert!(answer.first_line.contains(" 200 "), "{answer:?}");
    String::from_utf8(answer.body).unwrap()
}

/// A client that has sent a request and waits for the answer.
fn ask(gateway: &Gateway, target: &str) -> Connection {
    let mut client = Connection::open(gateway.address);
    client.send(format!("GET {target} HTTP/1.1\r\nhost: gateway.test\r\n\r\n").as_bytes());
    client
}

fn body(client: &mut Connection) -> String {
    String::from_utf8(client.response("GET").expect("an answer").body).unwrap()
}

#[test]
fn sixty_four_clients_on_a_cold_key_make_one_call() {
    let backend = Held::start();
    let gateway = start(backend.address, "", &format!("{LOOKS}{STORES}"));
    let mut clients: Vec<_> = (0..64).map(|_| ask(&gateway, "/cold")).collect();
    backend.wait_for(1);
    backend.release();
    for client in &mut clients {
        assert_eq!(body(client), r#"{"n":"1"}"#);
    }
    assert_eq!(backend.calls(), 1, "whoever came late found it kept");
    assert_eq!(get(&gateway, "/other"), r#"{"n":"2"}"#);
    assert!(gateway.has_metric(r#"sluicegate_cache_lookups_total{kind="response",result="miss"} 2"#));
    assert!(gateway.has_metric(r#"sluicegate_cache_stores_total{kind="response",result="stored"} 2"#));
    assert!(gateway.has_metric("sluicegate_cache_entries 2"));
}

#[test]
fn sixty_four_requests_for_one_side_value_make_one_side_call() {
    let backend = Held::start();
    let policy = "[[inbound]]\npolicy = \"set-value-from-url\"\ntarget = \"@headers('x-value')\"\nurl = \"/value\"\n\
                  value = \"@body().n\"\ncache = \"1h\"\n";
    let gateway = start(backend.address, "", policy);
    let mut clients: Vec<_> = (0..64).map(|_| ask(&gateway, "/call")).collect();
    backend.wait_for(1);
    backend.release();
    clients.iter_mut().for_each(|client| drop(body(client)));
    let targets = backend.state.0.lock().unwrap().targets.clone();
    assert_eq!(targets.iter().filter(|target| target.starts_with("GET /value")).count(), 1, "{targets:?}");
    assert_eq!(targets.len(), 65);
}

#[test]
fn a_client_that_leaves_hands_the_call_to_the_next_one() {
    let backend = Held::start();
    let gateway = start(backend.address, "", &format!("{LOOKS}{STORES}"));
    let first = ask(&gateway, "/left");
    backend.wait_for(1);
    let mut second = ask(&gateway, "/left");
    drop(first);
    backend.wait_for(2);
    backend.release();
    assert_eq!(body(&mut second), r#"{"n":"2"}"#);
    assert_eq!(get(&gateway, "/left"), r#"{"n":"2"}"#, "and it is kept");
}

#[test]
fn nobody_waits_longer_than_is_said() {
    let backend = Held::start();
    let gateway = start(backend.address, "[cache]\nwait = \"3s\"\n", &format!("{LOOKS}{STORES}"));
    let mut first = ask(&gateway, "/slow");
    backend.wait_for(1);
    let mut second = ask(&gateway, "/slow");
    // Whenever the second one begins to wait, some time later it has waited long enough.
    let began = Instant::now();
    while backend.calls() < 2 {
        assert!(began.elapsed() < PATIENCE, "it waits for ever");
        gateway.clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
    }
    backend.release();
    assert_ne!(body(&mut first), body(&mut second));
}

#[test]
fn what_is_kept_outlives_a_reload_that_leaves_the_bounds_alone() {
    let backend = Held::start().released();
    let policies = format!("{LOOKS}{STORES}");
    let gateway = start(backend.address, "", &policies);
    assert_eq!(get(&gateway, "/a"), r#"{"n":"1"}"#);
    gateway.reload(files(backend.address, "[cache]\nwait = \"1s\"\n", &policies));
    assert_eq!(get(&gateway, "/a"), r#"{"n":"1"}"#, "the bounds are the same");
    gateway.reload(files(backend.address, "", &format!("{LOOKS}vary-by-headers = [\"x-a\"]\n{STORES}")));
    assert_eq!(get(&gateway, "/a"), r#"{"n":"2"}"#, "what answers vary by has changed");
    gateway.reload(files(backend.address, "[cache]\nentries = 5\n", &policies));
    assert_eq!(get(&gateway, "/a"), r#"{"n":"3"}"#, "the bounds have changed");
}

#[test]
fn memory_is_bounded() {
    let backend = Held::start().released();
    let gateway = start(backend.address, "[cache]\nentries = 8\n", &format!("{LOOKS}{STORES}"));
    for number in 0..50 {
        get(&gateway, &format!("/{number}"));
    }
    assert!(gateway.has_metric("sluicegate_cache_entries 8"));
    assert!(gateway.has_metric(r#"sluicegate_cache_evictions_total{reason="made_room"} 42"#));
}

/// A backend that gives each connection the next of these answers, byte by byte as they stand, and closes it.
fn scripted(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().flatten().zip(answers) {
            let mut connection = Connection::on(stream);
            if connection.request().is_some() {
                connection.send(answer.as_bytes());
            }
        }
    });
    address
}

#[test]
fn only_whole_answers_of_a_bounded_length_are_kept() {
    const ANSWERS: [&str; 5] = [
        // Broken off.
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        // Of a length that nobody knows beforehand: within the bound, and beyond.
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n9\r\nnine more\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlast",
    ];
    let gateway = start(scripted(&ANSWERS), "[cache]\nentry-size = 8\n", &format!("{LOOKS}{STORES}"));
    for _ in 0..2 {
        assert!(ask(&gateway, "/a").response("GET").is_none(), "it is cut off visibly");
    }
    assert_eq!(get(&gateway, "/a"), "whole");
    assert_eq!(get(&gateway, "/a"), "whole", "kept");
    assert_eq!(get(&gateway, "/b"), "nine more");
    assert_eq!(get(&gateway, "/b"), "last", "what is too long is not");
    assert!(gateway.has_metric(r#"sluicegate_cache_stores_total{kind="response",result="too_large"} 1"#));
    assert!(gateway.has_metric(r#"sluicegate_cache_lookups_total{kind="response",result="pass"} 1"#));
}

/// So patient that only a store that is down counts as failing, however busy the machine is.
fn store(server: &Server) -> String {
    format!("[store]\nkind = \"redis\"\nurl = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\n", server.url())
}

/// Asks until the store has what another gateway is to find: nobody waits for it to be kept.
#[track_caller]
fn until_kept(server: &Server, keys: usize) {
    let began = Instant::now();
    while server.command("DBSIZE\r\n").as_deref() != Some(&format!(":{keys}\r\n")) {
        assert!(began.elapsed() < PATIENCE, "the store has {:?}", server.command("DBSIZE\r\n"));
        std::thread::yield_now();
    }
}

#[test]
fn gateways_share_answers_in_a_store() {
    let server = Server::start(&[]);
    let backend = Held::start().released();
    let policies = format!("{LOOKS}vary-by-headers = [\"accept\"]\n{STORES}");
    let gateways = [(); 2].map(|()| start(backend.address, &store(&server), &policies));
    // The authority is part of the question, so both are asked by one name.
    assert_eq!(get(&gateways[0], "/a"), r#"{"n":"1"}"#);
    until_kept(&server, 1);
    assert_eq!(get(&gateways[1], "/a"), r#"{"n":"1"}"#);
    assert_eq!(get(&gateways[0], "/a"), r#"{"n":"1"}"#);
    assert_eq!(backend.calls(), 1);
    assert!(gateways[1].has_metric(r#"sluicegate_cache_lookups_total{kind="response",result="hit"} 1"#));
    assert!(gateways[1].has_metric("sluicegate_cache_entries 0"), "nothing of it is in memory");
    let mut clients: Vec<_> = gateways.iter().flat_map(|gateway| (0..32).map(|_| ask(gateway, "/a"))).collect();
    clients.iter_mut().for_each(|client| assert_eq!(body(client), r#"{"n":"1"}"#));
    assert_eq!(backend.calls(), 1);
    let time = server.command("SCAN 0\r\n").unwrap();
    assert!(time.contains("sluicegate:cache:answer:"), "{time}");
}

#[test]
fn however_many_ask_at_once_a_variant_in_the_store_is_found() {
    let server = Server::start(&[]);
    let backend = Held::start().released();
    let gateways = [(); 2].map(|()| start(backend.address, &store(&server), &format!("{LOOKS}{STORES}")));
    assert_eq!(get(&gateways[0], "/varies"), r#"{"n":"1"}"#);
    // The variant, and by what they vary.
    until_kept(&server, 2);
    let mut clients: Vec<_> = (0..64).map(|_| ask(&gateways[1], "/varies")).collect();
    clients.iter_mut().for_each(|client| assert_eq!(body(client), r#"{"n":"1"}"#));
    assert_eq!(backend.calls(), 1);
}

const VALUES: &str = "[[inbound]]\npolicy = \"cache-lookup-value\"\nkey = \"@path()\"\nvariable-name = \"v\"\ndefault-value = \"none\"\n\
    [[inbound]]\npolicy = \"choose\"\n[[inbound.when]]\ncondition = \"@equals(method(), 'PUT')\"\n\
    [[inbound.when.policies]]\npolicy = \"cache-store-value\"\nkey = \"@path()\"\nvalue = \"@queryParameters('v')\"\nduration = \"1h\"\n\
    [[inbound.when]]\ncondition = \"@equals(method(), 'DELETE')\"\n\
    [[inbound.when.policies]]\npolicy = \"cache-remove-value\"\nkey = \"@path()\"\n\
    [[inbound]]\npolicy = \"return-response\"\nbody = \"@{variables('v')}\"\n";

/// Sends a request whose answer does not matter.
#[track_caller]
fn send(gateway: &Gateway, first_line: &str) {
    let answer = gateway.send(&Message { first_line: first_line.to_owned(), ..Message::default() }).expect("an answer");
    assert!(answer.first_line.contains(" 200 "), "{answer:?}");
}

#[test]
fn gateways_share_values_in_a_store() {
    let server = Server::start(&[]);
    let backend = Held::start().released();
    let gateways = [(); 2].map(|()| start(backend.address, &store(&server), VALUES));
    assert_eq!(get(&gateways[1], "/k"), "none");
    send(&gateways[0], "PUT /k?v=7");
    assert_eq!(get(&gateways[1], "/k"), "7");
    assert_eq!(server.command("GET sluicegate:cache:value:/k\r\n").unwrap(), "$3\r\n\"7\"\r\n", "others can read it");
    let left = server.command("PTTL sluicegate:cache:value:/k\r\n").unwrap();
    let left: u64 = left.trim().trim_start_matches(':').parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    server.command("SET sluicegate:cache:value:/k broken\r\n").unwrap();
    assert_eq!(get(&gateways[1], "/k"), "none", "what is no JSON is no value");
    send(&gateways[0], "PUT /k?v=8");
    send(&gateways[1], "DELETE /k");
    assert_eq!(get(&gateways[0], "/k"), "none");
}

#[test]
fn a_dead_store_is_a_miss_and_memory_takes_its_place_meanwhile() {
    let mut server = Server::start(&[]);
    let backend = Held::start().released();
    let gateway = start(backend.address, &store(&server), &format!("{LOOKS}{STORES}"));
    assert_eq!(get(&gateway, "/a"), r#"{"n":"1"}"#);
    until_kept(&server, 1);
    assert_eq!(get(&gateway, "/a"), r#"{"n":"1"}"#);
    server.kill();
    assert_eq!(get(&gateway, "/a"), r#"{"n":"2"}"#, "a miss");
    until(|| get(&gateway, "/a") == r#"{"n":"2"}"#, "memory takes its place");
    assert!(!gateway.has_metric(r#"sluicegate_cache_lookups_total{kind="response",result="error"} 0"#));
    server.restart();
    gateway.clock.advance(Duration::from_secs(1));
    let after = get(&gateway, "/a");
    assert_ne!(after, r#"{"n":"2"}"#, "the store is asked again, and has forgotten");
    until_kept(&server, 1);
    server.kill();
    // The answer to the last request to be kept may have been lost, and that is another outage's.
    assert_ne!(get(&gateway, "/a"), r#"{"n":"2"}"#, "what memory kept in the first outage is not found in the second");
}

/// Waits for something that happens soon.
#[track_caller]
fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn values_survive_a_dead_store_as_far_as_they_can() {
    let mut server = Server::start(&[]);
    let backend = Held::start().released();
    let gateway = start(backend.address, &store(&server), VALUES);
    let strict = VALUES.replace("policy = \"cache-", "caching-type = \"external\"\npolicy = \"cache-");
    let strict = start(backend.address, &store(&server), &strict);
    for gateway in [&gateway, &strict] {
        send(gateway, "PUT /k?v=7");
        assert_eq!(get(gateway, "/k"), "7");
    }
    server.kill();
    for (name, gateway, want) in [("prefer-external", &gateway, "8"), ("external", &strict, "none")] {
        assert_eq!(get(gateway, "/k"), "none", "{name}");
        send(gateway, "PUT /k?v=8");
        assert_eq!(get(gateway, "/k"), want, "{name}");
        send(gateway, "DELETE /k");
        assert_eq!(get(gateway, "/k"), "none", "{name}");
    }
}
