//! What each grant and each way to prove the client puts on the wire.

use super::*;

#[tokio::test]
async fn each_grant_asks_as_its_specification_says() {
    let issuer = Issuer::start().await;
    issue(&issuer, "a", 3600);
    let all = Target { scope: Some("a b+c".into()), resource: Some("api://x".into()), audience: Some("é".into()) };
    let resource = Target { resource: Some("https://vault.azure.net".into()), ..Target::default() };
    let app_service = IdentityEndpoint::AppService { secret: "hush".into() };
    let basic = || ClientAuthentication::Basic("s:e%c ret".into());
    struct Case {
        grant: Grant,
        authentication: ClientAuthentication,
        target: Target,
        want: &'static [&'static str],
    }
    for Case { grant, authentication, target, want } in [
        Case {
            grant: Grant::ClientCredentials,
            authentication: basic(),
            target: all,
            want: &[
                "POST /token HTTP/1.1",
                // `urn%3Aapp:s%3Ae%25c%20ret`: RFC 6749 §2.3.1.
                "authorization: Basic dXJuJTNBYXBwOnMlM0FlJTI1YyUyMHJldA==",
                "content-type: application/x-www-form-urlencoded",
                "grant_type=client_credentials&scope=a%20b%2Bc&resource=api%3A%2F%2Fx&audience=%C3%A9&tenant=x%26y",
            ],
        },
        Case {
            grant: Grant::ClientCredentials,
            authentication: ClientAuthentication::Post("s&t".into()),
            target: Target::default(),
            want: &["grant_type=client_credentials&tenant=x%26y&client_id=urn%3Aapp&client_secret=s%26t"],
        },
        Case {
            grant: Grant::OnBehalfOf,
            authentication: ClientAuthentication::Post("s".into()),
            target: Target { scope: Some("User.Read".into()), ..Target::default() },
            want: &["grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=the.callers.own\
                 &requested_token_use=on_behalf_of&scope=User.Read&tenant=x%26y&client_id=urn%3Aapp&client_secret=s"],
        },
        Case {
            grant: exchange(),
            authentication: ClientAuthentication::None,
            target: Target { audience: Some("erp".into()), ..Target::default() },
            want: &[
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=the.callers.own\
                 &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&audience=erp&tenant=x%26y\
                 &client_id=urn%3Aapp",
            ],
        },
        Case {
            grant: Grant::ManagedIdentity(IdentityEndpoint::Metadata),
            authentication: ClientAuthentication::None,
            target: resource.clone(),
            want: &[
                "metadata: true",
                "GET /token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=urn%3Aapp",
            ],
        },
        Case {
            grant: Grant::ManagedIdentity(app_service),
            authentication: ClientAuthentication::None,
            target: resource,
            want: &[
                "x-identity-header: hush",
                "GET /token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net",
            ],
        },
    ] {
        let name = format!("{grant:?}");
        let settings = Settings {
            client_id: Some("urn:app".into()),
            authentication,
            parameters: vec![("tenant".into(), "x&y".into())],
            ..settings(issuer.url("/token"), grant)
        };
        let source = source_of(settings, &Clock::manual());
        let credential = source.credential(&Arc::new(target), Some("the.callers.own"));
        let _ = get(credential.token(Some(&of("the.callers.own")))).await;
        let request = issuer.requests.lock().pop().unwrap();
        for part in want {
            assert!(request.contains(part), "{name}: {part}\n{request}");
        }
    }
}

