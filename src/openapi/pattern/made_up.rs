//! A short text in which an expression is found.

use regex_syntax::hir::{Class, Hir, HirKind};

/// How long a text may get, in bytes.
const MAX_LENGTH: usize = 1_000;
/// Characters that people expect, in the order in which they are taken.
const USUAL: &str = "a0A-_. ";

/// A text for the expression `source` of the engine, in which repetitions run `often` where they may.
pub(super) fn text(source: &str, often: u32) -> Option<String> {
    let hir = regex_syntax::parse(source).ok()?;
    let mut out = String::new();
    write(&hir, often, &mut out).then_some(out)
}

/// Whether a text was found for a part. What stands around it (`\b`, `$`) is not looked at.
fn write(hir: &Hir, often: u32, out: &mut String) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0);
            text.is_ok_and(|text| {
                out.push_str(text);
                out.len() <= MAX_LENGTH
            })
        }
        HirKind::Class(Class::Unicode(class)) => {
            let has = |letter: &char| class.iter().any(|range| (range.start()..=range.end()).contains(letter));
            let first = || class.iter().next().map(|range| range.start());
            USUAL.chars().find(has).or_else(first).map(|letter| out.push(letter)).is_some()
        }
        HirKind::Class(Class::Bytes(_)) => false,
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            let count = often.clamp(repetition.min, most);
            (0..count).all(|_| out.len() <= MAX_LENGTH && write(&repetition.sub, often, out))
        }
        HirKind::Capture(capture) => write(&capture.sub, often, out),
        HirKind::Concat(parts) => parts.iter().all(|part| write(part, often, out)),
        HirKind::Alternation(parts) => parts.first().is_some_and(|part| write(part, often, out)),
    }
}
