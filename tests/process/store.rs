//! A shared store that is not there when the gateway starts.

use std::net::TcpListener;

use crate::support::{Folder, Gateway};

#[test]
fn a_store_that_is_not_there_is_told_of_and_the_gateway_serves() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = format!("[store]\nkind = \"redis\"\nurl = \"redis://:pass-4711@{address}/\"\n");
    let limit = "[[inbound]]\npolicy = \"rate-limit\"\ncalls = 2\nperiod = \"1h\"\nkey = \"all\"\n";
    let folder = Folder::sample(&format!("{store}{limit}"));
    let gateway = Gateway::run(folder.path());
    let statuses = [(); 3].map(|()| gateway.get("/sample/invoices").status);
    assert_eq!(statuses, [200, 200, 429], "the gateway counts by itself");
    gateway.says("the shared store fails");
    let answer = gateway.admin("/readyz");
    assert_eq!(answer.status, 200, "limits go on without the store");
    let ready = answer.json();
    let store = &ready["stores"][0];
    assert_eq!(store["urls"][0], format!("redis://***@{address}/"), "{store}");
    assert_eq!(store["failing"], true, "{store}");
    assert!(store["last_error"].as_str().unwrap().contains("refused"), "{store}");
    assert!(!answer.text().contains("4711") && !gateway.stderr().contains("4711"), "no password");
    let failures = gateway.metric("sluicegate_shared_store_failures_total{outcome=\"connect_error\"}");
    assert!(failures.is_some_and(|failures| failures >= 1.0), "{failures:?}");
}
