//! Who may call what with which key: Azure API Management's rules as one table, over real HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use sluicegate::identity::subscription::digest_of;
use support::backend::Backend;
use support::gateway::Gateway;
use support::wire::Message;

/// What an API says of keys, and the products that it is in.
#[derive(Clone, Copy, Debug)]
struct Api {
    required: Option<bool>,
    in_gold: bool,
    in_open: bool,
}

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scope {
    AllApis,
    /// A product that may hold the API.
    Gold,
    /// A product that never does.
    Silver,
    ThisApi,
    OtherApi,
}

const SCOPES: [Scope; 5] = [Scope::AllApis, Scope::Gold, Scope::Silver, Scope::ThisApi, Scope::OtherApi];

/// States, with the end of the subscription. The clock stands at 2026-01-01.
const STATES: [(&str, &str); 8] = [
    ("active", ""),
    ("active", "2026-01-01T00:00:01Z"),
    ("active", "2026-01-01T00:00:00Z"),
    ("suspended", ""),
    ("submitted", ""),
    ("cancelled", ""),
    ("rejected", ""),
    ("expired", ""),
];

/// The only states that let anybody in.
const IN_FORCE: usize = 2;

fn apis() -> Vec<Api> {
    let mut apis = Vec::new();
    for required in [None, Some(true), Some(false)] {
        for in_gold in [false, true] {
            apis.extend([false, true].map(|in_open| Api { required, in_gold, in_open }));
        }
    }
    apis
}

