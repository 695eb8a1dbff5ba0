//! Whatever a file holds, compiling it ends in a gateway or in mistakes that can be shown.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Shared, compile};
use crate::clock::Clock;
use crate::config::folder::read_folder;
use crate::config::render;
use crate::pipeline::Kept;

/// What a careless hand writes over a stretch of a file.
const SPLINTERS: [&str; 24] = [
    "",
    "\"",
    "'''",
    "\"\"\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "@",
    "@{",
    "{{",
    "}}",
    "\n",
    "\\",
    "policy = \"base\"\n",
    "[[inbound]]\n",
    "[api]\n",
    "-1",
    "é",
    "\u{fffd}",
    "[]",
];

#[derive(Clone, Debug)]
struct Damage {
    file: prop::sample::Index,
    at: prop::sample::Index,
    length: usize,
    splinter: &'static str,
}

fn damage() -> impl Strategy<Value = Damage> {
    let splinter = prop::sample::select(&SPLINTERS[..]);
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..24usize, splinter)
        .prop_map(|(file, at, length, splinter)| Damage { file, at, length, splinter })
}

fn boundary(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(damages in prop::collection::vec(damage(), 1..5)) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut files = read_folder(&folder).unwrap();
        for damage in damages {
            let index = damage.file.index(files.len());
            let text = &mut files[index].1;
            let start = boundary(text, damage.at.index(text.len() + 1));
            let end = boundary(text, (start + damage.length).min(text.len()));
            text.replace_range(start..end, damage.splinter);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
        let loaded = compile(files, None, &Arc::new(shared));
        prop_assert_eq!(loaded.gateway.is_none(), loaded.diagnostics.errors() > 0);
        let text = render::text(&loaded.diagnostics, &loaded.sources);
        prop_assert_eq!(text.is_empty(), loaded.diagnostics.0.is_empty());
        drop(render::json(&loaded.diagnostics, &loaded.sources));
        drop(render::sarif(&loaded.diagnostics, &loaded.sources, &folder));
    }
}

#[test]
fn a_key_file_with_many_warnings_is_read_to_its_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Arc::new(Shared { offline: true, ..Shared::new(Clock::manual(), runtime.handle().clone()) });
    let load = |line: &str| {
        let mut keys: String = (0..150).map(|number| format!("[subscriptions.s{number}]\n{line}\n")).collect();
        keys += "[subscriptions.last]\nprimary = { digest = \"sha256:ade937c23dc04c64b0bd37e190c26c8fdbe7bb3b824adc8660c02a968b492425\" }\n";
        let files = [("gateway.toml", String::new()), ("keys.toml", keys)].map(|(name, text)| (name.to_owned(), text));
        compile(files.into(), None, &shared)
    };
    let warned = load("");
    assert_eq!((warned.diagnostics.errors(), warned.diagnostics.warnings()), (0, 100), "the first hundred are shown");
    let gateway = warned.gateway.unwrap();
    assert!(gateway.keys.lookup(b"contoso-demo-key").is_some());
    assert_eq!(load("expires = \"never\"").diagnostics.errors(), 100);
}

#[test]
fn so_much_of_a_request_is_kept_as_later_steps_read() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Arc::new(Shared { offline: true, ..Shared::new(Clock::manual(), runtime.handle().clone()) });
    for (name, policies, want) in [
        ("nothing", "[[outbound]]\npolicy = \"set-header\"\nname = \"x\"\nvalue = \"@{status()}\"", Kept::Nothing),
        ("links", "[[outbound]]\npolicy = \"redirect-content-urls\"\nbody = false", Kept::Target),
        ("the path", "[[outbound]]\npolicy = \"set-header\"\nname = \"x\"\nvalue = \"@{path()}\"", Kept::Target),
        (
            "a header in a branch",
            "[[on-error]]\npolicy = \"choose\"\n[[on-error.when]]\ncondition = \"@equals(headers('x'), '1')\"\n\
             [[on-error.when.policies]]\npolicy = \"set-header\"\nname = \"x\"\nvalue = \"1\"",
            Kept::Head,
        ),
    ] {
        let api = format!(
            "[api]\nname = \"api\"\npath = \"/\"\nbackend = \"b\"\n{policies}\n[[operation]]\nname = \"a\"\nmatch = \"GET /\"\n"
        );
        let files = [("gateway.toml", "[backends.b]\nurl = \"http://b\"\n".to_owned()), ("api.toml", api)];
        let loaded = compile(files.map(|(name, text)| (name.to_owned(), text)).into(), None, &shared);
        let gateway =
            loaded.gateway.unwrap_or_else(|| panic!("{name}: {}", render::text(&loaded.diagnostics, &loaded.sources)));
        assert_eq!(gateway.operations[0].pipeline.kept, want, "{name}");
    }
}
