//! Certificates as they are shown and told of, and whether they are trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::test_support::{Authority, Everybody, Identity};
use super::*;
use crate::server::tls::provider;

/// What a header tells: the common name, or the digest when there is no name; or what is wrong.
fn told(name: &'static str, element: Element, values: &[String], chain: Option<&str>) -> String {
    let name = HeaderName::from_static(name);
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(&name, HeaderValue::try_from(value).unwrap());
    }
    if let Some(chain) = chain {
        headers.append(CLIENT_CERT_CHAIN, HeaderValue::try_from(chain).unwrap());
    }
    let Some(found) = HeaderFormat::of(&name).find(&name, element, &headers) else { return "none".to_owned() };
    match found.read() {
        Err(error) => format!("{error:?}"),
        Ok(certificate) => {
            assert!(certificate.is_forwarded());
            let name = certificate.subject().and_then(Name::common_name);
            let name = name.map_or_else(|| certificate.sha256().map(|it| hex(it)).unwrap_or_default(), str::to_owned);
            format!("{name} {}", certificate.chain().len())
        }
    }
}

#[test]
fn headers_of_proxies() {
    struct Case {
        name: &'static str,
        header: &'static str,
        value: String,
        want: String,
    }
    let everybody = Everybody::get();
    let (erp, crm) = (everybody.client("erp"), everybody.client("crm"));
    let lower = erp.sha256().to_lowercase();
    let xfcc = "x-forwarded-client-cert";
    let base64 = erp.item().trim_matches(':').to_owned();
    let case = |name, header, value: &str, want: &str| Case { name, header, value: value.into(), want: want.into() };
    for Case { name, header, value, want } in [
        case("Envoy", xfcc, &format!("By=spiffe://mesh/gw;Hash={lower};Cert=\"{}\"", erp.escaped()), "erp 1"),
        case("names only", xfcc, r#"Hash=;Subject="CN=erp,O=Contoso""#, "Format"),
        case("digest and name", xfcc, &format!(r#"Hash={lower};Subject="CN=a\,b,O=Contoso";DNS=a.b"#), "a,b 0"),
        case("digest alone", xfcc, &format!("hash={lower}"), &format!("{} 0", erp.sha256())),
        case("URI alone", xfcc, "By=spiffe://a;URI=spiffe://b", " 0"),
        case("By is the proxy's own", xfcc, "By=spiffe://a", "Certificate"),
        case("an empty subject", xfcc, r#"By=spiffe://a;Subject="";URI=spiffe://b"#, " 0"),
        case("a chain", xfcc, &format!("Chain=\"{}{}\"", erp.escaped(), crm.escaped()), "erp 2"),
        case("the digest of another", xfcc, &format!("Hash={};Cert=\"{}\"", crm.sha256(), erp.escaped()), "Mismatch"),
        case("a string without an end", xfcc, &format!("Hash={lower};Subject=\"CN=erp"), "Format"),
        case("no pair", xfcc, "erp", "Format"),
        case("no certificate in it", xfcc, "Cert=\"Y2VydGlmaWNhdGU=\"", "Certificate"),
        case("RFC 9440", "client-cert", &erp.item(), "erp 1"),
        case("with a parameter", "client-cert", &format!("{};a=1", erp.item()), "erp 1"),
        case("no byte sequence", "client-cert", &base64, "Format"),
        case("nginx", "ssl-client-cert", &erp.escaped(), "erp 1"),
        case("lines that became spaces", "ssl-client-cert", &erp.pem.replace('\n', " "), "erp 1"),
        case("App Service", "x-arr-clientcert", &base64, "erp 1"),
        case("Traefik", "x-forwarded-tls-client-cert", &format!("{base64},{}", crm.item().trim_matches(':')), "erp 2"),
        case("Apache without one", "ssl-client-cert", "(null)", "none"),
        case("nginx without one", "ssl-client-cert", "", "none"),
        case("PEM without an end", "ssl-client-cert", "-----BEGIN CERTIFICATE-----", "Format"),
        case("too many", "x-forwarded-tls-client-cert", &[base64.as_str(); 11].join(","), "Format"),
    ] {
        assert_eq!(told(header, Element::Last, &[value], None), want, "{name}");
    }
    assert_eq!(told("client-cert", Element::Last, &[erp.item()], Some(&crm.item())), "erp 2");
    assert_eq!(told("client-cert", Element::Last, &[erp.item(), crm.item()], None), "Twice");
    assert_eq!(told("client-cert", Element::Last, &[], Some(&crm.item())), "none");
}

/// Only the last element was written by the proxy that is trusted, however the elements are spread over lines.
#[test]
fn elements() {
    let everybody = Everybody::get();
    let element = |name: &str| format!("Cert=\"{}\"", everybody.client(name).escaped());
    let (erp, crm) = (element("erp"), element("crm"));
    for values in [vec![format!("{erp},{crm}")], vec![format!("{erp}, {crm}")], vec![erp.clone(), crm]] {
        assert_eq!(told("x-forwarded-client-cert", Element::Last, &values, None), "crm 1");
        assert_eq!(told("x-forwarded-client-cert", Element::First, &values, None), "erp 1");
    }
    assert_eq!(told("x-forwarded-client-cert", Element::Last, &[format!("{erp},")], None), "Format");
}

fn certificate(identity: &Identity, more: &[&Identity]) -> ClientCertificate {
    let chain = std::iter::once(&identity).chain(more).map(|it| CertificateDer::from(it.der.clone())).collect();
    ClientCertificate::from_chain(chain, false).unwrap()
}

#[test]
fn what_is_told_reads_as_it_was() {
    let everybody = Everybody::get();
    let shown = certificate(everybody.client("erp"), &[everybody.client("crm")]);
    for (format, header) in [(ForwardAs::Envoy, X_FORWARDED_CLIENT_CERT), (ForwardAs::Rfc9440, CLIENT_CERT)] {
        let mut headers = HeaderMap::new();
        format.set(&shown, &mut headers);
        let read = HeaderFormat::of(&header).find(&header, Element::Last, &headers).unwrap().read().unwrap();
        assert_eq!(read.facts(), shown.facts(), "{format:?}");
    }
    let mut headers = HeaderMap::new();
    ForwardAs::Envoy.set(&shown, &mut headers);
    let text = headers[X_FORWARDED_CLIENT_CERT].to_str().unwrap();
    let sha256 = everybody.client("erp").sha256().to_lowercase();
    assert!(text.starts_with(&format!("Hash={sha256};Cert=\"-----BEGIN%20CERTIFICATE-----%0A")), "{text}");
    let names = r#";Subject="CN=erp,O=Contoso,C=DE";URI=spiffe://contoso/erp;DNS=erp.contoso.com"#;
    assert!(text.ends_with(names), "{text}");
}

fn trust(authorities: &[&Authority], lists: &[String]) -> ClientTrust {
    let folder = tempfile::tempdir().unwrap();
    let mut roots = RootCertStore::empty();
    let path = folder.path().join("pem");
    let pem: String = authorities.iter().map(|it| it.pem()).collect();
    let authorities = if pem.is_empty() {
        Vec::new()
    } else {
        std::fs::write(&path, pem).unwrap();
        ClientTrust::authorities(&path, &mut roots).unwrap()
    };
    let lists = lists.iter().map(|list| {
        std::fs::write(&path, list).unwrap();
        ClientTrust::revocation_lists(&path).unwrap()
    });
    ClientTrust::new(roots, authorities, lists.collect(), provider()).unwrap()
}

fn year(year: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600 + 86_400 * 30)
}

#[test]
fn verdicts() {
    let everybody = Everybody::get();
    let (known, other) = (&everybody.authority, &everybody.stranger);
    let good = known.revocation_list(&[5], 2075);
    let old = known.revocation_list(&[5], 2025);
    let foreign = other.revocation_list(&[1], 2075);
    let nobody = trust(&[], &[]);
    let chain_only = trust(&[known], &[]);
    let both = trust(&[other, known], &[]);
    let lists = trust(&[known], std::slice::from_ref(&good));
    let old = trust(&[known], &[old]);
    let foreign = trust(&[known], &[foreign]);
    let ok = || (Ok(()), Ok(()));
    let bad = |why: Untrusted| (Err(why.clone()), Err(why));
    for (name, trust, client, want) in [
        ("no authorities", &nobody, "erp", bad(Untrusted::NoAuthorities)),
        ("known", &chain_only, "erp", ok()),
        ("time is a question of its own", &chain_only, "expired", ok()),
        ("also the future", &chain_only, "future", ok()),
        ("without lists nobody is revoked", &chain_only, "revoked", ok()),
        ("another authority", &chain_only, "stranger", bad(Untrusted::UnknownIssuer)),
        ("several authorities", &both, "stranger", ok()),
        ("not on the list", &lists, "erp", ok()),
        ("on the list", &lists, "revoked", (Ok(()), Err(Untrusted::Revoked))),
        ("another authority's, with a list", &lists, "stranger", bad(Untrusted::UnknownIssuer)),
        ("an old list", &old, "erp", (Ok(()), Err(Untrusted::OldList))),
        ("a list of somebody else", &foreign, "erp", (Ok(()), Err(Untrusted::NoList))),
    ] {
        let verdict = trust.verdict(&certificate(everybody.client(client), &[]), year(2026), Nanos(0));
        assert_eq!((verdict.chain.clone(), verdict.revocation.clone()), want, "{name}");
    }
    let server = certificate(&everybody.server, &[]);
    assert_eq!(chain_only.verdict(&server, year(2026), Nanos(0)).chain, Err(Untrusted::Purpose));
}

#[test]
fn a_verdict_stands_for_a_minute_and_for_one_trust() {
    let everybody = Everybody::get();
    let erp = certificate(everybody.client("erp"), &[]);
    let known = trust(&[&everybody.authority], &[everybody.authority.revocation_list(&[], 2026)]);
    let first = known.verdict(&erp, year(2026), Nanos(0));
    assert!(first.is_good());
    let second = known.verdict(&erp, year(2027), Nanos(59_999_999_999));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(known.verdict(&erp, year(2027), Nanos(60_000_000_000)).revocation, Err(Untrusted::OldList));
    let other = trust(&[&everybody.stranger], &[]);
    assert_eq!(other.verdict(&erp, year(2026), Nanos(0)).chain, Err(Untrusted::UnknownIssuer));
}

/// A name proves nothing: the issuer is the one whose key has signed.
#[test]
fn the_issuer_is_found() {
    let everybody = Everybody::get();
    let namesake = Authority::new("Contoso Root");
    let thumbprint = |authority: &Authority| {
        use rustls::pki_types::pem::PemObject as _;
        sha1(&CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
    };
    let both = trust(&[&namesake, &everybody.authority], &[]);
    for (signer, name) in [(&everybody.authority, "the first"), (&namesake, "the second")] {
        let client = certificate(&signer.client("erp", 7, (2025, 2075)), &[]);
        let issuer = both.verdict(&client, year(2026), Nanos(0)).issuer;
        assert_eq!(issuer.map(|(sha1, _)| sha1), Some(thumbprint(signer)), "{name}");
    }
    let none = trust(&[&everybody.stranger], &[]);
    let client = certificate(everybody.client("erp"), &[]);
    assert_eq!(none.verdict(&client, year(2026), Nanos(0)).issuer, None);
}

#[test]
fn digits() {
    for (text, want) in [
        ("0aFF", Some(&[0x0a, 0xff][..])),
        ("0A:ff", Some(&[0x0a, 0xff])),
        // As the certificate dialogue of Windows is copied.
        ("\u{200e}0a ff", Some(&[0x0a, 0xff])),
        ("0aF", None),
        ("", None),
        ("xy", None),
    ] {
        assert_eq!(from_hex(text).as_deref(), want, "{text}");
    }
    assert_eq!(significant(&[0, 0, 1]), [1]);
    assert_eq!(significant(&[0]), [0]);
}
