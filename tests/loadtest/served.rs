//! A gateway that runs by itself, driven by its URL and judged by its folder.

use super::process::Gateway;
use super::support::certificates::Authority;
use super::{of, report, run};

/// A gateway in front of the sample backend, with more of gateway.toml and one limit.
fn files(gateway: &str, limit: &str) -> tempfile::TempDir {
    let gateway = format!("{gateway}\n[backends.sample]\nurl = \"sample:/v1\"\n");
    let api = format!(
        "[api]\nname = \"echo\"\npath = \"/echo\"\nbackend = \"sample\"\n\n[[inbound]]\n{limit}\n\n\
         [[operation]]\nname = \"Echo\"\nmatch = \"GET /\"\n[[operation.inbound]]\npolicy = \"rewrite-uri\"\ntemplate = \"/echo\"\n"
    );
    of(&[("gateway.toml", &gateway), ("echo.toml", &api)])
}

const BY_KEY: &str = "policy = \"rate-limit\"\ncalls = 10\nperiod = \"4s\"\nkey = \"@headers('x-key')\"";

/// A long period, so that the gateway has seconds to see that a file has changed before the probe asks again.
const SLOW: &str = "policy = \"rate-limit\"\ncalls = 10\nperiod = \"50s\"\nkey = \"@headers('x-key')\"";

#[test]
fn a_reload_in_mid_run_refills_nothing() {
    let folder = files("", SLOW);
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    // The folder changes, with a limit that is as it was, and the command ends when the new configuration is in force.
    let reload = format!(
        "sed -i 's|rewrite-uri|rewrite-uri\"\\nid = \"changed|' echo.toml; \
         timeout 20 sh -c \"until curl -s http://{}/readyz | grep -q 'generation.: 2'; do :; done\"",
        gateway.admin
    );
    let load = [".", "--url", &url, "--duration", "3s", "--keys", "2", "--probes", "reload", "--on-reload", &reload];
    let found = report(folder.path(), &load);
    found.assert_exact("reloaded");
    assert_eq!(gateway.ready().1["configuration"]["generation"], 2, "{}", gateway.stderr());
    assert_eq!(found.figure("reload.excess"), 0.0, "{found}");
    let text = found.report["findings"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("10 and 0 admitted before and after"), "{text}");
}

#[test]
fn a_reload_that_did_not_happen_in_time_proves_nothing() {
    let folder = files("", BY_KEY);
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    let load = [".", "--url", &url, "--duration", "1s", "--keys", "2", "--probes", "reload"];
    for (command, says) in
        [("exit 3", "--on-reload failed: exit status: 3 of `exit 3`"), ("sleep 2", "--on-reload failed: it took ")]
    {
        let found = report(folder.path(), &[&load[..], &["--on-reload", command]].concat());
        assert_eq!(found.code, Some(1), "{found}");
        assert!(found.stderr.contains(says), "{command}: {found}");
        let broken = found.report["setting"]["broken"][0].as_str().unwrap();
        assert!(broken.starts_with("--on-reload failed, so that its probe"), "{broken}");
    }
    let output = run(folder.path(), &load);
    assert_eq!(output.status.code(), Some(2), "nobody knows how to reload somebody else's gateway");
}

/// A test right after another one finds its keys used up.
#[test]
fn what_the_test_before_has_left_is_held_against_nobody() {
    let folder = files("", "policy = \"rate-limit\"\ncalls = 10\nperiod = \"30s\"");
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    let load = [".", "--url", &url, "--duration", "2s", "--rate", "50", "--keys", "2", "--probes", "simultaneous"];
    for _ in 0..2 {
        let found = report(folder.path(), &load);
        found.assert_exact("once more");
        assert!(found.count("/totals/refused") > 60, "{found}");
    }
}

