//! Drain: not ready, then no new connections, and requests in service finish within a deadline.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Client, Folder, Gateway, eventually, pause};

/// A request that its backend answers after so many milliseconds, once it is in service.
fn slow(gateway: &Gateway, milliseconds: u32) -> std::thread::JoinHandle<Option<u16>> {
    let before = gateway.metric("sluicegate_in_flight_requests").unwrap();
    let mut client = Client::new(gateway.address);
    let request = std::thread::spawn(move || {
        client.get(&format!("/sample/slow?ms={milliseconds}")).filter(|answer| answer.complete).map(|it| it.status)
    });
    eventually("the request to be in service", || {
        (gateway.metric("sluicegate_in_flight_requests").unwrap() > before).then_some(())
    });
    request
}

#[test]
fn requests_in_service_finish_and_the_exit_is_clean() {
    for signal in ["TERM", "INT"] {
        let folder = Folder::sample("");
        let mut gateway = Gateway::run(folder.path());
        let mut idle = Client::new(gateway.address);
        assert_eq!(idle.get("/sample/invoices").unwrap().status, 200);
        let request = slow(&gateway, 400);
        gateway.signal(signal);
        eventually("the listener to close", || TcpStream::connect(gateway.address).is_err().then_some(()));
        assert!(idle.closed(), "an idle connection is closed");
        assert_eq!(request.join().unwrap(), Some(200), "{signal}");
        assert_eq!(gateway.wait().code(), Some(0), "{signal}");
        gateway.says("stopped: ");
        assert_eq!(gateway.access_log(2).len(), 2, "the last line is written too");
    }
}

#[test]
fn readiness_turns_false_before_the_listener_closes() {
    let folder = Folder::sample("[server.drain]\ndelay = \"600ms\"\n");
    let mut gateway = Gateway::run(folder.path());
    assert_eq!(gateway.ready().0, 200);
    let begun = Instant::now();
    gateway.signal("TERM");
    let detail = eventually("readiness to turn false", || {
        let (status, detail) = gateway.ready();
        (status == 503).then_some(detail)
    });
    assert_eq!((&detail["ready"], &detail["draining"]), (&false.into(), &true.into()));
    assert_eq!(gateway.admin("/healthz").status, 200, "it lives");
    assert_eq!(gateway.get("/sample/invoices").status, 200, "whoever has not noticed is served");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[test]
fn the_deadline_cuts_off_what_takes_too_long() {
    let folder = Folder::sample("[server.drain]\ndeadline = \"100ms\"\n");
    let mut gateway = Gateway::run(folder.path());
    let request = slow(&gateway, 100_000);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    gateway.says("1 were cut off");
    assert_eq!(request.join().unwrap(), None);
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["aborted"], &line["status"]), (&true.into(), &499.into()), "{line}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = Folder::sample("[server.drain]\ndelay = \"1h\"\n");
    let mut gateway = Gateway::run(folder.path());
    gateway.signal("TERM");
    gateway.says("still accepting");
    // At the same moment it would be the same signal.
    gateway.signal("TERM");
    assert_eq!(gateway.ready().0, 503, "still there");
    pause(Duration::from_millis(300));
    gateway.signal("INT");
    assert_eq!(gateway.wait().code(), Some(1));
    gateway.says("by a second signal");
}

/// Connections that come in while the listener closes are served or were never taken; none is taken and let go of.
#[test]
fn nothing_that_was_accepted_is_lost() {
    let folder = Folder::sample("[server]\nworkers = 1\n");
    let mut gateway = Gateway::run(folder.path());
    let address = gateway.address;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut lost = 0;
                loop {
                    let Ok(stream) = TcpStream::connect(address) else { return lost };
                    let mut client = Client(std::io::BufReader::new(stream));
                    lost += usize::from(client.get("/sample/invoices").is_none_or(|answer| !answer.complete));
                }
            })
        })
        .collect();
    eventually("traffic", || (gateway.access_log(0).len() > 50).then_some(()));
    gateway.signal("TERM");
    let lost: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(gateway.wait().code(), Some(0));
    // One can slip in between the last look into the kernel's queue and the closing of the listener.
    assert!(lost <= 1, "{lost} connections lost");
}
