//! Connector packages on the command line, as a maker sees them: each file in `transcripts` is a session of a shell.
//!
//! A line that begins with `$ ` is a command, with `> ` before the lines that continue it; what is below it came out, on both channels in
//! the order written, with `[exit 3]` behind a command that failed. Other text stands above the first command. A session begins in a
//! folder with the packages of `tests/connectors`. Ports and versions are left out. `UPDATE_GOLDEN=1 cargo test --test process
//! transcript` rewrites what came out.

use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder as a session begins in it.
fn begin() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for package in std::fs::read_dir(format!("{ROOT}/tests/connectors")).unwrap() {
        let package = package.unwrap().path();
        if !package.is_dir() {
            continue;
        }
        let to = folder.path().join(package.file_name().unwrap());
        std::fs::create_dir(&to).unwrap();
        for file in std::fs::read_dir(package).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap();
            if !name.to_str().unwrap().starts_with("want.") {
                std::fs::copy(&file, to.join(name)).unwrap();
            }
        }
    }
    folder
}

/// Runs a command line of a session; the answer is what it showed.
fn run(line: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_sluicegate")).parent().unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("PATH=\"$1:$PATH\"\nexec 2>&1\n{line}"), "sh"])
        .arg(program)
        .current_dir(folder)
        .output()
        .unwrap();
    let mut shown = String::from_utf8(output.stdout).unwrap();
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        code => shown.push_str(&format!("[exit {}]\n", code.unwrap())),
    }
    without_ports(&shown)
}

/// `127.0.0.1:40123` as `127.0.0.1:PORT`.
fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        out.push_str(if rest.len() < part.len() { "127.0.0.1:PORT" } else { "127.0.0.1:" });
        out.push_str(rest);
    }
    out
}

/// What a session shows when it is run again.
fn again(session: &str) -> String {
    let folder = begin();
    let mut out = String::new();
    let mut lines = session.lines().peekable();
    while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
        out.push_str(&format!("{line}\n"));
    }
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else { continue };
        let mut command = first.to_owned();
        out.push_str(&format!("$ {first}\n"));
        while let Some(more) = lines.next_if(|line| line.starts_with('>')) {
            command.push_str(&format!("\n{}", more.strip_prefix("> ").unwrap_or_default()));
            out.push_str(&format!("{more}\n"));
        }
        out.push_str(&run(&command, folder.path()));
    }
    out
}

fn sessions() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(format!("{ROOT}/tests/process/transcripts")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
#[expect(clippy::disallowed_methods, reason = "goldens are rewritten when the environment says so")]
fn makers_see_what_the_transcripts_show() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    for path in sessions() {
        let session = std::fs::read_to_string(&path).unwrap();
        let found = again(&session);
        assert!(found.contains("\n$ sluicegate "), "{}: a session has commands", path.display());
        if update {
            std::fs::write(&path, &found).unwrap();
        }
        let differs = found.lines().zip(session.lines()).find(|(found, want)| found != want);
        assert!(update || found == session, "{}: first {differs:?}\n{found}", path.display());
    }
}
