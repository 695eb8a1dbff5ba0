//! Which converted policies the gateway would refuse, found out by compiling them: one mistake of a maker must not keep a whole folder
//! from being served.

use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::template::Section;
use super::written::Block;
use crate::clock::Clock;
use crate::compile::{Shared, compile};
use crate::config::diagnostic::Severity;
use crate::config::folder::GATEWAY_FILE;

/// A place where policies are tried.
pub struct Trial {
    shared: Arc<Shared>,
    /// What is compiled expects one, and nothing runs on it.
    _runtime: Runtime,
}

/// A policy where it is to stand.
pub struct Tried<'a> {
    /// The policy.
    pub block: &'a Block,
    /// Its section.
    pub section: Section,
    /// The operation's path template; none for all operations of the API.
    pub template: Option<&'a str>,
}

const FILE: &str = "trial.toml";

impl Trial {
    /// A place without anything in it.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
        Ok(Self { shared: Arc::new(shared), _runtime: runtime })
    }

    /// Why each of these would be refused; none where it would not.
    pub fn refusals(&self, tried: &[Tried<'_>]) -> Vec<Option<String>> {
        let mut refusals = vec![None; tried.len()];
        if tried.is_empty() {
            return refusals;
        }
        let mut text = "[api]\nname = \"trial\"\npath = \"/\"\nbackend = \"trial\"\n".to_owned();
        // What is for all operations stands before the first of them.
        let mut places: Vec<(Range<usize>, usize)> = Vec::with_capacity(tried.len());
        for (number, one) in tried.iter().enumerate().filter(|(_, one)| one.template.is_none()) {
            let start = text.len();
            one.block.write(&format!("[[{}]]", one.section.as_str()), &mut text);
            places.push((start..text.len(), number));
        }
        for (number, one) in tried.iter().enumerate() {
            let Some(template) = one.template else { continue };
            let path = super::written::text(&format!("POST /{number}{template}"));
            text.push_str(&format!("\n[[operation]]\nname = \"o{number}\"\nmatch = {path}\n"));
            let start = text.len();
            one.block.write(&format!("[[operation.{}]]", one.section.as_str()), &mut text);
            places.push((start..text.len(), number));
        }
        let gateway = "[backends.trial]\nurl = \"https://trial.invalid\"\n";
        let files = vec![(GATEWAY_FILE.to_owned(), gateway.to_owned()), (FILE.to_owned(), text)];
        let loaded = compile(files, None, &self.shared);
        for found in loaded.diagnostics.0.iter().filter(|found| found.severity == Severity::Error) {
            let Some(location) = &found.location else { continue };
            if loaded.sources.file(location.file).name != FILE {
                continue;
            }
            let place = places.iter().find(|(range, _)| range.contains(&location.span.start));
            if let Some((_, number)) = place
                && refusals[*number].is_none()
            {
                refusals[*number] = Some(found.message.clone());
            }
        }
        refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_is_told_of_its_own_mistake() {
        let good = Block::policy("set-header").text("name", "x").text("value", "@headers('y')");
        let bad = Block::policy("set-header").text("name", "x").text("value", "a\nb");
        let route = Block::policy("route-request").text("path", "/a/{id}");
        let at = |block, template| Tried { block, section: Section::Inbound, template };
        let trial = Trial::new().unwrap();
        let told = trial.refusals(&[
            at(&good, Some("/a")),
            at(&bad, None),
            at(&route, Some("/b/{id}")),
            at(&route, Some("/b/{other}")),
            at(&route, None),
            at(&bad, Some("/a/{")),
        ]);
        let line_break = "a header value cannot hold line breaks or other control characters".to_owned();
        assert_eq!(told[0], None);
        assert_eq!(told[1], Some(line_break));
        assert_eq!(told[2], None);
        assert_eq!(told[3], Some("the operation's template has no variable `id`".to_owned()));
        assert_eq!(told[4], None);
    }
}
