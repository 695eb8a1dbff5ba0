//! Packages with damage of every kind: nothing panics, what cannot be read is told with file and line, and what is written is TOML.

use std::path::Path;

use sluicegate::config::source::Sources;
use sluicegate::config::{Diagnostics, Severity};
use sluicegate::connector::connection::Given;
use sluicegate::connector::folder::{Folder, line};
use sluicegate::connector::lint::lint;
use sluicegate::connector::package;

/// Files of the project's own packages, each with those that it stands beside.
const FILES: [(&str, &str, Option<&str>); 8] = [
    ("gallery", "apiDefinition.swagger.json", Some("apiProperties.json")),
    ("gallery", "apiProperties.json", Some("apiDefinition.swagger.json")),
    ("tasks", "apiDefinition.swagger.json", Some("apiProperties.json")),
    ("tasks", "apiProperties.json", Some("apiDefinition.swagger.json")),
    ("faulty", "apiDefinition.swagger.json", Some("apiProperties.json")),
    ("faulty", "apiProperties.json", Some("apiDefinition.swagger.json")),
    ("orders", "orders.yaml", None),
    ("shop", "shop.yaml", None),
];
/// How many times each file is damaged.
const ROUNDS: usize = 400;
/// What is put in: what readers of JSON, YAML, paths, references and expressions look for.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ",",
    ":",
    "\\",
    "\\u",
    "\\ud800",
    "\u{feff}",
    "/*",
    "//",
    "{{",
    "}}",
    "@{headers('a'))}",
    "@body(",
    "null",
    "1e999",
    "#/paths/~1",
    "&a ",
    "*a",
    "\t",
];

/// Damages a file: bytes, pieces, lines, or values.
fn damage(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.usize(..bytes.len());
        let end = at + random.usize(..=(bytes.len() - at).min(40));
        match random.u8(..9) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, random.choice(PIECES).unwrap().bytes())),
            5 => drop(bytes.splice(at..end, random.choice(PIECES).unwrap().bytes())),
            6 => {
                let piece = bytes[at..end].to_owned();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, piece));
            }
            7 => lines(bytes, random),
            _ => value(bytes, at, random),
        }
    }
}

/// Takes a line out, or puts it elsewhere a second time.
fn lines(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_owned).collect();
    let from = random.usize(..lines.len());
    if random.bool() {
        lines.remove(from);
    } else {
        let copy = lines[from].clone();
        lines.insert(random.usize(..lines.len()), copy);
    }
    *bytes = lines.concat();
}

/// Puts another value behind the next `:`.
fn value(bytes: &mut Vec<u8>, at: usize, random: &mut fastrand::Rng) {
    let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':').map(|step| at + step + 1) else { return };
    let end = bytes[colon..].iter().position(|byte| b",}]\n".contains(byte)).map_or(bytes.len(), |step| colon + step);
    let deep = "[".repeat(random.usize(1..400));
    let long = format!("\"{}\"", "x".repeat(5000));
    let values = ["null", "true", "-0", "[]", "{}", "\"\"", "\"{{x}}\"", "{ \"$ref\": \"#\" }", &deep, &long];
    let value = format!(" {}", random.choice(values).unwrap());
    drop(bytes.splice(colon..end, value.bytes()));
}

#[test]
fn damaged_packages_are_read_or_refused_with_file_and_line() {
    let (mut read, mut refused) = (0, 0);
    for (number, (package, name, beside)) in FILES.into_iter().enumerate() {
        let source = Path::new("tests/connectors").join(package);
        let whole = std::fs::read(source.join(name)).unwrap();
        let maker = tempfile::tempdir().unwrap();
        let folder = maker.path().join(package);
        std::fs::create_dir(&folder).unwrap();
        if let Some(beside) = beside {
            std::fs::copy(source.join(beside), folder.join(beside)).unwrap();
        }
        let file = folder.join(name);
        let path = if beside.is_some() { &folder } else { &file };
        for round in 0..ROUNDS {
            // The case by itself, so that one that fails can be run alone.
            let seed = (number * ROUNDS + round) as u64;
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = whole.clone();
            damage(&mut bytes, &mut random);
            std::fs::write(&file, &bytes).unwrap();
            let at = format!("case {seed}, {package}/{name}");
            let [place] = &package::find(path).unwrap()[..] else { panic!("{at}: one package") };
            let out = tempfile::tempdir().unwrap();
            let outcome = Folder::open(out.path()).unwrap().import(place, &Given::default()).unwrap();
            let errors = || outcome.diagnostics.0.iter().filter(|one| one.severity == Severity::Error);
            if outcome.written {
                read += 1;
                let api = std::fs::read_to_string(out.path().join(format!("{}.toml", outcome.report.api))).unwrap();
                let parsed = api.parse::<toml::Table>();
                assert!(parsed.is_ok(), "{at}: {}\n{api}", parsed.unwrap_err());
                assert_eq!(errors().count(), 0, "{at}");
            } else {
                refused += 1;
                assert!(errors().count() > 0, "{at}: nothing says why");
                for error in errors() {
                    let said = line(error, &outcome.sources);
                    let rest =
                        said.strip_prefix(&folder.display().to_string()).unwrap_or_else(|| panic!("{at}: {said}"));
                    let numbers: Vec<_> = rest.split(':').skip(1).take(2).map(str::parse::<usize>).collect();
                    assert!(numbers.iter().all(|number| number.as_ref().is_ok_and(|it| *it > 0)), "{at}: {said}");
                }
            }
            let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
            lint(place, &mut sources, &mut diagnostics);
            for found in &diagnostics.0 {
                assert!(found.location.is_some(), "{at}: {} has no place", found.code);
                line(found, &sources);
            }
        }
    }
    assert!(read > 200 && refused > 200, "both happen: {read} read, {refused} refused");
}
