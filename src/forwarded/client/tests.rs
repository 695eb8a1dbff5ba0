//! Which address a request comes from, proxy by proxy.

use super::*;

fn forwarding(fields: Fields) -> Forwarding {
    let ranges = ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse::<IpNet>().expect(range));
    Forwarding::new(ranges.into_iter().collect(), fields)
}

fn peer(forwarding: &Forwarding, address: &str) -> Peer {
    forwarding.peer(SocketAddr::new(address.parse().expect(address), 4711), Scheme::Https)
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn how_the_client_came() {
    let proto = |value| ("x-forwarded-proto", value);
    let host = |value| ("x-forwarded-host", value);
    let by = |value| ("x-forwarded-for", value);
    let https = Some(Scheme::Https);
    for (peer_address, lines, want) in [
        ("192.0.2.1", &[proto("https"), host("a")][..], (None, None)),
        ("10.0.0.1", &[proto("HTTPS"), host("a:8443")], (https, Some("a:8443"))),
        ("10.0.0.1", &[proto("gopher")], (None, None)),
        ("10.0.0.1", &[by("198.51.100.7"), host("forged, a")], (None, Some("a"))),
        ("10.0.0.1", &[by("198.51.100.7, 10.0.0.2"), host("forged, a, b"), proto("https, http")], (https, Some("a"))),
        ("10.0.0.1", &[by("198.51.100.7, 10.0.0.2"), host("a")], (None, Some("a"))),
        ("10.0.0.1", &[("forwarded", "proto=https;host=a")], (None, None)),
    ] {
        let forwarding = forwarding(Fields::XForwarded);
        let got = forwarding.outside(&peer(&forwarding, peer_address), &headers(lines));
        let host = got.host.as_ref().map(|host| host.to_str().expect("text"));
        assert_eq!((got.scheme, host), want, "{peer_address} {lines:?}");
    }
    for (lines, want) in [
        ([("forwarded", "for=198.51.100.7;proto=https;host=\"a:1\"")], (https, Some("a:1"))),
        (
            [("forwarded", "host=forged, for=198.51.100.7;host=a;proto=https, for=10.0.0.2;host=b;proto=http")],
            (https, Some("a")),
        ),
        ([("forwarded", "host=forged, for=198.51.100.7;proto=https")], (https, None)),
        ([("x-forwarded-proto", "https")], (None, None)),
    ] {
        let forwarding = forwarding(Fields::Forwarded);
        let got = forwarding.outside(&peer(&forwarding, "10.0.0.1"), &headers(&lines));
        let host = got.host.as_ref().map(|host| host.to_str().expect("text"));
        assert_eq!((got.scheme, host), want, "{lines:?}");
    }
}

#[test]
fn client_address() {
    let x = |value| ("x-forwarded-for", value);
    let f = |value| ("forwarded", value);
    for (peer_address, lines, want) in [
        ("192.0.2.1", &[x("198.51.100.7")][..], "192.0.2.1"),
        ("::ffff:192.0.2.1", &[], "192.0.2.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[x("198.51.100.7")], "198.51.100.7"),
        ("::ffff:10.0.0.1", &[x("::ffff:198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[x("6.6.6.6, 198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[x("6.6.6.6, 198.51.100.7,10.9.9.9 ,2001:db8::2")], "198.51.100.7"),
        ("10.0.0.1", &[x("6.6.6.6"), x("198.51.100.7"), x("10.9.9.9")], "198.51.100.7"),
        ("10.0.0.1", &[x("10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ("10.0.0.1", &[x("198.51.100.7:8080")], "198.51.100.7"),
        ("10.0.0.1", &[x("[2001:dead::1]:8080")], "2001:dead::1"),
        ("10.0.0.1", &[x("2001:dead::1")], "2001:dead::1"),
        ("10.0.0.1", &[x("6.6.6.6, unknown")], "10.0.0.1"),
        ("10.0.0.1", &[x("6.6.6.6, nonsense, 10.0.0.2")], "10.0.0.2"),
        ("10.0.0.1", &[x("6.6.6.6, ")], "10.0.0.1"),
        ("10.0.0.1", &[f("for=198.51.100.7")], "10.0.0.1"),
    ] {
        let forwarding = forwarding(Fields::XForwarded);
        let got = forwarding.client(&peer(&forwarding, peer_address), &headers(lines));
        assert_eq!(got, want.parse::<IpAddr>().expect(want), "{peer_address} {lines:?}");
    }
    for (peer_address, lines, want) in [
        ("192.0.2.1", &[f("for=198.51.100.7")][..], "192.0.2.1"),
        ("10.0.0.1", &[f("for=198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[f("For=\"[2001:dead::17]:4711\";proto=http")], "2001:dead::17"),
        ("10.0.0.1", &[f("for=6.6.6.6, proto=http;for=198.51.100.7;by=10.0.0.2, for=10.0.0.2")], "198.51.100.7"),
        ("10.0.0.1", &[f("for=6.6.6.6"), f("for=198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[f("for=198.51.100.7;host=\"a,for=6.6.6.6\"")], "198.51.100.7"),
        ("10.0.0.1", &[f("for=198.51.100.7;host=\"a\\\",for=6.6.6.6\"")], "198.51.100.7"),
        ("10.0.0.1", &[f("for=6.6.6.6, for=_hidden")], "10.0.0.1"),
        ("10.0.0.1", &[f("for=6.6.6.6, proto=http")], "10.0.0.1"),
        ("10.0.0.1", &[f("for=6.6.6.6;for=7.7.7.7")], "10.0.0.1"),
        ("10.0.0.1", &[f("for=\"6.6.6.6")], "10.0.0.1"),
        ("10.0.0.1", &[x("198.51.100.7")], "10.0.0.1"),
    ] {
        let forwarding = forwarding(Fields::Forwarded);
        let got = forwarding.client(&peer(&forwarding, peer_address), &headers(lines));
        assert_eq!(got, want.parse::<IpAddr>().expect(want), "{peer_address} {lines:?}");
    }
}

#[test]
fn fields_toward_the_backend() {
    struct Case {
        name: &'static str,
        fields: Fields,
        peer: &'static str,
        incoming: &'static [(&'static str, &'static str)],
        want: &'static [(&'static str, &'static str)],
    }
    for Case { name, fields, peer: address, incoming, want } in [
        Case {
            name: "nothing came",
            fields: Fields::XForwarded,
            peer: "192.0.2.1",
            incoming: &[("accept", "*/*")],
            want: &[
                ("accept", "*/*"),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "api.com:8080"),
                ("x-forwarded-proto", "https"),
            ],
        },
        Case {
            name: "an untrusted peer is replaced",
            fields: Fields::XForwarded,
            peer: "192.0.2.1",
            incoming: &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "7.7.7.7"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "evil"),
                ("x-forwarded-client-cert", "Subject=admin"),
                ("x-real-ip", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
            ],
            want: &[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "api.com:8080"),
                ("x-forwarded-proto", "https"),
            ],
        },
        Case {
            name: "a trusted peer is appended",
            fields: Fields::XForwarded,
            peer: "10.0.0.1",
            incoming: &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-for", "198.51.100.7"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-port", "80"),
                ("forwarded", "for=6.6.6.6"),
            ],
            want: &[
                ("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.0.0.1"),
                ("x-forwarded-host", "api.com:8080"),
                ("x-forwarded-port", "80"),
                ("x-forwarded-proto", "http"),
            ],
        },
        Case {
            name: "Forwarded, untrusted",
            fields: Fields::Forwarded,
            peer: "2001:dead::1",
            incoming: &[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "6.6.6.6")],
            want: &[("forwarded", "for=\"[2001:dead::1]\";proto=https;host=\"api.com:8080\"")],
        },
        Case {
            name: "Forwarded, trusted",
            fields: Fields::Forwarded,
            peer: "10.0.0.1",
            incoming: &[("forwarded", "for=198.51.100.7"), ("x-forwarded-for", "6.6.6.6")],
            want: &[("forwarded", "for=198.51.100.7, for=10.0.0.1;proto=https;host=\"api.com:8080\"")],
        },
    ] {
        let forwarding = forwarding(fields);
        let mut headers = headers(incoming);
        let host = HeaderValue::from_static("api.com:8080");
        forwarding.apply(&peer(&forwarding, address), Some(&host), &mut headers);
        let mut got: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        got.sort_unstable();
        assert_eq!(got, want, "{name}");
    }
}
