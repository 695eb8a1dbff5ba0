//! Calls on behalf of who calls, as the shipped `calendar.toml` has them: through a local issuer, two people at once.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Barrier;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};

use crate::support::{Answer, Client, Gateway, eventually, program};

const API: &str = "11111111-2222-3333-4444-555555555555";
const CONNECTOR: &str = "66666666-7777-8888-9999-000000000000";
const TENANT: &str = "00000000-0000-4000-8000-00000000d0d0";

/// `sluicegate issuer` on a port of its own.
struct Issuer {
    child: Child,
    url: String,
}

impl Issuer {
    fn start() -> Self {
        let mut command = program();
        let mut child = command.args(["issuer", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines.by_ref().find_map(|line| Some(line.unwrap().trim().strip_prefix("issuer ")?.trim().to_owned()));
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: url.unwrap() }
    }

    /// A token for the connector's user.
    fn mint(&self, user: &str, client: &str) -> String {
        let mut command = program();
        command
            .args(["token", "mint", "--issuer", &self.url, "--preset", "entra-v2", "--tenant", TENANT, "--user", user]);
        command.args(["--aud", API, "--client", client, "--scope", "access_as_user"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn fault(&self, kind: Option<&str>) {
        let mut client = Client::new(self.url.strip_prefix("http://").unwrap().parse().unwrap());
        let answer = match kind {
            None => client.request("DELETE", "/-/faults", ""),
            Some(kind) => {
                client.send("POST", "/-/faults", "", &json!({ "endpoint": "token", "kind": kind }).to_string())
            }
        };
        assert!((200..300).contains(&answer.unwrap().status));
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gateway(issuer: &Issuer) -> Gateway {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut command = program();
    command.arg("run").arg(policies).args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("ENTRA_AUTHORITY", &issuer.url).env("RUST_LOG", "sluicegate=trace");
    command.env("CONTACTS_API_SECRET", "hush-secret").env("CALENDAR_KEY", "hush-key");
    let gateway = Gateway::spawn(&mut command);
    gateway.says("verification keys changed");
    gateway
}

fn call(client: &mut Client, token: &str) -> Answer {
    client.request("GET", "/calendar/me", &format!("authorization: Bearer {token}\r\n")).expect("an answer")
}

/// What stands in the token that the backend was sent.
fn claims(echo: &Json) -> Json {
    let token = echo["headers"]["authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn fetches(gateway: &Gateway, result: &str) -> Option<f64> {
    gateway.metric(&format!("sluicegate_backend_token_fetches_total{{result=\"{result}\",source=\"on-behalf\"}}"))
}

#[test]
fn two_people_at_once_are_never_each_other() {
    const ROUNDS: usize = 4;
    const THREADS: usize = 3;
    const CALLS: usize = 5;
    let issuer = Issuer::start();
    let gateway = gateway(&issuer);
    let people = ["ann@contoso.example", "bob@contoso.example"];
    // A token of each for each round, so that each round begins with nothing at hand.
    let tokens = people.map(|user| (0..ROUNDS).map(|_| issuer.mint(user, CONNECTOR)).collect::<Vec<_>>());
    let barrier = Barrier::new(people.len() * THREADS);
    let (address, barrier) = (gateway.address, &barrier);
    // Nobody panics before the others have passed the barrier.
    let served: Vec<(&str, Answer)> = std::thread::scope(|scope| {
        let callers: Vec<_> = (people.iter().zip(&tokens))
            .flat_map(|one| std::iter::repeat_n(one, THREADS))
            .map(|(user, tokens)| {
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    let mut served = Vec::new();
                    for token in tokens {
                        barrier.wait();
                        served.extend((0..CALLS).map(|_| (*user, call(&mut client, token))));
                    }
                    served
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let requests = people.len() * THREADS * ROUNDS * CALLS;
    assert_eq!(served.len(), requests);
    for (user, answer) in &served {
        let echo = answer.json();
        let claims = claims(&echo);
        assert_eq!(claims["preferred_username"], *user);
        assert_eq!(claims["aud"], "https://graph.microsoft.com");
        assert_eq!((&claims["azp"], &claims["scp"]), (&json!(API), &json!("Calendars.Read")));
        assert_eq!(echo["headers"]["x-functions-key"], "hush-key");
    }
    let distinct: HashSet<&String> = tokens.iter().flatten().collect();
    assert_eq!(distinct.len(), people.len() * ROUNDS);
    assert_eq!(fetches(&gateway, "issued"), Some(distinct.len() as f64), "one fetch for each token of a caller");
    let shown = format!("{}{:?}{}", gateway.stderr(), gateway.admin("/readyz").text(), gateway.admin("/config").text());
    assert!(shown.contains("on-behalf"));
    eventually("all lines of the access log", || (gateway.stdout().lines().count() >= requests).then_some(()));
    let shown = shown + &gateway.stdout();
    for secret in distinct.iter().map(|token| token.rsplit('.').next().unwrap()).chain(["hush", "eyJ"]) {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn who_cannot_be_acted_for_is_told_so_and_a_token_at_hand_outlives_its_endpoint() {
    let issuer = Issuer::start();
    let gateway = gateway(&issuer);
    let mut client = Client::new(gateway.address);
    let mut status = |token: &str| call(&mut client, token).status;
    let known = issuer.mint("ann", CONNECTOR);
    assert_eq!(status(&known), 200);
    let late = issuer.mint("bob", CONNECTOR);
    let others = ["carl", "dora", "eve"].map(|user| issuer.mint(user, CONNECTOR));
    let app = issuer.mint("ann", "99999999-0000-0000-0000-000000000000");
    assert_eq!(status(&app), 401, "what no policy accepts is not exchanged");
    for (kind, token) in ["redirect", "html", "huge"].iter().zip(&others) {
        issuer.fault(Some(kind));
        assert_eq!(status(token), 502, "{kind}");
        assert_eq!(status(&known), 200, "{kind}: another's is at hand");
        issuer.fault(None);
    }
    let (ready, detail) = gateway.ready();
    let source = &detail["token_sources"][0];
    assert_eq!((ready, &source["source"], &source["failures"]), (200, &json!("on-behalf"), &json!(3)));
    assert!(source["last_error"].as_str().unwrap().ends_with("is longer than 65536 bytes"), "{source}");
    // After three failures in a row the endpoint rests for a moment, and then is asked again.
    eventually("a token for bob", || (status(&late) == 200).then_some(()));
    assert_eq!(fetches(&gateway, "failed"), Some(3.0));
}