fn name(api: Api) -> String {
    format!("{:?}-{}-{}", api.required, api.in_gold, api.in_open).replace(['(', ')'], "").to_lowercase()
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn files(backend: &Backend) -> Vec<(String, String)> {
    let all = apis();
    let mut gateway = format!("[backends.upstream]\nurl = \"http://{}\"\n", backend.address);
    let gold = list(all.iter().filter(|api| api.in_gold).map(|api| name(*api)));
    let open = list(all.iter().filter(|api| api.in_open).map(|api| name(*api)));
    gateway += &format!("[products.gold]\napis = [{gold}]\n[products.silver]\napis = [\"elsewhere\"]\n");
    gateway += &format!("[products.open]\napis = [{open}]\nsubscription-required = false\n");
    for scope in SCOPES {
        for (number, (state, expires)) in STATES.into_iter().enumerate() {
            let [primary, secondary] =
                ["primary", "secondary"].map(|slot| digest_of(key(scope, number, slot).as_bytes()));
            gateway += &format!("[subscriptions.{scope:?}-{number}]\nstate = \"{state}\"\n");
            gateway += &format!("primary = {{ digest = \"{primary}\" }}\nsecondary = {{ digest = \"{secondary}\" }}\n");
            if !expires.is_empty() {
                gateway += &format!("expires = \"{expires}\"\n");
            }
            gateway += &match scope {
                Scope::AllApis => String::new(),
                Scope::Gold => "product = \"gold\"\n".to_owned(),
                Scope::Silver => "product = \"silver\"\n".to_owned(),
                Scope::ThisApi => format!("apis = [{}]\n", list(all.iter().map(|api| name(*api)))),
                Scope::OtherApi => "apis = [\"elsewhere\"]\n".to_owned(),
            };
        }
    }
    gateway += "[[outbound]]\npolicy = \"set-header\"\nname = \"x-who\"\nvalue = \"@{subscription()}/@{product()}\"\n";
    let api = |name: &str, required: Option<bool>| {
        let required = required.map(|required| format!("subscription-required = {required}\n")).unwrap_or_default();
        let text = format!(
            "[api]\nname = \"{name}\"\npath = \"/{name}\"\nbackend = \"upstream\"\n{required}\
             [[operation]]\nname = \"Get\"\nmatch = \"GET /\"\n"
        );
        (format!("{name}.toml"), text)
    };
    let mut files = vec![("gateway.toml".to_owned(), gateway), api("elsewhere", None)];
    files.extend(all.into_iter().map(|one| api(&name(one), one.required)));
    files
}

fn key(scope: Scope, state: usize, slot: &str) -> String {
    format!("key-of-{scope:?}-{state}-{slot}")
}

/// What a call is answered with.
#[derive(Debug, PartialEq)]
enum Answer {
    /// Let in: the subscription and the product that policies see.
    Let(String, &'static str),
    /// Refused, for want of a key.
    Missing,
    /// Refused, for a key that will not do.
    Invalid,
}

fn call(gateway: &Gateway, api: Api, header: Option<&str>, query: Option<&str>) -> Answer {
    let query = query.map(|key| format!("?subscription-key={key}")).unwrap_or_default();
    let fields = header.map(|key| ("Ocp-Apim-Subscription-Key".to_owned(), key.to_owned()));
    let request =
        Message { first_line: format!("GET /{}{query}", name(api)), fields: Vec::from_iter(fields), body: Vec::new() };
    let response = gateway.send(&request).unwrap();
    let body = String::from_utf8_lossy(&response.body);
    match response.first_line.as_str() {
        "HTTP/1.1 200 OK" => {
            let who = response.field("x-who").unwrap();
            let (subscription, product) = who.split_once('/').unwrap();
            let product = ["", "gold", "silver", "open"].into_iter().find(|known| *known == product).unwrap();
            Answer::Let(subscription.to_owned(), product)
        }
        "HTTP/1.1 401 Access Denied" => {
            let challenge = response.field("www-authenticate").unwrap();
            let want = r#"name="Ocp-Apim-Subscription-Key",type="header""#;
            assert!(
                challenge.starts_with("AzureApiManagementKey realm=\"") && challenge.ends_with(want),
                "{challenge}"
            );
            if body.contains("missing subscription key") { Answer::Missing } else { Answer::Invalid }
        }
        other => panic!("{other}: {body}"),
    }
}

/// Azure API Management's rules ("Subscriptions in Azure API Management", how requests with and without a key are handled). An
/// API that says nothing of keys and is in no product is this gateway's own: there keys are left for the backend.
fn without_key(api: Api) -> Answer {
    match api {
        Api { in_open: true, .. } => Answer::Let(String::new(), "open"),
        Api { required: Some(true), .. } | Api { required: None, in_gold: true, .. } => Answer::Missing,
        Api { required: Some(false), .. } | Api { required: None, in_gold: false, .. } => {
            Answer::Let(String::new(), "")
        }
    }
}

fn with_key(api: Api, scope: Scope, state: usize) -> Answer {
    if matches!(api, Api { required: None, in_gold: false, in_open: false }) {
        return Answer::Let(String::new(), "");
    }
    let subscription = format!("{scope:?}-{state}");
    match scope {
        _ if state >= IN_FORCE => Answer::Invalid,
        Scope::AllApis | Scope::ThisApi => Answer::Let(subscription, ""),
        Scope::Gold if api.in_gold => Answer::Let(subscription, "gold"),
        Scope::Gold | Scope::Silver | Scope::OtherApi => Answer::Invalid,
    }
}

#[test]
fn scope_state_product_and_key_decide() {
    let backend = Backend::start();
    let started = Gateway::start(files(&backend), None);
    let gateway = started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics));
    let mut refused = 0;
    for api in apis() {
        let nothing = without_key(api);
        for empty in [None, Some("")] {
            assert_eq!(call(&gateway, api, empty, empty), nothing, "{api:?} without a key");
        }
        for scope in SCOPES {
            for (state, named) in STATES.iter().enumerate() {
                let case = format!("{api:?} with a key for {scope:?}, {named:?}");
                let (primary, secondary) = (key(scope, state, "primary"), key(scope, state, "secondary"));
                let want = with_key(api, scope, state);
                refused += usize::from(want == Answer::Invalid);
                assert_eq!(call(&gateway, api, Some(&primary), None), want, "{case}");
                assert_eq!(call(&gateway, api, None, Some(&secondary)), want, "{case}, in the query");
                // The header counts, and the query only without it.
                assert_eq!(
                    call(&gateway, api, Some(&primary), Some("wrong")),
                    want,
                    "{case}, and a wrong one after it"
                );
                assert_eq!(call(&gateway, api, Some(""), Some(&primary)), want, "{case}, behind an empty header");
            }
        }
        // A wrong key is refused even where none is needed.
        let wrong = with_key(api, Scope::Silver, 0);
        assert_eq!(call(&gateway, api, Some("wrong"), None), wrong, "{api:?} with a wrong key");
        assert_eq!(call(&gateway, api, None, Some("wrong")), wrong, "{api:?} with a wrong key in the query");
        let good = key(Scope::AllApis, 0, "primary");
        assert_eq!(call(&gateway, api, Some("wrong"), Some(&good)), wrong, "{api:?}: the header decides");
        let digest = digest_of(good.as_bytes());
        assert_eq!(call(&gateway, api, Some(&digest), None), wrong, "{api:?}: a digest is no key");
    }
    assert_eq!(refused, 11 * (5 * 6 + 2 * 2) + 5 * 2, "of eleven APIs that look at keys, five are not in gold");
}
