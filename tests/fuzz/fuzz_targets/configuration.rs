//! Any folder is compiled or refused with mistakes that can be shown; nothing panics.
//!
//! The input is the text of an API's file; before a line `---` it may hold a gateway.toml.

#![no_main]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use sluicegate::clock::Clock;
use sluicegate::compile::{self, Shared};
use sluicegate::config::render;

const GATEWAY: &str = "[backends.sample]\nurl = \"sample:/v1\"\n";

fn shared() -> &'static Arc<Shared> {
    static SHARED: OnceLock<(tokio::runtime::Runtime, Arc<Shared>)> = OnceLock::new();
    let (_, shared) = SHARED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O can start");
        let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
        (runtime, Arc::new(shared))
    });
    shared
}

fuzz_target!(|text: &str| {
    let (gateway, api) = text.split_once("\n---\n").unwrap_or((GATEWAY, text));
    let files = vec![("api.toml".to_owned(), api.to_owned()), ("gateway.toml".to_owned(), gateway.to_owned())];
    let loaded = compile::compile(files, None, shared());
    assert_eq!(loaded.gateway.is_none(), loaded.diagnostics.errors() > 0);
    drop(render::text(&loaded.diagnostics, &loaded.sources));
    drop(render::json(&loaded.diagnostics, &loaded.sources));
});
