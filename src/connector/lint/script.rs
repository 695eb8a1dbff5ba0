//! The code of a package, as far as it can be judged without compiling it: see [write code in a custom
//! connector](https://learn.microsoft.com/connectors/custom-connectors/write-code).

use std::ops::Range;
use std::path::Path;

use super::{Linter, head};
use crate::config::Diagnostic;
use crate::config::source::{FileId, Sources};

/// What the platform takes.
const MAX_SIZE: u64 = 1024 * 1024;

impl Linter<'_, '_> {
    /// Looks at a script.
    pub(super) fn script(&mut self, path: &Path, sources: &mut Sources) {
        let gateway = self.properties.all().find(|one| one.kind.eq_ignore_ascii_case("gatewaySetting"));
        if let Some(parameter) = gateway {
            let text = "scripts do not run behind an on-premises gateway";
            let found = Diagnostic::error("gateway-policy", self.properties_file(), head(parameter.node), text);
            self.push(found.hint("either script.csx or this parameter can stay"));
        }
        let name = path.display().to_string();
        let size = path.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        if size > MAX_SIZE {
            let file = sources.add(name, std::sync::Arc::<str>::from(""));
            let text = "the script is larger than 1 MB";
            self.push(Diagnostic::error("bad-script", file, 0..0, text));
            return;
        }
        let Ok(bytes) = std::fs::read(path) else {
            self.push(Diagnostic::global("unreadable", format!("{name} cannot be read")));
            return;
        };
        let text = super::super::text::decode(&bytes).text;
        let file = sources.add(name, std::sync::Arc::<str>::from(text.clone()));
        self.parts(file, &text);
        if let Some(at) = text.find("new HttpClient(") {
            let why = "the platform is going to refuse connections that a script opens by itself";
            let found = Diagnostic::warning("bad-script", file, at..at + "new HttpClient".len(), why);
            self.push(found.hint("`this.Context.SendAsync`"));
        }
        for (span, name) in compared(&text) {
            self.check_operation(file, &span, name);
        }
    }

    /// What every script has; told where its class begins, if there is one.
    fn parts(&mut self, file: FileId, text: &str) {
        let class = class(text);
        let span = class.clone().unwrap_or(0..0);
        let line = class.map(|span| text[span.start..].lines().next().unwrap_or_default());
        if !text.contains("class Script") {
            self.push(Diagnostic::error("bad-script", file, span.clone(), "the class of a script is called `Script`"));
        }
        if !text.contains("ScriptBase") {
            let found = Diagnostic::error("bad-script", file, span.clone(), "the class of a script is a `ScriptBase`");
            let hint = line.map(|line| format!("`{} : ScriptBase`", line.trim_end_matches(['{', ' ']).trim_end()));
            self.push(found.maybe_hint(hint));
        }
        if !text.contains("ExecuteAsync") {
            let found = Diagnostic::error("bad-script", file, span, "a script has a method `ExecuteAsync`");
            self.push(found.hint("`public override async Task<HttpResponseMessage> ExecuteAsync()`"));
        }
    }
}

/// Where the first class is declared: that of the script, if it has the name.
fn class(text: &str) -> Option<Range<usize>> {
    let declared = |word: &str| {
        text.match_indices(word).map(|(at, _)| at).find(|at| {
            let line = text[..*at].lines().last().unwrap_or_default().trim_start();
            !text[..*at].ends_with(|c: char| c.is_alphanumeric()) && !line.starts_with("//") && !line.starts_with('*')
        })
    };
    declared("class Script").or_else(|| declared("class ")).map(|at| at..at + "class".len())
}

/// The names of operations that `OperationId` is compared with.
fn compared(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices("OperationId").filter_map(|(at, word)| {
        let rest = &text[at + word.len()..];
        let behind = rest.trim_start();
        let value = behind.strip_prefix("==").or_else(|| behind.strip_prefix("!="))?.trim_start().strip_prefix('"')?;
        let name = value.split_once('"')?.0;
        let start = text.len() - value.len();
        Some((start - 1..start + name.len() + 1, name))
    })
}
