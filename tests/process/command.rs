//! The commands `run` and `oneshot`: exit codes and what they say.

use std::net::TcpListener;
use std::process::Output;

use crate::support::{Client, Folder, Gateway, program};

fn oneshot(folder: &Folder, command: &[&str]) -> Output {
    program()
        .arg("oneshot")
        .arg(folder.path())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--"])
        .args(command)
        .output()
        .unwrap()
}

#[test]
fn oneshot_ends_as_its_command_does() {
    struct Case {
        name: &'static str,
        command: &'static [&'static str],
        want: i32,
    }
    let folder = Folder::sample("");
    for Case { name, command, want } in [
        Case { name: "success", command: &["true"], want: 0 },
        Case { name: "failure", command: &["sh", "-c", "exit 7"], want: 7 },
        Case { name: "signal", command: &["sh", "-c", "kill -9 $$"], want: 137 },
        Case { name: "no such command", command: &["/nonexistent/command"], want: 127 },
        Case { name: "not a program", command: &["/"], want: 126 },
    ] {
        let output = oneshot(&folder, command);
        assert_eq!(output.status.code(), Some(want), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn oneshot_is_ready_before_its_command_and_leaves_it_standard_output() {
    let script = "for url in $SLUICEGATE_ADMIN_URL/readyz $SLUICEGATE_URL/sample/invoices; do curl -so /dev/null -w '%{http_code} ' $url; done";
    let output = oneshot(&Folder::sample(""), &["sh", "-c", script]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), "200 200", "{stderr}");
    assert!(stderr.contains(r#""path":"/sample/invoices""#), "{stderr}");
}

#[test]
fn mistakes_end_with_their_own_code() {
    let broken = Folder::new(&[("gateway.toml", "[server]\nlisten = 80\n")]);
    let empty = Folder::new(&[]);
    for (name, folder, want) in [
        ("wrong type", broken.path(), "--> gateway.toml:2:10"),
        ("no gateway.toml", empty.path(), "there is no gateway.toml"),
        ("no folder", "/nonexistent".as_ref(), "the folder `/nonexistent` cannot be read"),
    ] {
        for command in [&["run"][..], &["oneshot"]] {
            let rest: &[&str] = if command == ["oneshot"] { &["true"] } else { &[] };
            let output = program().args(command).arg(folder).args(rest).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{name}: {stderr}");
            assert!(stderr.contains(want), "{name}: {stderr}");
        }
    }
    for arguments in [&["run", "a", "b"][..], &["run", "--listen", "80"], &["oneshot", "a"], &["fly"]] {
        assert_eq!(program().args(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = Folder::sample("");
    for (arguments, want) in [
        (["--listen", &address, "--admin", "off"], format!("error: cannot listen on {address}: the address is in use")),
        (
            ["--listen", "127.0.0.1:0", "--admin", &address],
            format!("error: cannot listen on {address} for the admin listener: the address is in use"),
        ),
    ] {
        let output = program().arg("run").arg(folder.path()).args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&want), "{stderr}");
    }
}

#[test]
fn another_gateway_on_the_same_port_is_refused() {
    let folder = Folder::sample("");
    let gateway = Gateway::run(folder.path());
    let output = program()
        .arg("run")
        .arg(folder.path())
        .args(["--listen", &gateway.address.to_string(), "--admin", "off"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_start_shows_addresses_apis_and_calls() {
    const VERSION: &str = "version = { scheme = \"header\", value = \"v1\" }";
    let folder = Folder::sample(
        r#"
[products.partners]
apis = ["orders"]
[subscriptions.contoso]
product = "partners"
keys = ["sha256:ade937c23dc04c64b0bd37e190c26c8fdbe7bb3b824adc8660c02a968b492425"]
"#,
    );
    folder.write(
        "orders.toml",
        "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"sample\"\n[[operation]]\nname = \"List\"\nmatch = \"GET /\"\n",
    );
    // A bare URL does not find these, so they are no calls to try.
    for (name, how) in [("hosted", "hosts = [\"api.contoso.com\"]"), ("dated", VERSION)] {
        let file = format!("[api]\nname = \"{name}\"\npath = \"/a-{name}\"\nbackend = \"sample\"\n{how}\n");
        folder.write(&format!("a-{name}.toml"), &(file + "[[operation]]\nname = \"List\"\nmatch = \"GET /\"\n"));
    }
    let gateway = Gateway::run(folder.path());
    gateway.says("Try:");
    for want in [
        format!("  gateway  http://{}\n", gateway.address),
        "  api      orders  /orders  (1 operation, needs a key)\n".to_owned(),
        "  api      sample  /sample  (1 operation)\n".to_owned(),
        format!("  curl -i -H 'ocp-apim-subscription-key: contoso-demo-key' http://{}/orders\n", gateway.address),
    ] {
        gateway.says(&want);
    }
    assert!(!gateway.stderr().contains("/a-hosted\n") && !gateway.stderr().contains("/a-dated\n"));
}

#[test]
fn without_arguments_the_shipped_example_is_served() {
    let elsewhere = Folder::new(&[]);
    let listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let gateway = Gateway::spawn(program().arg("run").args(listen).current_dir(elsewhere.path()));
    gateway.says("serves the shipped example");
    assert_eq!(gateway.get("/invoices").status, 200);
    assert_eq!(gateway.get("/orders").status, 401);
    let key = "ocp-apim-subscription-key: contoso-demo-key\r\n";
    assert_eq!(Client::new(gateway.address).request("GET", "/orders", key).unwrap().status, 200);
    let gateway = Gateway::spawn(program().arg("run").args(listen).current_dir(env!("CARGO_MANIFEST_DIR")));
    gateway.says("serves `policies`");
}
