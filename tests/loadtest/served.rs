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

#[test]
fn a_reload_in_mid_run_refills_nothing_and_a_command_that_fails_fails_the_test() {
    let folder = files("", BY_KEY);
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    // The gateway watches its folder; the limit is as it was.
    let reload = "echo '# again' >> echo.toml";
    let load = [".", "--url", &url, "--duration", "5s", "--keys", "2", "--probes", "reload"];
    let found = report(folder.path(), &[&load[..], &["--on-reload", reload]].concat());
    found.assert_exact("reloaded");
    assert_eq!(found.figure("reload.excess"), 0.0, "{found}");
    assert_eq!(gateway.ready().1["configuration"]["generation"], 2, "{}", gateway.stderr());

    let found = report(folder.path(), &[&load[..], &["--on-reload", "exit 3"]].concat());
    assert_eq!(found.code, Some(1), "{found}");
    assert!(found.stderr.contains("warning: --on-reload failed: exit status: 3"), "{found}");
    assert!(found.report["setting"]["broken"][0].as_str().unwrap().contains("--on-reload failed"), "{found}");
    let output = run(folder.path(), &load);
    assert_eq!(output.status.code(), Some(2), "nobody knows how to reload somebody else's gateway");
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
    let folder = files("", "policy = \"rate-limit\"\ncalls = 5\nperiod = \"3s\"\nkey = \"@clientIp()\"");
    // The limit's own key is the address, so that it need not be said.
    for key in [&[][..], &["--key", "address"]] {
        let load = [".", "--keys", "200", "--duration", "3s", "--connections", "64", "--probes"];
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
