//! What the command says, and how it ends.

use super::{SLIDING, folder, run};

#[test]
fn it_ends_as_it_found() {
    let good = folder(SLIDING);
    let bad = folder("policy = \"rate-limit\"\ncalls = 0");
    let quick = ["--virtual-time", "--seed", "1", "--duration", "10s"];
    for (name, folder, arguments, code, says) in [
        ("all holds", &good, &["."][..], 0, "hold"),
        ("an assertion fails", &good, &[".", "--assert", "admitted>=100%"], 4, "do not hold"),
        ("nothing asserted", &good, &[".", "--no-default-assertions"], 0, "Load test of orders/List"),
        ("a broken folder", &bad, &["."], 3, "error"),
        ("no such operation", &good, &[".", "--operation", "Lst"], 2, "did you mean"),
        ("an unknown figure", &good, &[".", "--assert", "exces<=1%"], 2, "did you mean `excess`?"),
        ("a bad limit", &good, &["--expect", "5/1s fixd aligned"], 2, "did you mean `fixed`?"),
        ("an unknown probe", &good, &[".", "--probes", "refil"], 2, "did you mean `refill`?"),
        ("somebody else's limit", &good, &["--expect", "5/1s sliding"], 0, "what is expected"),
        // As the help has it, with more keys beside the drained one than a gateway holds by itself.
        ("an example", &good, &["--expect", "100/1m fixed aligned", "--assert", "window<=1"], 4, "fixed aligned (200,"),
        (
            "a report that has no place",
            &good,
            &[".", "--html", "nowhere/report.html"],
            2,
            "cannot be written to `nowhere",
        ),
        ("figures", &good, &["--list-figures"], 0, "retry-after.honest"),
    ] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(quick).collect();
        let output = run(folder.path(), &arguments);
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{name}: {all}");
        assert!(all.contains(says), "{name}: {all}");
        assert!(!all.contains('\u{1b}'), "{name}: colours are for terminals");
    }
    // An address that no machine has (RFC 5737): nothing is sent there.
    let output = run(good.path(), &["--url", "http://192.0.2.1/", "--expect", "5/1s sliding"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}

#[test]
fn a_seed_repeats_it() {
    let folder = folder(SLIDING);
    let arguments =
        [".", "--virtual-time", "--seed", "9", "--shape", "poisson", "--distribution", "zipf", "--format", "json"];
    let once = run(folder.path(), &arguments);
    assert_eq!(once.stdout, run(folder.path(), &arguments).stdout);
    let report: serde_json::Value = serde_json::from_slice(&once.stdout).unwrap();
    assert_eq!(report["setting"]["seed"], 9);
    let policy = report["setting"]["policy"].as_str().unwrap();
    assert!(policy.starts_with("20/2s sliding; . sha256:"), "{policy}");
    std::fs::write(folder.path().join("orders.toml"), super::orders(SLIDING) + "# changed\n").unwrap();
    let changed = run(folder.path(), &arguments);
    assert!(!String::from_utf8_lossy(&changed.stdout).contains(policy), "another folder, another digest");
}

/// What a person sees on a terminal of 80 columns.
#[test]
fn a_terminal_shows_how_far_it_is_in_one_line() {
    let folder = folder(SLIDING);
    let program = env!("CARGO_BIN_EXE_sluicegate");
    let on_terminal = |size: &str, environment: &str| {
        let load = format!("stty {size}; {environment} {program} loadtest . --virtual-time --duration 10s --seed 1");
        let mut command = std::process::Command::new("script");
        let output = command.args(["-qec", &load, "/dev/null"]).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = on_terminal("rows 24 cols 80", "TERM=xterm");
    // One that does not know its size is taken for as wide.
    for shown in [&shown, &on_terminal("rows 0 cols 0", "TERM=xterm")] {
        let lines: Vec<&str> = shown.split('\r').filter(|line| line.contains(" s of ")).collect();
        assert!(!lines.is_empty(), "{shown}");
        for line in lines {
            let line = line.trim_end_matches("\u{1b}[K");
            assert!(line.chars().count() < 80 && !line.contains('\n'), "{line:?}");
        }
    }
    assert!(shown.contains("\u{1b}[1;32mall "), "a verdict is green: {shown}");
    let table = shown.lines().skip_while(|line| !line.contains("Client strategies")).skip(1).take(6);
    assert!(table.clone().all(|line| line.trim_end().chars().count() < 80), "{:?}", table.collect::<Vec<_>>());
    let plain = on_terminal("rows 24 cols 80", "TERM=xterm NO_COLOR=1");
    assert!(!plain.contains("\u{1b}[1;") && plain.contains(" s of "), "NO_COLOR is about colours: {plain}");
    let dumb = on_terminal("rows 24 cols 80", "TERM=dumb");
    assert!(!dumb.contains('\u{1b}') && !dumb.contains(" s of "), "{dumb}");
}
