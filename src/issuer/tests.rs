//! The local issuer over real sockets.

use std::net::Ipv4Addr;

use reqwest::Client as Http;
use reqwest::redirect::Policy;
use serde_json::json;

use super::registrations::GRAPH;
use super::*;

const API: &str = "11111111-2222-4333-8444-555555555555";
const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABCDEFG";

/// An issuer on a clock that stands still, with keys that are made in no time.
struct Setup {
    issuer: Arc<Issuer>,
    clock: Clock,
    http: Http,
    _handle: Handle,
}

impl Setup {
    fn new(options: Options) -> Self {
        let options = Options { algorithms: vec![Algorithm::Es256, Algorithm::EdDsa], ..options };
        let clock = Clock::manual();
        let (issuer, handle) = spawn(options, (Ipv4Addr::LOCALHOST, 0).into(), clock.clone()).unwrap();
        let http = Http::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { issuer, clock, http, _handle: handle }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.url())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.http.post(self.url(path)).body(body.to_owned()).send().await.unwrap()).await
    }

    /// The parameters that the authorization endpoint sends back.
    async fn authorize(&self, path: &str) -> String {
        let response = self.http.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 302, "{path}");
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        location.split_once(['?', '#']).unwrap().1.to_owned()
    }

    /// A code for the client `app` and the scopes, with PKCE.
    async fn fresh_code(&self, scope: &str) -> String {
        let challenge = token::s256(VERIFIER);
        let sent = self
            .authorize(&format!(
                "/t/oauth2/v2.0/authorize?client_id=app&response_type=code&redirect_uri=http://l/&scope={scope}&nonce=n\
                 &code_challenge={challenge}&code_challenge_method=S256"
            ))
            .await;
        Form::read(&sent).get("code").unwrap().to_owned()
    }

    async fn signed_in(&self, scope: &str) -> Value {
        let code = self.fresh_code(scope).await;
        let form = format!(
            "grant_type=authorization_code&client_id=app&code={code}&redirect_uri=http://l/&code_verifier={VERIFIER}"
        );
        let (status, answer) = self.post("/t/oauth2/v2.0/token", &form).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

async fn answer(response: reqwest::Response) -> (u16, Value) {
    assert_eq!(response.headers()[MARK.0], MARK.1);
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// The claims of a token of an answer.
fn claims(answer: &Value, name: &str) -> Value {
    let token = answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn discovery_leads_to_what_tokens_say() {
    let setup = Setup::new(Options::default());
    let form = "grant_type=client_credentials&client_id=me&client_secret=any";
    for (discovery, form, aud) in [
        ("/.well-known/openid-configuration", format!("{form}&resource=orders&scope=a+b"), "orders"),
        ("/contoso/v2.0/.well-known/openid-configuration", format!("{form}&scope=api://{API}/.default"), API),
        ("/common/.well-known/openid-configuration", format!("{form}&resource=api://orders"), "api://orders"),
    ] {
        let (_, document) = setup.get(discovery).await;
        let path = |name: &str| document[name].as_str().unwrap().strip_prefix(setup.issuer.url()).unwrap().to_owned();
        let (_, keys) = setup.get(&path("jwks_uri")).await;
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{discovery}");
        let (status, answer) = setup.post(&path("token_endpoint"), &form).await;
        assert_eq!(status, 200, "{discovery}: {answer}");
        let claims = claims(&answer, "access_token");
        // For any tenant the document has a template.
        let issuer = document["issuer"].as_str().unwrap().replace("{tenantid}", setup.issuer.tenant());
        assert_eq!(claims["iss"], issuer, "{discovery}");
        assert_eq!(claims["aud"], aud, "{discovery}");
    }
}

#[tokio::test]
async fn a_code_is_good_once_for_its_client_and_verifier() {
    let setup = Setup::new(Options::default());
    let answer = setup.signed_in(&format!("openid+offline_access+api://{API}/access_as_user")).await;
    let (access, id) = (claims(&answer, "access_token"), claims(&answer, "id_token"));
    assert_eq!(
        (&access["aud"], &access["scp"], &access["azp"]),
        (&json!(API), &json!("access_as_user"), &json!("app"))
    );
    assert_eq!((&id["aud"], &id["nonce"], &id["scp"]), (&json!("app"), &json!("n"), &Value::Null));
    let refresh =
        format!("grant_type=refresh_token&client_id=app&refresh_token={}", answer["refresh_token"].as_str().unwrap());
    let (status, again) = setup.post("/t/oauth2/v2.0/token", &refresh).await;
    assert_eq!((status, &claims(&again, "access_token")["aud"]), (200, &json!(API)));
    assert_eq!(
        setup.post("/t/oauth2/v2.0/token", &refresh).await.1["error"],
        "invalid_grant",
        "a refresh token is good once"
    );

    struct Case {
        name: &'static str,
        path: &'static str,
        form: String,
        want: &'static str,
    }
    let verifier = format!("code_verifier={VERIFIER}");
    for Case { name, path, form, want } in [
        Case {
            name: "another verifier",
            path: "/t",
            form: "client_id=app&redirect_uri=http://l/&code_verifier=x".to_owned(),
            want: "code_verifier does not fit",
        },
        Case {
            name: "no verifier",
            path: "/t",
            form: "client_id=app&redirect_uri=http://l/".to_owned(),
            want: "there is no code_verifier",
        },
        Case {
            name: "another client",
            path: "/t",
            form: format!("client_id=eve&redirect_uri=http://l/&{verifier}"),
            want: "the code was for another client",
        },
        Case {
            name: "another tenant",
            path: "/u",
            form: format!("client_id=app&redirect_uri=http://l/&{verifier}"),
            want: "the code was for another client or tenant",
        },
        Case {
            name: "another redirect",
            path: "/t",
            form: format!("client_id=app&redirect_uri=http://m/&{verifier}"),
            want: "redirect_uri is not the one",
        },
    ] {
        let code = setup.fresh_code("openid").await;
        let form = format!("grant_type=authorization_code&code={code}&{form}");
        let (status, answer) = setup.post(&format!("{path}/oauth2/v2.0/token"), &form).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")), "{name}: {answer}");
        assert!(answer["error_description"].as_str().unwrap().starts_with(want), "{name}: {answer}");
        let good = format!("grant_type=authorization_code&code={code}&client_id=app&redirect_uri=http://l/&{verifier}");
        assert_eq!(setup.post("/t/oauth2/v2.0/token", &good).await.0, 400, "{name}: a code is tried once");
    }
    let code = setup.fresh_code("openid").await;
    setup.clock.advance(CODE_LIFETIME);
    let late = format!("grant_type=authorization_code&code={code}&client_id=app&redirect_uri=http://l/&{verifier}");
    assert_eq!(setup.post("/t/oauth2/v2.0/token", &late).await.0, 400, "too late");
}

#[tokio::test]
async fn what_cannot_be_authorized_says_why() {
    let setup = Setup::new(Options::default());
    let base = "/authorize?client_id=app&redirect_uri=http://l/cb?x%3D1&state=s";
    for (rest, want) in [
        ("&response_type=token", "error=unsupported_response_type"),
        (
            "&response_type=code&code_challenge=x&code_challenge_method=S256",
            "error=invalid_request&error_description=code_challenge%20is%20not",
        ),
        (
            "&response_type=code&code_challenge=x&code_challenge_method=plain",
            "error=invalid_request&error_description=code_challenge_method",
        ),
        ("&response_type=code&response_mode=form_post", "error=invalid_request"),
        ("&response_type=code&state=t", "error=invalid_request&error_description=a%20parameter%20came"),
    ] {
        let sent = setup.authorize(&format!("{base}{rest}")).await;
        let sent = sent.strip_prefix("x=1&").unwrap_or_else(|| panic!("the query of the redirect URI is kept: {sent}"));
        assert!(sent.starts_with(want) && sent.ends_with("&state=s"), "{rest}: {sent}");
    }
    // Nobody is sent to a place that is none, or that would run.
    for uri in ["", "/cb", "javascript:alert(1)", "http://l/%23x", "data:text/html,x"] {
        let path = format!("/authorize?client_id=app&response_type=code&redirect_uri={uri}");
        assert_eq!(setup.get(&path).await.0, 400, "{uri}");
    }
}

#[tokio::test]
async fn tokens_are_exchanged_for_the_next_api() {
    let setup = Setup::new(Options::default());
    let answer = setup.signed_in(&format!("api://{API}/access_as_user")).await;
    let user = answer["access_token"].as_str().unwrap();
    let form = "grant_type=client_credentials&client_id=x&client_secret=x&scope=api://y/.default";
    let (_, answer) = setup.post("/t/oauth2/v2.0/token", form).await;
    let app = answer["access_token"].as_str().unwrap();
    let foreign = Setup::new(Options::default());
    let answer = foreign.signed_in(&format!("api://{API}/access_as_user")).await;
    let foreign = answer["access_token"].as_str().unwrap();
    let forged = format!("{}x", &user[..user.len() - 1]);
    let behalf = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&requested_token_use=on_behalf_of&client_id={API}&client_secret=s&scope=api://next/orders.read&assertion="
    );
    let other = behalf.replace(API, "00000000-0000-4000-8000-000000000001");
    let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=gw&client_secret=s&audience=next&subject_token_type=urn:ietf:params:oauth:token-type:access_token&subject_token=";
    struct Case {
        name: &'static str,
        path: &'static str,
        form: String,
        want: Result<Value, &'static str>,
    }
    for Case { name, path, form, want } in [
        Case {
            name: "on behalf of a user",
            path: "/t/oauth2/v2.0/token",
            form: format!("{behalf}{user}"),
            want: Ok(
                json!({ "aud": "api://next", "scp": "orders.read", "azp": API, "preferred_username": mint::DEFAULT_USER }),
            ),
        },
        Case {
            name: "of an application",
            path: "/t/oauth2/v2.0/token",
            form: format!("{}{app}", behalf.replace(API, "y")),
            want: Err("invalid_grant"),
        },
        Case {
            name: "a token for another client",
            path: "/t/oauth2/v2.0/token",
            form: format!("{other}{user}"),
            want: Err("invalid_grant"),
        },
        Case {
            name: "a forged token",
            path: "/t/oauth2/v2.0/token",
            form: format!("{behalf}{forged}"),
            want: Err("invalid_grant"),
        },
        Case {
            name: "another issuer's token",
            path: "/t/oauth2/v2.0/token",
            form: format!("{behalf}{foreign}"),
            want: Err("invalid_grant"),
        },
        Case {
            name: "not said what for",
            path: "/t/oauth2/v2.0/token",
            form: format!("{}{user}", behalf.replace("on_behalf_of", "")),
            want: Err("invalid_request"),
        },
        Case {
            name: "exchange",
            path: "/token",
            form: format!("{exchange}{user}"),
            want: Ok(json!({ "aud": "next", "client_id": "gw", "sub": mint::DEFAULT_USER, "act": null })),
        },
        Case {
            name: "exchange with an actor",
            path: "/token",
            form: format!("{exchange}{user}&actor_token_type=jwt&actor_token={app}"),
            want: Ok(
                json!({ "sub": mint::DEFAULT_USER, "act": { "sub": mint::derived_guid(&mint::tenant_id("t", ""), "x") } }),
            ),
        },
        Case {
            name: "exchange of nonsense",
            path: "/token",
            form: format!("{exchange}abc"),
            want: Err("invalid_request"),
        },
    ] {
        let (status, answer) = setup.post(path, &form).await;
        match want {
            Ok(want) => {
                let claims = claims(&answer, "access_token");
                for (claim, want) in want.as_object().unwrap() {
                    assert_eq!(claims.get(claim).unwrap_or(&Value::Null), want, "{name}: {claim}");
                }
            }
            Err(error) => assert_eq!((status, &answer["error"]), (400, &json!(error)), "{name}: {answer}"),
        }
    }
    setup.clock.advance(DEFAULT_LIFETIME);
    assert_eq!(setup.post("/t/oauth2/v2.0/token", &format!("{behalf}{user}")).await.0, 400, "a token that is over");
}

#[tokio::test]
async fn only_configured_clients_are_let_in_when_there_are_any() {
    let file = "[clients.web]\nsecret = \"s&cret\"\nroles = [\"Orders.Read\"]\nredirect-uris = [\"https://web/cb\"]\n[clients.app]\n";
    let setup = Setup::new(Options { registrations: Registrations::read(file).unwrap(), ..Options::default() });
    let grant = "grant_type=client_credentials&scope=x/.default&roles=Admin";
    for (name, form, basic, want) in [
        ("its secret", "client_id=web&client_secret=s%26cret", None, (200, "")),
        ("in the header", "", Some("web:s%26cret"), (200, "")),
        ("in both", "client_secret=s%26cret", Some("web:s%26cret"), (400, "invalid_request")),
        ("another secret", "client_id=web&client_secret=x", None, (401, "invalid_client")),
        ("no secret", "client_id=web", None, (401, "invalid_client")),
        ("nobody", "client_id=eve&client_secret=x", None, (401, "invalid_client")),
        ("a public client", "client_id=app", None, (401, "invalid_client")),
        ("an assertion", "client_assertion=a.e30.b", None, (401, "invalid_client")),
    ] {
        let mut request = setup.http.post(setup.url("/t/oauth2/v2.0/token")).body(format!("{grant}&{form}"));
        if let Some(basic) = basic {
            let text = base64::engine::general_purpose::STANDARD.encode(basic);
            request = request.header("authorization", format!("Basic {text}"));
        }
        let (status, answer) = answer(request.send().await.unwrap()).await;
        assert_eq!((status, answer["error"].as_str().unwrap_or_default()), want, "{name}: {answer}");
        if status == 200 {
            assert_eq!(
                claims(&answer, "access_token")["roles"],
                json!(["Orders.Read"]),
                "{name}: not what it asked for"
            );
        }
    }
    let path = "/authorize?client_id=web&response_type=code&redirect_uri=https://";
    assert_eq!(setup.get(&format!("{path}web/cb")).await.0, 302);
    assert_eq!(setup.get(&format!("{path}eve/cb")).await.0, 400);
    assert!(Registrations::read("[client.web]").unwrap_err().contains("unknown field `client`"));
}

#[tokio::test]
async fn registered_apis_decide_version_scopes_and_roles() {
    const OLD: &str = "22222222-2222-4333-8444-555555555555";
    let file = format!(
        "[clients.job]\nsecret = \"s\"\nroles = [\"Orders.Read\", \"Invoices.Read\"]\n[clients.app]\n\
         [apis.{API}]\nidentifier-uris = [\"api://contoso.com/orders\"]\nscopes = [\"access_as_user\", \"more\"]\n\
         roles = [\"Orders.Read\"]\ntoken-version = 2\n[apis.{OLD}]\nscopes = [\"access_as_user\"]\n"
    );
    let setup = Setup::new(Options { registrations: Registrations::read(&file).unwrap(), ..Options::default() });
    let job = "grant_type=client_credentials&client_id=job&client_secret=s";
    for (path, target, want) in [
        ("/t/oauth2/v2.0/token", format!("scope=api://{API}/.default"), Ok((API.to_owned(), "2.0"))),
        ("/t/oauth2/v2.0/token", "scope=api://contoso.com/orders/.default".to_owned(), Ok((API.to_owned(), "2.0"))),
        ("/t/oauth2/token", format!("resource={API}"), Ok((API.to_owned(), "2.0"))),
        ("/t/oauth2/v2.0/token", format!("scope=api://{OLD}/.default"), Ok((format!("api://{OLD}"), "1.0"))),
        ("/t/oauth2/v2.0/token", "scope=https://gateway.example/.default".to_owned(), Err("invalid_resource")),
        ("/t/oauth2/token", "resource=https://gateway.example".to_owned(), Err("invalid_resource")),
        ("/t/oauth2/token", format!("resource={GRAPH}"), Ok((GRAPH.to_owned(), "1.0"))),
        (
            "/t/oauth2/token",
            "resource=https://graph.microsoft.com/".to_owned(),
            Ok(("https://graph.microsoft.com/".to_owned(), "1.0")),
        ),
    ] {
        let (status, answer) = setup.post(path, &format!("{job}&{target}")).await;
        match want {
            Ok((audience, version)) => {
                let claims = claims(&answer, "access_token");
                assert_eq!((&claims["aud"], &claims["ver"]), (&json!(audience), &json!(version)), "{path} {target}");
                if audience == API {
                    assert_eq!(claims["roles"], json!(["Orders.Read"]), "{target}: roles of this API alone");
                }
            }
            Err(error) => assert_eq!((status, &answer["error"]), (400, &json!(error)), "{path} {target}: {answer}"),
        }
    }
    for (scope, want) in [
        (format!("api://{API}/.default"), Ok("access_as_user more")),
        (format!("api://{API}/more"), Ok("more")),
        (format!("api://{API}/less"), Err("invalid_scope")),
        ("https://gateway.example/access_as_user".to_owned(), Err("invalid_resource")),
    ] {
        match want {
            Ok(scopes) => {
                let answer = setup.signed_in(&scope).await;
                assert_eq!(claims(&answer, "access_token")["scp"], scopes, "{scope}");
            }
            // Before a code is made, so that the person who signs in sees it.
            Err(error) => {
                let path = "/t/oauth2/v2.0/authorize?client_id=app&response_type=code&redirect_uri=http://l/";
                let sent = setup.authorize(&format!("{path}&scope={scope}")).await;
                assert_eq!(Form::read(&sent).get("error"), Some(error), "{scope}");
            }
        }
    }
    for (file, want) in [
        ("", "there is no registration in it"),
        ("[apis.orders]", "`apis.orders`: the id of an application is a GUID"),
        (&*format!("[apis.{API}]\ntoken-version = 3"), "token-version` is 1 or 2"),
        (&*format!("[apis.{API}]\nscope = []"), "unknown field `scope`"),
    ] {
        let error = Registrations::read(file).unwrap_err();
        assert!(error.contains(want), "{file}: {error}");
    }
}

#[tokio::test]
async fn managed_identities_get_tokens_as_azure_gives_them() {
    let setup = Setup::new(Options { identity_header: Some("h".to_owned()), ..Options::default() });
    let query = "api-version=2019-08-01&resource=api://orders&client_id=me";
    for (path, header, query, want) in [
        ("/metadata/identity/oauth2/token", Some(("metadata", "true")), query, 200),
        ("/metadata/identity/oauth2/token", None, query, 400),
        ("/metadata/identity/oauth2/token", Some(("metadata", "true")), "api-version=1", 400),
        ("/msi/token", Some(("x-identity-header", "h")), query, 200),
        ("/msi/token", Some(("x-identity-header", "x")), query, 401),
        ("/msi/token", None, query, 401),
    ] {
        let mut request = setup.http.get(setup.url(&format!("{path}?{query}")));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (status, answer) = answer(request.send().await.unwrap()).await;
        assert_eq!(status, want, "{path} {header:?} {query}: {answer}");
        if status == 200 {
            let claims = claims(&answer, "access_token");
            assert_eq!(
                (&claims["aud"], &claims["appid"], &claims["idtyp"]),
                (&json!("api://orders"), &json!("me"), &json!("app"))
            );
            assert_eq!(answer["expires_on"], json!(claims["exp"].to_string()));
        }
    }
}

#[tokio::test]
async fn a_test_turns_keys_tokens_and_trouble() {
    let setup = Setup::new(Options { token_version: Some(1), ..Options::default() });
    let (_, minted) = setup
        .post(
            "/-/mint",
            r#"{"preset":"entra-v2","audiences":["x"],"lifetime":-60,"algorithm":"EdDSA","header":{"kid":"other"}}"#,
        )
        .await;
    let token = minted["access_token"].as_str().unwrap();
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("EdDSA"), &json!("other")));
    assert_eq!(minted["claims"]["exp"], 1_767_225_600 - 60);
    for body in ["{\"presett\":1}", "{\"algorithm\":\"HS256\"}", "{\"algorithm\":\"none\"}", "[]x"] {
        assert_eq!(setup.post("/-/mint", body).await.0, 400, "{body}");
    }
    let form = "grant_type=client_credentials&client_id=me&client_secret=x&scope=api://x/.default";
    let (_, answer) = setup.post("/t/oauth2/v2.0/token", form).await;
    assert_eq!(claims(&answer, "access_token")["ver"], "1.0", "the API decides");

    let (_, rotated) = setup.post("/-/rotate?overlap=0s", "").await;
    assert_eq!(rotated["keys"], rotated["published"]);
    assert_eq!(setup.post("/-/rotate?overlap=soon", "").await.0, 400);
    for (kind, want) in [("status", 503), ("redirect", 302), ("html", 200), ("wrong", 200), ("empty", 200)] {
        let fault = format!("{{\"endpoint\":\"keys\",\"kind\":\"{kind}\",\"times\":1}}");
        assert_eq!(setup.post("/-/faults", &fault).await.0, 200, "{kind}");
        let (status, body) = setup.get("/jwks").await;
        assert_eq!(status, want, "{kind}");
        assert!(body["keys"].as_array().is_none_or(Vec::is_empty), "{kind}: {body}");
        assert_eq!(setup.get("/jwks").await.1["keys"].as_array().unwrap().len(), 2, "{kind}: once");
    }
    setup.post("/-/faults", "{\"endpoint\":\"all\",\"kind\":\"down\"}").await;
    assert!(setup.http.get(setup.url("/jwks")).send().await.is_err());
    let cleared = setup.http.delete(setup.url("/-/faults")).send().await.unwrap();
    assert_eq!((cleared.status().as_u16(), setup.get("/jwks").await.0), (200, 200));
    assert_eq!(setup.post("/-/faults", "{\"endpoint\":\"keys\",\"kind\":\"slow\",\"seconds\":601}").await.0, 400);
    assert_eq!(setup.post("/token", &"x".repeat(reply::MAX_BODY + 1)).await.0, 413);
    assert_eq!(setup.get("/token").await.0, 405);
    assert_eq!(setup.get("/nothing").await.0, 404);
}