/// Where the test's own address is a trusted proxy's, it speaks for callers as one: what a caller forges stands before his address.
#[test]
fn a_gateway_that_trusts_the_sender_hears_of_callers_as_from_a_proxy() {
    let trust = "[server]\ntrusted-proxies = [\"127.0.0.0/8\"]\nforwarded-headers = ";
    std::thread::scope(|scope| {
        for fields in ["x-forwarded", "forwarded"] {
            scope.spawn(move || {
                let limit = "policy = \"rate-limit\"\ncalls = 5\nperiod = \"3s\"";
                let folder = files(&format!("{trust}\"{fields}\""), limit);
                let probes = "forged-address,ipv6-network,retry-after,fairness";
                let found = report(folder.path(), &[".", "--duration", "3s", "--cohort", "10", "--probes", probes]);
                found.assert_exact(fields);
                for figure in ["forged.admitted", "ipv6.admitted", "victims.refused"] {
                    assert_eq!(found.figure(figure), 0.0, "{fields}: {figure}: {found}");
                }
                assert_eq!(found.figure("retry-after.honest"), 100.0, "{fields}: {found}");
            });
        }
    });
    // Whole addresses are counted where that is written, and nobody promises more.
    let folder = files(
        &format!("{trust}\"forwarded\""),
        "policy = \"rate-limit\"\ncalls = 5\nperiod = \"3s\"\nkey = \"@clientIp()\"",
    );
    let output = run(folder.path(), &[".", "--duration", "0s", "--probes", "ipv6-network"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let found = report(folder.path(), &[".", "--duration", "1s", "--probes", "forged-address"]);
    found.assert_exact("whole addresses");
}

#[test]
fn a_gateway_behind_tls_is_driven_when_its_authority_is_known() {
    let authority = Authority::new("Contoso");
    let server = authority.server();
    let folder = files("[server.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n", BY_KEY);
    for (name, text) in [("server.pem", &server.pem), ("server.key", &server.key_pem)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("authority.pem"), authority.pem()).unwrap();
    let gateway = Gateway::run(folder.path());
    let url = format!("https://localhost:{}", gateway.address.port());
    let load = [".", "--url", &url, "--duration", "3s", "--probes", "simultaneous,retry-after", "--cohort", "10"];
    let found = report(folder.path(), &[&load[..], &["--ca-file", "authority.pem"]].concat());
    found.assert_exact("over TLS");
    assert_eq!(found.figure("retry-after.honest"), 100.0, "{found}");
    let output = run(folder.path(), &load);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate"), "{output:?}");
}

#[test]
fn callers_come_from_addresses_of_their_own() {
    let folder = files("", "policy = \"rate-limit\"\ncalls = 2\nperiod = \"5s\"\nkey = \"@clientIp()\"");
    // The limit's own key is the address, so that it need not be said.
    for key in [&[][..], &["--key", "address"]] {
        let load = [".", "--keys", "200", "--duration", "3s", "--rate", "400", "--connections", "64", "--probes"];
        let probes = "simultaneous,forged-address,fairness,retry-after";
        let found = report(folder.path(), &[&load[..], &[probes], key].concat());
        found.assert_exact("by address");
        assert!(found.count("/conformance/0/keys") > 200, "{found}");
        assert_eq!(found.figure("forged.admitted"), 0.0, "{found}");
        assert_eq!(found.figure("victims.refused"), 0.0, "{found}");
        assert_eq!(found.figure("retry-after.honest"), 100.0, "{found}");
        assert!(found.count("/totals/refused") > 100, "{found}");
    }
}

#[test]
fn keys_that_the_gateway_knows_come_from_a_file() {
    let keys: Vec<String> = (0..30).map(|number| format!("a-key-of-somebodys-{number}")).collect();
    let digest = |key: &String| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let subscriptions: String = keys
        .iter()
        .enumerate()
        .map(|(n, key)| format!("[subscriptions.s{n}]\nproduct = \"all\"\nkeys = [\"sha256:{}\"]\n", digest(key)))
        .collect();
    let gateway = format!("[products.all]\napis = [\"echo\"]\n{subscriptions}");
    let folder = files(&gateway, "policy = \"rate-limit\"\ncalls = 10\nperiod = \"4s\"");
    std::fs::write(folder.path().join("keys.txt"), keys.join("\n")).unwrap();
    // One that the first test leaves alone: what is used up is used up.
    std::fs::write(folder.path().join("few.txt"), &keys[29]).unwrap();
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    let load = [
        ".",
        "--url",
        &url,
        "--keys",
        "4",
        "--duration",
        "5s",
        "--probes",
        "simultaneous,retry-after",
        "--cohort",
        "20",
    ];
    let found = report(folder.path(), &[&load[..], &["--keys-from", "keys.txt"]].concat());
    found.assert_exact("enough keys");
    assert_eq!((found.count("/conformance/0/keys"), found.figure("retry-after.honest")), (25, 100.0), "{found}");
    assert_eq!(found.figure("judged"), 100.0, "{found}");

    // With one key all probes are one caller's, one after the other.
    let found = report(folder.path(), &[&load[..], &["--keys-from", "few.txt"]].concat());
    found.assert_exact("one key");
    assert!(
        found.report["setting"]["notes"].to_string().contains("1 keys are too few"),
        "{:#}",
        found.report["setting"]
    );

    let found = report(folder.path(), &load);
    assert_eq!(found.code, Some(4), "keys that nobody knows: {found}");
    assert_eq!(found.figure("judged"), 0.0, "{found}");
}
