//! The code of a package, as far as it can be judged without compiling it: see [write code in a custom
//! connector](https://learn.microsoft.com/connectors/custom-connectors/write-code).

use std::path::Path;

use crate::config::source::Sources;
use crate::config::{Diagnostic, Diagnostics};

/// What the platform takes.
const MAX_SIZE: u64 = 1024 * 1024;

/// What every script has.
const PARTS: [(&str, &str); 3] = [
    ("class Script", "the class of a script is called `Script`"),
    ("ScriptBase", "the class of a script is a `ScriptBase`"),
    ("ExecuteAsync", "a script has a method `ExecuteAsync`"),
];

/// Looks at a script.
pub(super) fn lint(path: &Path, has_gateway: bool, sources: &mut Sources, diagnostics: &mut Diagnostics) {
    let name = path.display().to_string();
    let size = path.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    if size > MAX_SIZE {
        let file = sources.add(name, std::sync::Arc::<str>::from(""));
        let text = "the script is larger than 1 MB";
        return diagnostics.push(Diagnostic::error("bad-script", file, 0..0, text));
    }
    let Ok(bytes) = std::fs::read(path) else {
        return diagnostics.push(Diagnostic::global("unreadable", format!("{name} cannot be read")));
    };
    let text = super::super::text::decode(&bytes).text;
    let client = text.find("new HttpClient(");
    let missing: Vec<&str> = PARTS.iter().filter(|(part, _)| !text.contains(part)).map(|(_, why)| *why).collect();
    let file = sources.add(name, std::sync::Arc::<str>::from(text));
    for why in missing {
        diagnostics.push(Diagnostic::error("bad-script", file, 0..0, why));
    }
    if has_gateway {
        let text = "scripts do not run behind an on-premises gateway";
        diagnostics.push(Diagnostic::error("gateway-policy", file, 0..0, text));
    }
    if let Some(at) = client {
        let text = "the platform is going to refuse connections that a script opens by itself";
        let found = Diagnostic::warning("bad-script", file, at..at + "new HttpClient".len(), text);
        diagnostics.push(found.hint("`this.Context.SendAsync`"));
    }
}
