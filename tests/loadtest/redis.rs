//! Three gateways on one Redis, driven as one: whoever is asked, they admit what one limit allows, and what happens while it is away.

use super::process::Gateway;
use super::server::Server;
use super::{Found, of, report};

const LIMITS: [(&str, &str); 6] = [
    ("exact", "policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\""),
    ("slots", "policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\nslots = 10"),
    ("bucket", "policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\nalgorithm = \"token-bucket\""),
    ("clock", "policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\nalgorithm = \"fixed-window\""),
    (
        "first-call",
        "policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\nalgorithm = \"fixed-window\"\nstart = \"first-call\"",
    ),
    ("at-once", "policy = \"limit-concurrency\"\nmax-count = 5"),
];

/// A folder with an API for each of these limits.
fn files(store: &str, limits: &[(&str, &str)]) -> tempfile::TempDir {
    let gateway = format!("[store]\nkind = \"redis\"\n{store}\n[backends.sample]\nurl = \"sample:/v1\"\n");
    let folder = of(&[("gateway.toml", &gateway)]);
    for (name, limit) in limits {
        let api = format!(
            "[api]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"sample\"\n\n[[inbound]]\nid = \"{name}\"\n\
             key = \"@headers('x-key')\"\n{limit}\n\n[[operation]]\nname = \"Any\"\nmatch = \"GET /\"\n\
             [[operation.inbound]]\npolicy = \"rewrite-uri\"\ntemplate = \"/slow?ms=100\"\n"
        );
        std::fs::write(folder.path().join(format!("{name}.toml")), api).unwrap();
    }
    folder
}

/// Three gateways, and the arguments that name them.
fn three(folder: &tempfile::TempDir) -> (Vec<Gateway>, Vec<String>) {
    let gateways: Vec<Gateway> = (0..3).map(|_| Gateway::run(folder.path())).collect();
    let urls = gateways.iter().flat_map(|gateway| ["--url".to_owned(), format!("http://{}", gateway.address)]);
    let urls = urls.collect();
    (gateways, urls)
}

fn load(folder: &tempfile::TempDir, urls: &[String], more: &[&str]) -> Found {
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    report(folder.path(), &[&["."], &urls[..], more].concat())
}

#[test]
fn every_algorithm_in_redis_keeps_its_promise_under_64_clients_on_one_key_of_three_gateways() {
    let server = Server::start(&[]);
    // So patient that only Redis decides.
    let patient = "timeout = \"10s\"\nconnect-timeout = \"10s\"\non-error = \"deny\"";
    let folder = files(&format!("url = \"{}\"\n{patient}", server.url()), &LIMITS);
    let (gateways, urls) = three(&folder);
    std::thread::scope(|scope| {
        for (name, _) in LIMITS {
            let (folder, urls) = (&folder, &urls);
            scope.spawn(move || {
                let operation = format!("{name}/Any");
                let clients = ["--operation", &operation, "--connections", "64", "--keys", "1", "--shape", "burst=1s"];
                let more = match name {
                    "at-once" => &["--rate", "32", "--duration", "4s", "--expect", "concurrency 5 hold=100ms"][..],
                    _ => &["--rate", "64", "--duration", "7s", "--cohort", "20"],
                };
                let probes = if name == "at-once" { "simultaneous" } else { "cold-start,simultaneous,retry-after" };
                let found =
                    load(folder, urls, &[&clients, more, &["--key", "header=x-key", "--probes", probes]].concat());
                found.assert_exact(name);
                assert!(found.count("/totals/refused") > 50 && found.count("/totals/admitted") > 0, "{name}: {found}");
                if name != "at-once" {
                    assert_eq!(found.figure("retry-after.honest"), 100.0, "{name}: {found}");
                }
            });
        }
    });
    // All three were asked, and all asked Redis.
    for gateway in &gateways {
        assert!(
            gateway.admin("/metrics").text().contains("sluicegate_limit_decisions_total"),
            "a gateway was left out"
        );
    }
}

/// Ends the server that a command of the test has started.
struct Ended<'a>(&'a Server);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.command("SHUTDOWN NOSAVE\r\n");
    }
}

#[test]
fn a_store_that_is_killed_and_comes_back_costs_no_answer() {
    let server = Server::start(&[]);
    let impatient =
        "timeout = \"250ms\"\nconnect-timeout = \"250ms\"\npause = \"200ms\"\non-error = \"local\"\nreplicas = 3";
    let folder = files(
        &format!("url = \"{}\"\n{impatient}", server.url()),
        &[("shared", "policy = \"rate-limit\"\ncalls = 30\nperiod = \"3s\"")],
    );
    let (_gateways, urls) = three(&folder);
    let down = format!("kill -9 {}", server.id());
    // In the foreground: it goes on when the test is over, and is ended here.
    let up =
        format!("exec redis-server --port {} --bind 127.0.0.1 --save '' --appendonly no >/dev/null 2>&1", server.port);
    let _end = Ended(&server);
    let found = load(
        &folder,
        &urls,
        &[
            "--duration",
            "4s",
            "--keys",
            "4",
            "--probes",
            "simultaneous,store-outage",
            "--on-store-down",
            &down,
            "--on-store-up",
            &up,
            // How long is a matter of the machine; that there is an answer is not.
            "--assert",
            "outage.p90<=20s",
        ],
    );
    found.assert_exact("with an outage");
    assert_eq!(found.figure("outage.failed"), 0.0, "{found}");
    assert_eq!(found.report["setting"]["broken"], serde_json::json!([]), "{found}");
    let asked = server.command("INFO commandstats\r\n").unwrap();
    assert!(asked.contains("cmdstat_evalsha"), "the gateways count in it again: {asked}");
}
