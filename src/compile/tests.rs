//! Whatever a file holds, compiling it ends in a gateway or in mistakes that can be shown.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Shared, compile};
use crate::clock::Clock;
use crate::config::folder::read_folder;
use crate::config::render;

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
