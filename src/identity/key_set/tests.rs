//! Which texts are keys, what for, and what is said about the others.

use jsonwebtoken::Algorithm as Signing;
use serde_json::json;

use super::super::test_support::{SECRET, Signer, fixture};
use super::*;

const RSA_ALL: &str = "`RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`";

#[test]
fn pem_gives_a_key_for_its_own_algorithms_only() {
    struct Case {
        name: &'static str,
        pem: &'static str,
        want: Result<&'static str, &'static str>,
    }
    for Case { name, pem, want } in [
        Case { name: "RSA", pem: fixture!("rsa-a.pub.pem"), want: Ok(RSA_ALL) },
        Case { name: "RSA PKCS #1", pem: fixture!("rsa-a.pkcs1.pub.pem"), want: Ok(RSA_ALL) },
        Case { name: "certificate", pem: fixture!("rsa-a.crt.pem"), want: Ok(RSA_ALL) },
        Case { name: "P-256", pem: fixture!("p256.pub.pem"), want: Ok("`ES256`") },
        Case { name: "P-384", pem: fixture!("p384.pub.pem"), want: Ok("`ES384`") },
        Case { name: "P-521", pem: fixture!("p521.pub.pem"), want: Ok("`ES512`") },
        Case { name: "Ed25519", pem: fixture!("ed25519.pub.pem"), want: Ok("`EdDSA`") },
        Case {
            name: "RSA with 1024 bits",
            pem: fixture!("rsa-1024.pub.pem"),
            want: Err("an RSA key needs 2048 to 8192 bits"),
        },
        Case {
            name: "another curve",
            pem: fixture!("secp256k1.pub.pem"),
            want: Err("not a valid RSA, EC or Ed25519 public key"),
        },
        Case {
            name: "a private key",
            pem: fixture!("rsa-a.pem"),
            want: Err("expected a PEM block `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`, found `PRIVATE KEY`"),
        },
        Case {
            name: "no PEM",
            pem: "secret",
            want: Err("expected a PEM block `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`, found no PEM block"),
        },
        Case {
            name: "broken base64",
            pem: "-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----",
            want: Err("`PEM` is not valid base64"),
        },
        Case {
            name: "not a certificate",
            pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            want: Err("not a valid X.509 certificate's public key"),
        },
    ] {
        let got = VerificationKey::from_pem(pem).map(|key| key.algorithms().to_string());
        assert_eq!(got.map_err(|error| error.to_string()), want.map(Into::into).map_err(Into::into), "{name}");
    }
}

#[test]
fn a_secret_serves_hashes_no_longer_than_it() {
    let algorithms =
        |length: usize| VerificationKey::from_secret(&SECRET[..length]).map(|key| key.algorithms().to_string());
    for (length, want) in [
        (0, Err(KeyError::SecretTooShort { found: 0 })),
        (31, Err(KeyError::SecretTooShort { found: 31 })),
        (32, Ok("`HS256`")),
        (47, Ok("`HS256`")),
        (48, Ok("`HS256`, `HS384`")),
        (63, Ok("`HS256`, `HS384`")),
        (64, Ok("`HS256`, `HS384`, `HS512`")),
    ] {
        assert_eq!(algorithms(length), want.map(Into::into), "{length}");
    }
    let text = STANDARD.encode(SECRET);
    assert!(VerificationKey::from_base64_secret(&text).is_ok());
    assert!(VerificationKey::from_base64_secret(text.trim_end_matches('=')).is_ok());
    let error = VerificationKey::from_base64_secret("not base64!").unwrap_err();
    assert_eq!(error, KeyError::Base64 { field: "key" });
}

