//! The sample backend over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A backend that runs as long as the test's runtime, and its address.
async fn started(clock: Clock) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_with(listener, std::future::pending(), clock));
    address
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }
}

/// Sends one request on a connection of its own, and reads to the end.
async fn call(address: SocketAddr, method: &str, target: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: sample.test\r\nConnection: close\r\nX-Twice: a\r\nX-Twice: b\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    call(address, "GET", target, b"").await
}

#[tokio::test]
async fn orders_come_in_pages_until_there_is_no_next_link() {
    let address = started(Clock::manual()).await;
    let mut target = "/v1/orders?page=1&pageSize=20".to_owned();
    let mut sizes = Vec::new();
    loop {
        let list = get(address, &target).await.json();
        sizes.push(list["value"].as_array().unwrap().len());
        match list["nextLink"].as_str() {
            Some(link) => target = link.strip_prefix("http://sample.test").unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(sizes, [20, 20, 17]);
    assert_eq!(get(address, "/v1/orders?page=99").await.json()["value"], json!([]), "past the end");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_json() {
    let address = started(Clock::manual()).await;
    struct Case {
        method: &'static str,
        target: &'static str,
        body: &'static str,
        want: (u16, &'static str),
    }
    for Case { method, target, body, want } in [
        Case { method: "GET", target: "/v1/orders?pageSize=0", body: "", want: (400, "BadRequest") },
        Case { method: "GET", target: "/v1/orders?pageSize=101", body: "", want: (400, "BadRequest") },
        Case { method: "GET", target: "/v1/orders?page=x", body: "", want: (400, "BadRequest") },
        Case { method: "GET", target: "/v1/orders/7", body: "", want: (404, "NotFound") },
        Case { method: "GET", target: "/v1/orders/x", body: "", want: (404, "NotFound") },
        Case { method: "PUT", target: "/v1/orders/1001", body: "", want: (405, "MethodNotAllowed") },
        Case { method: "POST", target: "/v1/orders", body: "{", want: (400, "BadRequest") },
        Case { method: "POST", target: "/v1/orders", body: "[]", want: (400, "BadRequest") },
        Case { method: "POST", target: "/v1/orders", body: "{}", want: (400, "BadRequest") },
        Case { method: "DELETE", target: "/v1/orders/7", body: "", want: (404, "NotFound") },
        Case { method: "POST", target: "/v1/invoices", body: "", want: (405, "MethodNotAllowed") },
        Case { method: "GET", target: "/v1/invoices/INV-0025", body: "", want: (404, "NotFound") },
        Case { method: "GET", target: "/v1/invoices/7", body: "", want: (404, "NotFound") },
        Case { method: "GET", target: "/v1/slow?ms=150001", body: "", want: (400, "BadRequest") },
        Case { method: "GET", target: "/v1/bytes/2147483649", body: "", want: (400, "BadRequest") },
        Case { method: "GET", target: "/v1/upload", body: "", want: (405, "MethodNotAllowed") },
        Case { method: "POST", target: "/v1/flaky", body: "", want: (405, "MethodNotAllowed") },
        Case { method: "GET", target: "/v1/failing", body: "", want: (500, "Failed") },
        Case { method: "GET", target: "/elsewhere", body: "", want: (404, "NotFound") },
    ] {
        let answer = call(address, method, target, body.as_bytes()).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str().unwrap()), want, "{method} {target}");
        assert_eq!(answer.header("allow").is_some(), answer.status == 405, "{method} {target}");
    }
}

#[tokio::test]
async fn an_order_is_made_changed_and_deleted() {
    let address = started(Clock::manual()).await;
    let made = call(address, "POST", "/v1/orders", br#"{"id":5,"customer":"Contoso","note":"x"}"#).await;
    assert_eq!((made.status, made.header("location")), (201, Some("/v1/orders/1058")));
    assert_eq!(made.json(), json!({ "id": 1058, "status": "open", "customer": "Contoso", "note": "x" }));

    let changed = call(address, "PATCH", "/v1/orders/1058", br#"{"id":6,"status":"packed","note":null}"#).await;
    assert_eq!(changed.json(), json!({ "id": 1058, "status": "packed", "customer": "Contoso" }));
    let long = format!(r#"{{"note":"{}"}}"#, "x".repeat(16 * 1024));
    assert_eq!(call(address, "PATCH", "/v1/orders/1058", long.as_bytes()).await.status, 413);
    assert_eq!(get(address, "/v1/orders/1058").await.json(), changed.json());

    assert_eq!(call(address, "DELETE", "/v1/orders/1058", b"").await.status, 204);
    assert_eq!(get(address, "/v1/orders/1058").await.status, 404);
}

#[tokio::test]
async fn invoices_add_up() {
    let address = started(Clock::manual()).await;
    for n in 1..=24 {
        let id = format!("INV-{n:04}");
        let invoice = get(address, &format!("/v1/invoices/{id}")).await.json();
        let lines = get(address, &format!("/v1/invoices/{id}/lines")).await.json();
        let sum: u64 = lines["value"].as_array().unwrap().iter().map(|line| line["amount"].as_u64().unwrap()).sum();
        assert_eq!(invoice["total"].as_u64(), Some(sum), "{id}");
    }
    let list = get(address, "/v1/invoices").await.json();
    assert_eq!((list["value"].as_array().unwrap().len(), &list["count"]), (20, &json!(24)));
}

#[tokio::test]
async fn every_third_flaky_call_is_served() {
    let address = started(Clock::manual()).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(get(address, "/v1/flaky").await.status);
    }
    assert_eq!(seen, [503, 503, 200, 503, 503, 200]);
}

#[tokio::test]
async fn five_calls_in_ten_seconds_are_served_and_retry_after_is_honest() {
    let clock = Clock::manual();
    let address = started(clock.clone()).await;
    for call in 1..=5 {
        assert_eq!(get(address, "/v1/throttled").await.status, 200, "call {call}");
    }
    clock.advance(Duration::from_millis(6_500));
    let refused = get(address, "/v1/throttled").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("4")));
    clock.advance(Duration::from_millis(3_499));
    assert_eq!(get(address, "/v1/throttled").await.header("retry-after"), Some("1"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(address, "/v1/throttled").await.status, 200);
}

#[tokio::test]
async fn the_echo_says_what_was_sent() {
    let address = started(Clock::manual()).await;
    let echo = call(address, "REPORT", "/v1/echo/any/where?a=1&a=%20", b"hello").await.json();
    assert_eq!(echo["method"], "REPORT");
    assert_eq!(echo["path"], "/v1/echo/any/where");
    assert_eq!(echo["query"], "a=1&a=%20");
    assert_eq!(echo["headers"]["host"], "sample.test");
    assert_eq!(echo["headers"]["x-twice"], json!(["a", "b"]));
    assert_eq!(echo["body"], "hello");
    let binary = call(address, "POST", "/v1/echo", &[0xff, 0x00]).await.json();
    assert_eq!((&binary["body"], &binary["bodyEncoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(call(address, "POST", "/v1/echo", &vec![b'x'; 16 << 20]).await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused() {
    let address = started(Clock::manual()).await;
    for (path, most) in [("/v1/echo", 16), ("/v1/orders", 1)] {
        // All of it is read first, so that nobody sees the connection break in place of the answer.
        let refused = call(address, "POST", path, &vec![b'x'; (most << 20) + 1]).await;
        assert_eq!(refused.status, 413, "{path}");
        let told = refused.json().to_string();
        assert!(told.contains(&format!("longer than {most} MiB")), "{path}: {told}");
    }
}

#[tokio::test]
async fn bytes_are_streamed_and_uploads_are_counted() {
    let address = started(Clock::manual()).await;
    for count in [0_usize, 1, 64, 65_536, 200_000] {
        let answer = get(address, &format!("/v1/bytes/{count}")).await;
        assert_eq!(answer.body.len(), count);
        assert_eq!(answer.header("content-length"), Some(count.to_string().as_str()));
        assert!(answer.body.iter().enumerate().all(|(at, byte)| *byte == answer.body[at % 64]), "{count}");
        let counted = call(address, "POST", "/v1/upload", &vec![0; count]).await.json();
        assert_eq!(counted, json!({ "bytes": count }));
    }
    let head = call(address, "HEAD", "/v1/bytes/2147483648", b"").await;
    assert_eq!((head.header("content-length"), head.body.len()), (Some("2147483648"), 0), "HEAD sends no body");
}

#[tokio::test]
async fn a_slow_answer_says_how_long_it_took() {
    let address = started(Clock::manual()).await;
    assert_eq!(get(address, "/v1/slow?ms=1").await.json(), json!({ "waitedMs": 1 }));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let address = started(Clock::manual()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"DELETE /v1/orders/7 HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4_096];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 404"));
    }
}

#[test]
fn the_backend_stops_with_its_handle() {
    let (address, handle) = spawn().unwrap();
    std::net::TcpStream::connect(address).unwrap();
    drop(handle);
    assert!(std::net::TcpStream::connect(address).is_err());
}
