//! Packages that are broken as makers break them: what lint says, and on which line; and that import says nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use sluicegate::config::source::Sources;
use sluicegate::config::{Diagnostics, Severity};
use sluicegate::connector::connection::Given;
use sluicegate::connector::folder::{Folder, Outcome};
use sluicegate::connector::lint::lint;
use sluicegate::connector::package;

use super::applied::corpus;
use super::fixtures;

/// A finding: severity, code, name of the file, line, text.
type Finding = (Severity, &'static str, String, usize, String);

fn findings(diagnostics: &Diagnostics, sources: &Sources) -> Vec<Finding> {
    let finding = |one: &sluicegate::config::Diagnostic| {
        let at = one.location.as_ref().unwrap_or_else(|| panic!("`{}` has no place", one.code));
        let file = sources.file(at.file);
        let name = Path::new(&*file.name).file_name().unwrap().to_str().unwrap().to_owned();
        (one.severity, one.code, name, file.position(at.span.start).0, one.message.clone())
    };
    diagnostics.0.iter().map(finding).collect()
}

fn linted(folder: &Path) -> Vec<Finding> {
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    package::find(folder).unwrap().iter().for_each(|place| lint(place, &mut sources, &mut diagnostics));
    findings(&diagnostics, &sources)
}

const DEFINITION: &str = package::DEFINITION_FILE;
const PROPERTIES: &str = package::PROPERTIES_FILE;

struct Mutation {
    name: &'static str,
    package: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    code: &'static str,
    /// Where the finding is: a file, and what stands in lines one behind the other, the last of which is its line.
    at: (&'static str, &'static [&'static str]),
}

#[test]
fn what_makers_break_is_told_on_its_line() {
    let mut wrong = Vec::new();
    for Mutation { name, package, file, from, to, code, at } in MUTATIONS {
        let source = Path::new("tests/connectors").join(package);
        let folder = tempfile::tempdir().unwrap();
        for name in [DEFINITION, PROPERTIES] {
            std::fs::copy(source.join(name), folder.path().join(name)).unwrap();
        }
        let before = linted(folder.path());
        let whole = std::fs::read_to_string(source.join(file)).unwrap();
        assert!(whole.contains(from), "{name}: `{from}` is not in {package}/{file}");
        std::fs::write(folder.path().join(file), whole.replacen(from, to, 1)).unwrap();
        let (shown, anchors) = at;
        let text = std::fs::read_to_string(folder.path().join(shown)).unwrap();
        let mut lines = text.lines().zip(1..);
        let places =
            anchors.iter().map(|anchor| lines.find(|(line, _)| line.contains(anchor)).map(|(_, number)| number));
        let line = places.last().flatten().unwrap_or_else(|| panic!("{name}: {anchors:?}"));
        let after = linted(folder.path());
        let count = |all: &[Finding]| all.iter().filter(|one| one.1 == *code).count();
        let is_there = after.iter().any(|one| one.1 == *code && one.2 == *shown && one.3 == line);
        if !is_there || count(&after) <= count(&before) {
            let near: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
            wrong.push(format!("{name}: no `{code}` at {shown}:{line}, but {near:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What import overlooks with a warning lint tells as well, word for word; and what import reads is never unreadable to lint.
#[test]
fn import_and_lint_agree() {
    for path in fixtures().into_iter().chain(corpus().into_iter().flatten()) {
        for place in package::find(&path).unwrap() {
            let out = tempfile::tempdir().unwrap();
            let outcome = Folder::open(out.path()).unwrap().import(&place, &Given::default()).unwrap();
            let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
            lint(&place, &mut sources, &mut diagnostics);
            let (imported, linted) =
                (findings(&outcome.diagnostics, &outcome.sources), findings(&diagnostics, &sources));
            for one in &imported {
                assert!(linted.contains(one), "{}: lint does not tell {one:?}", path.display());
            }
            let reader = ["syntax", "encoding", "unreadable", "bad-definition"];
            let told = |one: &&Finding| one.0 == Severity::Error && reader.contains(&one.1);
            assert!(!outcome.written || !linted.iter().any(|one| told(&one)), "{}: {linted:?}", path.display());
            facts(&path, &outcome, &linted);
        }
    }
}

/// What the report tells of a package's own mistakes, and the code of the same fact in lint.
const FACTS: [(&str, &str); 6] = [
    ("no operation is called", "unknown-operation"),
    ("` is not known", "unknown-template"),
    ("is no function of policy templates", "unknown-function"),
    ("it has no `operationId`", "missing-operation-id"),
    ("its requests are also those of", "ambiguous-paths"),
    ("callers choose the host", "host-from-request"),
];

fn facts(path: &Path, outcome: &Outcome, linted: &[Finding]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &outcome.report.entries {
        for (words, code) in FACTS {
            *counts.entry(code).or_default() += entry.note.matches(words).count();
        }
    }
    for (code, count) in counts {
        let told = linted.iter().filter(|one| one.1 == code).count();
        assert!(told >= count, "{}: import tells {count} of `{code}`, lint {told}", path.display());
    }
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an operationId misspelt in a policy",
        package: "gallery",
        file: PROPERTIES,
        from: "\"Search\"\n",
        to: "\"Serach\"\n",
        code: "unknown-operation",
        at: (PROPERTIES, &["\"Serach\""]),
    },
    Mutation {
        name: "an operation renamed, and not its policy",
        package: "gallery",
        file: DEFINITION,
        from: "\"operationId\": \"GetFeed\"",
        to: "\"operationId\": \"GetPageFeed\"",
        code: "unknown-operation",
        at: (PROPERTIES, &["\"GetFeed\""]),
    },
    Mutation {
        name: "a connection parameter in another case",
        package: "gallery",
        file: PROPERTIES,
        from: "\"@connectionParameters('Zone')\"",
        to: "\"@connectionParameters('zone')-\"",
        code: "parameter-case",
        at: (PROPERTIES, &["('zone')-"]),
    },
    Mutation {
        name: "a connection parameter that there is not",
        package: "gallery",
        file: PROPERTIES,
        from: "\"@connectionParameters('Zone')\"",
        to: "\"@connectionParameters('zones')\"",
        code: "undeclared-parameter",
        at: (PROPERTIES, &["('zones')"]),
    },
    Mutation {
        name: "a host template that loses the base path",
        package: "gallery",
        file: PROPERTIES,
        from: ".gallery.example/rest/v3/",
        to: ".gallery.example",
        code: "lost-base-path",
        at: (PROPERTIES, &[".gallery.example\""]),
    },
    Mutation {
        name: "a comma too many",
        package: "gallery",
        file: PROPERTIES,
        from: "\"iconBrandColor\": \"#da3b01\",",
        to: "\"iconBrandColor\": \"#da3b01\",,",
        code: "syntax",
        at: (PROPERTIES, &["#da3b01"]),
    },
    Mutation {
        name: "a comma at the end",
        package: "gallery",
        file: DEFINITION,
        from: "\"description\": \"List pictures.\",",
        to: "\"tags\": [\"a\",],",
        code: "syntax",
        at: (DEFINITION, &["[\"a\",]"]),
    },
    Mutation {
        name: "no summary",
        package: "gallery",
        file: DEFINITION,
        from: "        \"summary\": \"Add a member\",\n",
        to: "",
        code: "missing-summary",
        at: (DEFINITION, &["\"/members\"", "\"post\": {"]),
    },
    Mutation {
        name: "a summary that is too long",
        package: "gallery",
        file: DEFINITION,
        from: "\"Get the feed of a page\"",
        to: "\"Get the feed of a page with all that was ever said about it by anybody who may write there\"",
        code: "long-summary",
        at: (DEFINITION, &["ever said"]),
    },
    Mutation {
        name: "two paths of one request",
        package: "gallery",
        file: DEFINITION,
        from: "\"/pages/{id}/feed\"",
        to: "\"/search/by/{id}\"",
        code: "ambiguous-paths",
        at: (DEFINITION, &["\"/search/by/{id}\"", "\"get\": {"]),
    },
    Mutation {
        name: "a list from an operation that has another name now",
        package: "gallery",
        file: DEFINITION,
        from: "\"x-ms-summary\": \"Page\"",
        to: "\"x-ms-summary\": \"Page\",\n\"x-ms-dynamic-values\": { \"operationId\": \"ListPage\" }",
        code: "unknown-operation",
        at: (DEFINITION, &["\"ListPage\""]),
    },
    Mutation {
        name: "a list whose property has another name now",
        package: "gallery",
        file: DEFINITION,
        from: "\"x-ms-summary\": \"Page\"",
        to: "\"x-ms-summary\": \"Page\",\n\"x-ms-dynamic-values\": { \"operationId\": \"ListPictures\", \"value-collection\": \"values\", \"value-path\": \"url\" }",
        code: "dynamic-reference",
        at: (DEFINITION, &["\"values\""]),
    },
    Mutation {
        name: "a webhook without Location",
        package: "tasks",
        file: DEFINITION,
        from: "\"schema\": { \"type\": \"object\" } }],\n        \"responses\": { \"201\"",
        to: "\"schema\": { \"type\": \"object\", \"required\": [\"to\"], \"properties\": { \"to\": { \"type\": \"string\", \"x-ms-notification-url\": true, \"x-ms-visibility\": \"internal\" } } } }],\n        \"x-ms-trigger\": \"single\",\n        \"responses\": { \"201\"",
        code: "webhook-location",
        at: (DEFINITION, &["\"Created\""]),
    },
    Mutation {
        name: "pages without a policy",
        package: "gallery",
        file: PROPERTIES,
        from: "\"updatenextlink\"",
        to: "\"setheader\"",
        code: "no-next-link",
        at: (DEFINITION, &["\"nextLinkName\""]),
    },
    Mutation {
        name: "a colour",
        package: "gallery",
        file: PROPERTIES,
        from: "#da3b01",
        to: "da3b01",
        code: "icon-colour",
        at: (PROPERTIES, &["da3b01"]),
    },
    Mutation {
        name: "a capability",
        package: "gallery",
        file: PROPERTIES,
        from: "\"actions\"",
        to: "\"action\"",
        code: "unknown-capability",
        at: (PROPERTIES, &["\"action\""]),
    },
    Mutation {
        name: "a header that nobody sends",
        package: "gallery",
        file: PROPERTIES,
        from: "@headers('Region').likes",
        to: "@headers('Rejion').likes",
        code: "undeclared-input",
        at: (PROPERTIES, &["Rejion"]),
    },
    Mutation {
        name: "a variable of another operation",
        package: "gallery",
        file: PROPERTIES,
        from: "/likes('{id}')/",
        to: "/likes('{key}')/",
        code: "unknown-variable",
        at: (PROPERTIES, &["{key}"]),
    },
    Mutation {
        name: "a path parameter of another name",
        package: "gallery",
        file: DEFINITION,
        from: "\"name\": \"what\"",
        to: "\"name\": \"kind\"",
        code: "path-parameter",
        at: (DEFINITION, &["\"/search/by/{what}\"", "\"name\": \"kind\""]),
    },
    Mutation {
        name: "a reference to a schema that was removed",
        package: "gallery",
        file: DEFINITION,
        from: "    \"Member\": {",
        to: "    \"Person\": {",
        code: "broken-reference",
        at: (DEFINITION, &["#/definitions/Member"]),
    },
];
