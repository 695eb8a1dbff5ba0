//! Every kind of mistake, and the full text that is reported for it.
//!
//! A case is a text: the files of a folder, each after a line `--- NAME`, and what is expected after `--- report`. A name may be
//! followed by how the file is written (`bom`, `crlf`, `latin-1`). `--- needs POLICY` says that the case waits until there is such a
//! policy. `UPDATE_GOLDEN=1` writes the reports anew.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluicegate::clock::Clock;
use sluicegate::compile::{self, Origin, Shared};
use sluicegate::config::codes::CODES;
use sluicegate::config::render;
use sluicegate::policy::Kind;

/// Codes that cannot be shown by files alone.
const NOT_SHOWN: [&str; 1] = ["unreadable"];

struct Case {
    path: PathBuf,
    /// Everything before the report.
    input: String,
    files: Vec<(String, Vec<u8>)>,
    report: String,
    waits: bool,
}

fn read(path: PathBuf) -> Case {
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("--- report").unwrap_or_else(|| panic!("{} has no report", path.display()));
    let (input, report) =
        (text[..at].to_owned(), text[at..].split_once('\n').map_or("", |(_, report)| report).to_owned());
    let mut case = Case { path, files: Vec::new(), report, waits: false, input: input.clone() };
    for part in input.split("--- ").skip(1) {
        let (head, body) = part.split_once('\n').unwrap();
        let (name, how) = head.split_once(' ').unwrap_or((head, ""));
        let bytes = match how {
            "bom" => [b"\xEF\xBB\xBF", body.as_bytes()].concat(),
            "crlf" => body.replace('\n', "\r\n").into_bytes(),
            "latin-1" => body.chars().map(|character| u8::try_from(u32::from(character)).unwrap()).collect(),
            policy if name == "needs" => {
                case.waits |= Kind::find(policy).is_none();
                continue;
            }
            "" => body.as_bytes().to_vec(),
            other => panic!("{}: a file cannot be written as `{other}`", case.path.display()),
        };
        case.files.push((name.to_owned(), bytes));
    }
    case
}

fn report(case: &Case) -> (String, Vec<&'static str>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in &case.files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
    let loaded = compile::load(&Origin::Folder(folder.path().to_owned()), &Arc::new(shared));
    let text = render::text(&loaded.diagnostics, &loaded.sources);
    assert_eq!(loaded.gateway.is_none(), loaded.diagnostics.errors() > 0, "{}", case.path.display());
    let text = text.replace(&folder.path().display().to_string(), "FOLDER");
    (text, loaded.diagnostics.0.iter().map(|one| one.code).collect())
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name != "main.rs"))
        .map(|path| {
            assert!(path.extension().is_some_and(|extension| extension == "golden"), "{} is unused", path.display());
            read(path)
        })
        .collect()
}

#[test]
fn reports() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| !case.waits) {
        let (found, _) = report(&case);
        if found.trim_end() == case.report.trim_end() {
            continue;
        }
        if update {
            std::fs::write(&case.path, format!("{}--- report\n{}\n", case.input, found.trim_end())).unwrap();
        } else {
            wrong.push(format!("{}: found\n{found}\nexpected\n{}", case.path.display(), case.report));
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 writes what is found", wrong.join("\n"));
}

#[test]
fn every_code_has_a_case() {
    let mut shown: BTreeSet<&str> = NOT_SHOWN.into();
    for case in cases() {
        // What a case that waits will show stands in its report.
        let expected =
            CODES.iter().filter(|(code, _)| case.report.contains(&format!("[{code}]"))).map(|(code, _)| *code);
        shown.extend(expected);
    }
    // What single policies are refused for is shown beside them.
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        shown.extend(CODES.iter().map(|(code, _)| *code).filter(|code| text.contains(&format!("[{code}]"))));
    }
    let missing: Vec<&str> = CODES.iter().map(|(code, _)| *code).filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}