#[tokio::test]
async fn an_assertion_proves_the_client() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/");
    let read = |name: &str| std::fs::read(format!("{FOLDER}{name}")).unwrap();
    let issuer = Issuer::start().await;
    issue(&issuer, "a", 3600);
    for (name, certificate, public, algorithm) in [
        ("rsa-a.pem", None, DecodingKey::from_rsa_pem(&read("rsa-a.pub.pem")), Algorithm::RS256),
        ("rsa-a.pem", Some(read("rsa-a.crt.pem")), DecodingKey::from_rsa_pem(&read("rsa-a.pub.pem")), Algorithm::PS256),
        ("p256.pem", None, DecodingKey::from_ec_pem(&read("p256.pub.pem")), Algorithm::ES256),
        ("p384.pem", None, DecodingKey::from_ec_pem(&read("p384.pub.pem")), Algorithm::ES384),
        ("ed25519.pem", None, DecodingKey::from_ed_pem(&read("ed25519.pub.pem")), Algorithm::EdDSA),
    ] {
        let key = ClientKey::from_pem(&read(name), certificate.as_deref(), Some("key-1")).unwrap();
        let settings = Settings {
            authentication: ClientAuthentication::PrivateKey(Box::new(key)),
            ..settings(issuer.url("/token"), Grant::ClientCredentials)
        };
        let mut ids = Vec::new();
        for _ in 0..2 {
            let key = ClientKey::from_pem(&read(name), certificate.as_deref(), Some("key-1")).unwrap();
            let assertion = key.assertion("gateway", &settings.url, Clock::manual().wall()).unwrap();
            let mut rules = Validation::new(algorithm);
            rules.set_audience(&[&*settings.url]);
            // The manual clock stands at a time of its own.
            rules.validate_exp = false;
            let claims = decode::<Json>(&assertion, public.as_ref().unwrap(), &rules).expect(name).claims;
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gateway"), &json!("gateway")), "{name}");
            assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300, "{name}");
            ids.push(claims["jti"].clone());
            let header = decode_header(&assertion).unwrap();
            assert_eq!(header.kid.as_deref(), Some("key-1"));
            assert_eq!(header.x5t_s256.is_some(), certificate.is_some(), "{name}");
        }
        assert_ne!(ids[0], ids[1], "each is used once (RFC 7523 §3)");
        let credential = source_of(settings, &Clock::manual()).fixed(Target::default());
        assert_eq!(get(credential.token(None)).await.as_deref(), Ok("a"));
        let request = issuer.requests.lock().pop().unwrap();
        assert!(
            request.contains("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer")
        );
        assert!(request.contains("&client_assertion=ey") && !request.contains("client_secret"), "{request}");
    }
    for (key, certificate) in [("rsa-a.pub.pem", None), ("rsa-a.crt.pem", None), ("rsa-a.pem", Some("rsa-a.pem"))] {
        let made = ClientKey::from_pem(&read(key), certificate.map(read).as_deref(), None);
        let error = made.err().unwrap().to_string();
        assert!(error.starts_with("expected a ") && !error.contains("BEGIN"), "{error}");
    }
}

#[tokio::test]
async fn an_assertion_of_somebody_elses_is_read_anew_for_each_request() {
    let issuer = Issuer::start().await;
    issue(&issuer, "a", 3600);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity-token");
    let fetch = || {
        let settings = Settings {
            authentication: ClientAuthentication::AssertionFile(path.as_path().into()),
            ..settings(issuer.url("/token"), Grant::ClientCredentials)
        };
        get(source_of(settings, &Clock::manual()).fixed(Target::default()).token(None))
    };
    let cannot = |problem: &str| {
        Err(format!("the client assertion cannot be had: the file `{}` cannot be used: {problem}", path.display()))
    };
    assert_eq!(fetch().await, cannot("No such file or directory (os error 2)"));
    for (text, want) in [
        ("", cannot("it is empty")),
        ("\n", cannot("it is empty")),
        (&"h".repeat(20_000), cannot("it is longer than 16384 bytes")),
        ("hush.first.one\n", Ok("a".to_owned())),
        ("hush.second.one", Ok("a".to_owned())),
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(fetch().await, want);
    }
    let requests = issuer.requests.lock();
    assert_eq!(requests.len(), 2, "nothing is asked for without an assertion");
    for (request, want) in requests.iter().zip(["hush.first.one", "hush.second.one"]) {
        let form =
            "client_id=gateway&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        assert!(request.ends_with(&format!("{form}&client_assertion={want}")), "{request}");
    }
}
