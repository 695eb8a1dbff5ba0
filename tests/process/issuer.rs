//! `issuer`, `token mint` and `token decode` as a person runs them.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use super::support::{Client, Folder, eventually, program};

/// The running issuer.
pub(crate) struct Issuer {
    child: Child,
    pub(crate) url: String,
    stderr: Arc<Mutex<String>>,
}

impl Issuer {
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self::spawn(program().arg("issuer").args(arguments))
    }

    /// Starts the program and waits until it tells its URL.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr: Arc<Mutex<String>> = Arc::default();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let own = stderr.clone();
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                own.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let url = eventually("the URL of the issuer", || {
            let text = stderr.lock().unwrap();
            let line = text.split_inclusive('\n').find_map(|line| line.trim_start().strip_prefix("issuer "))?;
            line.ends_with('\n').then(|| line.trim().to_owned())
        });
        Self { child, url, stderr }
    }

    fn get(&self, path: &str) -> Json {
        let port = self.url.rsplit_once(':').unwrap().1.parse().unwrap();
        Client::new(([127, 0, 0, 1], port).into()).get(path).unwrap().json()
    }

    /// The ids of the published keys, the newest first.
    fn keys(&self) -> Vec<String> {
        let keys = self.get("/jwks")["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to stop: how it ended.
    fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        let child = &mut self.child;
        eventually("the end of the issuer", || child.try_wait().unwrap()).code()
    }

    fn says(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = program().args(arguments).stdin(Stdio::null()).output().unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat())
}

#[test]
fn it_listens_to_this_machine_only_unless_it_is_told_otherwise() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9095", "[::ffff:192.0.2.1]:9095"] {
        let (code, text) = run(&["issuer", "--listen", address]);
        assert_eq!(code, Some(2), "{address}: {text}");
        assert!(text.contains("is not a loopback address, and whoever reaches this issuer gets any token"), "{text}");
        assert!(text.contains("add --allow-remote"), "{text}");
    }
    for arguments in
        [&["--listen", "127.0.0.1:0"][..], &["--listen", "127.0.0.9:0"], &["--listen", "0.0.0.0:0", "--allow-remote"]]
    {
        let issuer = Issuer::run(arguments);
        let text = issuer.says();
        assert!(text.contains("FOR DEVELOPMENT ONLY. It gives anybody any token."), "{text}");
        assert_eq!(text.contains("WARNING   other machines reach it"), arguments.len() == 3, "{text}");
        assert_eq!(issuer.stop(), Some(0), "{arguments:?}");
    }
}

#[test]
fn keys_rotate_on_a_signal_and_outlive_a_restart_in_a_file() {
    let folder = Folder::new(&[]);
    let file = folder.path().join("keys.pem");
    let arguments = ["--listen", "127.0.0.1:0", "--alg", "ES256", "--key-file", file.to_str().unwrap()];
    let issuer = Issuer::run(&arguments);
    let first = issuer.keys();
    assert_eq!(first.len(), 1);
    issuer.signal("USR1");
    let both = eventually("another key", || Some(issuer.keys()).filter(|keys| keys.len() == 2));
    assert_eq!(both[1], first[0], "the old one stays published");
    assert_eq!(issuer.stop(), Some(0));
    assert_eq!(Issuer::run(&arguments).keys(), both, "after a restart");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else reads private keys: {mode:o}");
}

#[test]
fn what_it_cannot_do_it_says() {
    let folder = Folder::new(&[("typo.toml", "[client.web]\n"), ("keys.pem", "nothing\n")]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (name, arguments, code, want) in [
        (
            "a mistake in the registrations",
            vec!["--registrations".to_owned(), path("typo.toml")],
            3,
            "unknown field `client`",
        ),
        ("no registrations", vec!["--registrations".to_owned(), path("none.toml")], 3, "cannot be read"),
        ("no keys", vec!["--key-file".to_owned(), path("keys.pem")], 1, "keys.pem"),
        ("a taken address", vec!["--listen".to_owned(), taken], 1, "cannot listen on 127.0.0.1:"),
        ("a shared secret", vec!["--alg".to_owned(), "HS256".to_owned()], 2, "a shared secret cannot be published"),
        ("no tenant", vec!["--tenant".to_owned(), "contoso".to_owned()], 2, "expected a GUID"),
    ] {
        let mut all = vec!["issuer"];
        all.extend(arguments.iter().map(String::as_str));
        if !arguments.contains(&"--listen".to_owned()) {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        let (found, text) = run(&all);
        assert_eq!(found, Some(code), "{name}: {text}");
        assert!(text.contains(want), "{name}: {text}");
    }
}

#[test]
fn a_minted_token_says_what_was_asked_for_and_decode_shows_it() {
    let issuer = Issuer::run(&["--listen", "127.0.0.1:0"]);
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/rsa-a.pem");
    for signer in [["--issuer", &*issuer.url], ["--key", key]] {
        let mint = |arguments: &[&str]| {
            let (code, text) = run(&[&["token", "mint"], &signer[..], arguments].concat());
            assert_eq!(code, Some(0), "{text}");
            text.trim().to_owned()
        };
        let v1 = mint(&[
            "--preset",
            "entra-v1",
            "--aud",
            "api://orders",
            "--scope",
            "a",
            "--scope",
            "b",
            "--claim",
            "ver=null",
        ]);
        let (code, text) = run(&["token", "decode", &v1, "--format", "json"]);
        let decoded: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &decoded["verified"]), (Some(0), &Json::Bool(false)));
        let claims = &decoded["claims"];
        assert_eq!((&claims["aud"], &claims["scp"]), (&"api://orders".into(), &"a b".into()), "{signer:?}");
        assert_eq!(claims.get("ver"), None, "a claim that was taken away");
        let v2 =
            mint(&["--preset", "entra-v2", "--aud", "x", "--role", "r", "--lifetime=-5m", "--header", "kid=\"mine\""]);
        let (code, text) = run(&["token", "decode", &v2]);
        assert_eq!(code, Some(0), "a token that is over can be looked at");
        for want in ["Not verified: this is what the token says, true or not.", "kid  mine", "it expired 5 minutes ago"]
        {
            assert!(text.contains(want), "{want}: {text}");
        }
    }
    let (code, text) = run(&["token", "decode", "no-token"]);
    assert_eq!(
        (code, &*text),
        (
            Some(1),
            "error: a token has three parts separated by dots, and this has 1; an opaque token says nothing to anyone but its issuer\n"
        )
    );
    let (code, text) = run(&["token", "mint", "--issuer", "http://127.0.0.1:9", "--aud", "x"]);
    assert_eq!(code, Some(1), "{text}");
}
