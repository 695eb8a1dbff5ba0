//! Stores: a shared one that is not there when the gateway starts, and the file that quotas are kept in over crashes.

use std::net::TcpListener;

use crate::support::{Client, Folder, Gateway, eventually};

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

const QUOTA: &str = "[store]\npath = \"counts.redb\"\nsync-interval = \"20ms\"\n\
    [[inbound]]\npolicy = \"quota\"\ncalls = 1000\nperiod = \"year\"\nremaining-calls-header = \"x-left\"\n";

/// Makes calls, and says how many are left.
fn call(gateway: &Gateway, times: usize) -> u64 {
    let mut client = Client::new(gateway.address);
    let left = (0..times).map(|_| client.get("/sample/invoices").unwrap().field("x-left").unwrap().parse().unwrap());
    left.last().unwrap()
}

/// Waits until everything counted so far is on the disk: the second write from now began after it was counted.
fn synced(gateway: &Gateway) {
    let writes = || gateway.metric("sluicegate_store_syncs_total{result=\"success\"}").unwrap();
    let before = writes();
    eventually("two writes", || (writes() >= before + 2.0).then_some(()));
}

#[test]
fn a_crash_loses_what_one_interval_holds_at_most() {
    let folder = Folder::sample(QUOTA);
    let mut gateway = Gateway::run(folder.path());
    assert_eq!(call(&gateway, 60), 940);
    synced(&gateway);
    assert_eq!(call(&gateway, 30), 910);
    gateway.signal("KILL");
    gateway.wait();
    let mut gateway = Gateway::run(folder.path());
    let left = call(&gateway, 1);
    assert!((909..=939).contains(&left), "{left} left");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let gateway = Gateway::run(folder.path());
    assert_eq!(call(&gateway, 1), left - 1, "an orderly end loses nothing");
}

#[test]
fn what_is_counted_without_the_shared_store_is_kept_in_the_file() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shared = format!("[store]\nkind = \"redis\"\nurl = \"redis://{address}/\"\n");
    let folder = Folder::sample(&QUOTA.replace("[store]\n", &shared));
    let mut gateway = Gateway::run(folder.path());
    assert_eq!(call(&gateway, 60), 940);
    synced(&gateway);
    gateway.signal("KILL");
    gateway.wait();
    let gateway = Gateway::run(folder.path());
    assert_eq!(call(&gateway, 1), 939);
}

#[test]
fn crashes_under_load_lose_at_most_an_interval_each() {
    let folder = Folder::sample(QUOTA);
    let mut sure = 0;
    let mut made = 0;
    for _ in 0..3 {
        let mut gateway = Gateway::run(folder.path());
        sure += 40;
        made += 40;
        call(&gateway, 40);
        synced(&gateway);
        std::thread::scope(|scope| {
            let loads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = Client::new(gateway.address);
                        // At most 25 each, fewer when the gateway dies first.
                        (0..25).take_while(|_| client.get("/sample/invoices").is_some_and(|a| a.status == 200)).count()
                    })
                })
                .collect();
            gateway.signal("KILL");
            // A call whose answer was lost may have been counted, too.
            made += loads.into_iter().map(|load| load.join().unwrap() as u64 + 1).sum::<u64>();
        });
        gateway.wait();
    }
    let gateway = Gateway::run(folder.path());
    let used = 1000 - call(&gateway, 1) - 1;
    assert!((sure..=made).contains(&used), "{used} used, {sure} were on the disk, {made} were made");
}

#[test]
fn a_file_that_another_gateway_has_is_a_clear_error() {
    let folder = Folder::sample(QUOTA);
    let _first = Gateway::run(folder.path());
    let second = crate::support::program()
        .arg("run")
        .arg(folder.path())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("counts.redb` cannot be used: it is in use by another process"), "{text}");
}