#[test]
fn a_json_web_key_is_taken_for_what_it_says_and_no_more() {
    let rsa = Signer::rsa_a(Signing::RS256).jwk(Some("a"));
    let ec = Signer::p256().jwk(None);
    let with = |mut jwk: serde_json::Value, name: &str, value: serde_json::Value| {
        jwk[name] = value;
        jwk
    };
    struct Case {
        name: &'static str,
        jwk: serde_json::Value,
        want: Result<&'static str, &'static str>,
    }
    for Case { name, jwk, want } in [
        Case { name: "RSA", jwk: rsa.clone(), want: Ok(RSA_ALL) },
        Case { name: "RSA for one", jwk: with(rsa.clone(), "alg", json!("PS256")), want: Ok("`PS256`") },
        Case { name: "to verify", jwk: with(rsa.clone(), "key_ops", json!(["verify"])), want: Ok(RSA_ALL) },
        Case { name: "P-256", jwk: ec.clone(), want: Ok("`ES256`") },
        Case { name: "P-384", jwk: Signer::p384().jwk(None), want: Ok("`ES384`") },
        Case { name: "Ed25519", jwk: Signer::ed25519().jwk(None), want: Ok("`EdDSA`") },
        Case { name: "oct", jwk: json!({"kty": "oct", "k": STANDARD.encode(&SECRET[..32])}), want: Ok("`HS256`") },
        Case {
            name: "RSA with an alg of another type",
            jwk: with(rsa.clone(), "alg", json!("HS256")),
            want: Err(
                "the key's `alg` is `HS256`, expected one of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`",
            ),
        },
        Case {
            name: "P-256 for another curve's hash",
            jwk: with(ec.clone(), "alg", json!("ES384")),
            want: Err("the key's `alg` is `ES384`, expected one of `ES256`"),
        },
        Case {
            name: "to encrypt",
            jwk: with(rsa.clone(), "use", json!("enc")),
            want: Err("the key is not for verifying signatures (`use` is `enc`)"),
        },
        Case {
            name: "to wrap",
            jwk: with(rsa.clone(), "key_ops", json!(["wrapKey"])),
            want: Err("the key is not for verifying signatures (`key_ops` does not hold `verify`)"),
        },
        Case { name: "exponent 1", jwk: with(rsa.clone(), "e", json!("AQ")), want: Err("not a valid RSA public key") },
        Case {
            name: "even exponent",
            jwk: with(rsa.clone(), "e", json!("Ag")),
            want: Err("not a valid RSA public key"),
        },
        Case {
            name: "empty exponent",
            jwk: with(rsa.clone(), "e", json!("")),
            want: Err("not a valid RSA public key"),
        },
        Case {
            name: "tiny modulus",
            jwk: with(rsa.clone(), "n", json!("AQAB")),
            want: Err("an RSA key needs 2048 to 8192 bits"),
        },
        Case {
            name: "huge modulus",
            jwk: with(rsa.clone(), "n", json!(URL_SAFE_NO_PAD.encode([0xff; 2048]))),
            want: Err("an RSA key needs 2048 to 8192 bits"),
        },
        Case { name: "a number", jwk: with(rsa, "n", json!(7)), want: Err("the key has no text member `n`") },
        Case {
            name: "a point beside the curve",
            jwk: with(ec.clone(), "y", ec["x"].clone()),
            want: Err("not a valid EC public key"),
        },
        Case {
            name: "half a point",
            jwk: with(ec.clone(), "y", json!("AAAA")),
            want: Err("not a valid EC public key"),
        },
        Case {
            name: "another curve",
            jwk: with(ec.clone(), "crv", json!("secp256k1")),
            want: Err("unknown curve `secp256k1`, expected `P-256`, `P-384`, `P-521` or `Ed25519`"),
        },
        Case {
            name: "another type",
            jwk: json!({"kty": "AKP"}),
            want: Err("unknown key type `AKP`, expected `RSA`, `EC`, `OKP` or `oct`"),
        },
        Case { name: "no key", jwk: json!([]), want: Err("the key has no text member `kty`") },
    ] {
        let got = VerificationKey::from_jwk(&jwk.to_string()).map(|key| key.algorithms().to_string());
        assert_eq!(got.map_err(|error| error.to_string()), want.map(Into::into).map_err(Into::into), "{name}");
    }
}

#[test]
fn modulus_and_exponent_may_be_written_either_way() {
    let jwk = Signer::rsa_a(Signing::RS256).jwk(None);
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let padded = [&[0], n.as_slice()].concat();
    for modulus in [URL_SAFE_NO_PAD.encode(&n), STANDARD.encode(&n), STANDARD.encode(&padded)] {
        assert!(VerificationKey::from_rsa_components(&modulus, "AQAB").is_ok(), "{modulus}");
    }
}

#[test]
fn a_set_keeps_what_it_can_use_and_says_what_it_left_out() {
    let rsa = Signer::rsa_a(Signing::RS256).jwk(Some("a"));
    let mut encryption = rsa.clone();
    encryption["use"] = json!("enc");
    let secret = json!({"kty": "oct", "kid": "s", "k": STANDARD.encode(SECRET)});
    let document = json!({"keys": [secret, encryption, {"kty": "AKP"}, rsa], "more": 1}).to_string();
    let (set, skipped) = KeySet::from_jwks(document.as_bytes(), 4).unwrap();
    assert_eq!(set.len(), 1);
    assert!(!set.algorithms().contains(Algorithm::Hs256));
    assert_eq!(skipped[0], KeyError::SymmetricInSet);
    assert_eq!(skipped.len(), 3);

    for (document, want) in [
        (document.as_str(), "the key set has 4 keys, at most 3 are allowed"),
        ("<html>", "not JSON: expected value at line 1 column 1"),
        ("[]", "not a JSON Web Key Set: expected an object with an array `keys`"),
        ("{\"keys\":{}}", "not a JSON Web Key Set: expected an object with an array `keys`"),
        ("{\"keys\":[]}", "none of the 0 keys in the set can verify signatures"),
        (
            "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
            "none of the 1 keys in the set can verify signatures (the first: a symmetric key (`oct`) in a key set is \
             refused: whoever can read the set could sign tokens)",
        ),
    ] {
        assert_eq!(KeySet::from_jwks(document.as_bytes(), 3).unwrap_err().to_string(), want, "{document}");
    }
}

#[test]
fn debug_output_shows_no_key() {
    let key = VerificationKey::from_secret(SECRET).unwrap().with_id("mine");
    assert_eq!(format!("{key:?}"), "VerificationKey(Some(\"mine\"), `HS256`, `HS384`, `HS512`)");
}
