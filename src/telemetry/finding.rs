//! What was found in a message that is not as its API's definition says, for the access log.

/// How many findings of one exchange are kept.
const MAX_FINDINGS: usize = 8;

/// Something that is not as a definition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The policy that found it.
    pub policy: &'static str,
    /// The parameter, the header, the content type or the status.
    pub name: Box<str>,
    /// What kind of thing that is.
    pub kind: &'static str,
    /// Which rule it breaks.
    pub rule: &'static str,
    /// What is wrong. Holds names and rules, never the value itself.
    pub details: Box<str>,
    /// What became of the message: `detect` or `prevent`.
    pub action: &'static str,
}

impl Finding {
    /// Adds it to those of the exchange, unless there are many.
    pub fn join(self, findings: &mut Vec<Self>) {
        if findings.len() < MAX_FINDINGS {
            findings.push(self);
        }
    }
}
