//! Lifetime, issuer, audience and required claims: each edge on both sides.

use super::*;
use crate::identity::{Match, RequiredClaim};

#[test]
fn claims_decide() {
    struct Case {
        name: &'static str,
        rules: TokenRules,
        claims: Value,
        want: Result<(), (&'static str, &'static str)>,
    }
    let skewed = || TokenRules { clock_skew: Duration::from_secs(30), ..rules() };
    let endless = || TokenRules { require_expiration: false, ..rules() };
    let any_issuer = || TokenRules { issuers: Vec::new(), ..rules() };
    let expired = |seconds: u64| json!({ "exp": NOW - seconds });
    let starting = |seconds: u64| json!({ "nbf": NOW + seconds });
    for Case { name, rules, claims, want } in [
        Case { name: "as it should be", rules: rules(), claims: json!({}), want: Ok(()) },
        Case { name: "a second left", rules: rules(), claims: json!({ "exp": NOW + 1 }), want: Ok(()) },
        Case { name: "half a second left", rules: rules(), claims: json!({ "exp": NOW as f64 + 0.5 }), want: Ok(()) },
        Case {
            name: "at exp",
            rules: rules(),
            claims: expired(0),
            want: Err((
                "TokenExpired",
                "the token expired at 2026-01-01T00:00:00Z, now is 2026-01-01T00:00:00Z (clock skew 0s). Access denied.",
            )),
        },
        Case { name: "within the skew", rules: skewed(), claims: expired(29), want: Ok(()) },
        Case {
            name: "at the end of the skew",
            rules: skewed(),
            claims: expired(30),
            want: Err((
                "TokenExpired",
                "the token expired at 2025-12-31T23:59:30Z, now is 2026-01-01T00:00:00Z (clock skew 30s). Access denied.",
            )),
        },
        Case {
            name: "no exp",
            rules: rules(),
            claims: json!({ "exp": null }),
            want: Err(("JwtInvalid", "the token has no `exp`, which is required")),
        },
        Case { name: "no exp, none required", rules: endless(), claims: json!({ "exp": null }), want: Ok(()) },
        Case {
            name: "exp over, none required",
            rules: endless(),
            claims: json!({ "exp": 5 }),
            want: Err((
                "TokenExpired",
                "the token expired at 1970-01-01T00:00:05Z, now is 2026-01-01T00:00:00Z (clock skew 0s). Access denied.",
            )),
        },
        Case {
            name: "exp as text",
            rules: endless(),
            claims: json!({ "exp": "1799999999" }),
            want: Err(("JwtInvalid", "claim `exp` is not a number of seconds since 1970")),
        },
        Case {
            name: "exp before time",
            rules: rules(),
            claims: json!({ "exp": -1 }),
            want: Err(("JwtInvalid", "claim `exp` is not a number of seconds since 1970")),
        },
        Case {
            name: "exp after all time",
            rules: rules(),
            claims: json!({ "exp": 1e300 }),
            want: Err(("JwtInvalid", "claim `exp` is not a number of seconds since 1970")),
        },
        Case { name: "at nbf", rules: rules(), claims: starting(0), want: Ok(()) },
        Case {
            name: "before nbf",
            rules: rules(),
            claims: starting(1),
            want: Err((
                "JwtInvalid",
                "the token is valid from 2026-01-01T00:00:01Z, now is 2026-01-01T00:00:00Z (clock skew 0s)",
            )),
        },
        Case { name: "nbf within the skew", rules: skewed(), claims: starting(30), want: Ok(()) },
        Case {
            name: "nbf beyond the skew",
            rules: skewed(),
            claims: starting(31),
            want: Err((
                "JwtInvalid",
                "the token is valid from 2026-01-01T00:00:31Z, now is 2026-01-01T00:00:00Z (clock skew 30s)",
            )),
        },
        Case {
            name: "another issuer",
            rules: rules(),
            claims: json!({ "iss": "https://issuer/" }),
            want: Err((
                "TokenIssuerNotAllowed",
                "issuer `https://issuer/` is not allowed, expected one of `https://issuer`. Access denied.",
            )),
        },
        Case {
            name: "no issuer",
            rules: rules(),
            claims: json!({ "iss": null }),
            want: Err((
                "TokenIssuerNotAllowed",
                "issuer (none) is not allowed, expected one of `https://issuer`. Access denied.",
            )),
        },
        Case {
            name: "issuer no text",
            rules: any_issuer(),
            claims: json!({ "iss": ["https://issuer"] }),
            want: Err(("JwtInvalid", "claim `iss` is not a string")),
        },
        Case { name: "any issuer", rules: any_issuer(), claims: json!({ "iss": "whoever" }), want: Ok(()) },
        Case { name: "one of its audiences", rules: rules(), claims: json!({ "aud": ["x", "api"] }), want: Ok(()) },
        Case {
            name: "another audience",
            rules: rules(),
            claims: json!({ "aud": "API" }),
            want: Err((
                "TokenAudienceNotAllowed",
                "audience `API` is not allowed, expected one of `api`. Access denied.",
            )),
        },
        Case {
            name: "no audience",
            rules: rules(),
            claims: json!({ "aud": null }),
            want: Err((
                "TokenAudienceNotAllowed",
                "audience (none) is not allowed, expected one of `api`. Access denied.",
            )),
        },
        Case {
            name: "empty audiences",
            rules: rules(),
            claims: json!({ "aud": [] }),
            want: Err((
                "TokenAudienceNotAllowed",
                "audience (none) is not allowed, expected one of `api`. Access denied.",
            )),
        },
        Case {
            name: "audience no text",
            rules: rules(),
            claims: json!({ "aud": ["api", 1] }),
            want: Err(("JwtInvalid", "claim `aud` is not a string or an array of strings")),
        },
    ] {
        let token = Signer::secret(SECRET, Signing::HS256).token(Some("secret"), &claims_with(&claims));
        let got =
            judged(&verifier(rules), &token, at(NOW)).map(|_| ()).map_err(|error| (error.reason(), error.message()));
        assert_eq!(got, want.map_err(|(reason, message)| (reason, message.to_owned())), "{name}");
    }
}

#[test]
fn required_claims_decide() {
    struct Case {
        name: &'static str,
        values: &'static [&'static str],
        matching: Match,
        separator: Option<&'static str>,
        claim: Value,
        want: Result<(), &'static str>,
    }
    let missing = "JWT token is missing the following claims: scp, tid. Access denied.";
    let (all, any) = (Match::All, Match::Any);
    let ab: &[&str] = &["a", "b"];
    for Case { name, values, matching, separator, claim, want } in [
        Case { name: "absent", values: &[], matching: all, separator: None, claim: Value::Null, want: Err(missing) },
        Case { name: "present", values: &[], matching: any, separator: None, claim: json!(false), want: Ok(()) },
        Case {
            name: "all, array",
            values: ab,
            matching: all,
            separator: None,
            claim: json!(["b", "c", "a"]),
            want: Ok(()),
        },
        Case {
            name: "all, one missing",
            values: ab,
            matching: all,
            separator: None,
            claim: json!(["a", "c"]),
            want: Err("Claim scp value of `a`, `c` is not allowed. Access denied."),
        },
        Case { name: "any", values: ab, matching: any, separator: None, claim: json!(["c", "b"]), want: Ok(()) },
        Case {
            name: "any, none there",
            values: ab,
            matching: any,
            separator: None,
            claim: json!(["c"]),
            want: Err("Claim scp value of `c` is not allowed. Access denied."),
        },
        Case {
            name: "any, empty array",
            values: ab,
            matching: any,
            separator: None,
            claim: json!([]),
            want: Err("Claim scp value of (none) is not allowed. Access denied."),
        },
        Case {
            name: "separated",
            values: ab,
            matching: all,
            separator: Some(" "),
            claim: json!("a x b"),
            want: Ok(()),
        },
        Case {
            name: "not separated",
            values: ab,
            matching: any,
            separator: None,
            claim: json!("a b"),
            want: Err("Claim scp value of `a b` is not allowed. Access denied."),
        },
        Case {
            name: "separated, a prefix is not a value",
            values: &["read"],
            matching: any,
            separator: Some(" "),
            claim: json!("readwrite read.all"),
            want: Err("Claim scp value of `readwrite`, `read.all` is not allowed. Access denied."),
        },
        Case { name: "a number", values: &["7"], matching: all, separator: None, claim: json!(7), want: Ok(()) },
        Case { name: "a truth", values: &["true"], matching: all, separator: None, claim: json!(true), want: Ok(()) },
    ] {
        let mut required = vec![RequiredClaim {
            name: "scp".into(),
            values: values.iter().map(|value| Arc::from(*value)).collect(),
            matching,
            separator: separator.map(Into::into),
        }];
        if claim.is_null() {
            let tid = RequiredClaim { name: "tid".into(), values: Vec::new(), matching: all, separator: None };
            required.push(tid);
        }
        let verifier = verifier(TokenRules { required_claims: required, ..rules() });
        let token = Signer::secret(SECRET, Signing::HS256).token(None, &claims_with(&json!({ "scp": claim })));
        let got = judged(&verifier, &token, at(NOW)).map(|_| ()).map_err(|error| error.message());
        assert_eq!(got, want.map_err(ToOwned::to_owned), "{name}");
    }
}

#[test]
fn of_a_claim_given_twice_the_last_counts() {
    let payload = format!("{{\"aud\":\"other\",\"iss\":\"https://issuer\",\"exp\":{},\"aud\":\"api\"}}", NOW + 60);
    let signer = Signer::secret(SECRET, Signing::HS256);
    assert!(verifier(rules()).verify(&signer.sign("{\"alg\":\"HS256\"}", &payload), at(NOW)).is_ok());
    let payload = payload.replace("other", "x").replace("\"api\"", "\"other\"").replace("\"x\"", "\"api\"");
    let error = verifier(rules()).verify(&signer.sign("{\"alg\":\"HS256\"}", &payload), at(NOW)).unwrap_err();
    assert_eq!(error.reason(), "TokenAudienceNotAllowed");
}
