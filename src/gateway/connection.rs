//! The connections of an API: what each caller brings to its backend.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use prometheus::IntGauge;

use crate::credential::Credential;

/// The connections of an API.
#[derive(Debug, Default)]
pub struct Connections {
    /// By the subscription whose calls use them.
    pub by_subscription: HashMap<Arc<str>, Arc<Connection>>,
    /// What all other calls use.
    pub otherwise: Option<Arc<Connection>>,
}

impl Connections {
    /// The connection of a call made with a subscription, or with none.
    pub fn of(&self, subscription: Option<&str>) -> Option<&Arc<Connection>> {
        subscription.and_then(|id| self.by_subscription.get(id)).or(self.otherwise.as_ref())
    }
}

/// A connection.
pub struct Connection {
    /// Its name.
    pub name: Arc<str>,
    /// The set that its parameters belong to.
    pub set: Option<Arc<str>>,
    /// Names in lower case, sorted, and values.
    parameters: Box<[(Box<str>, Box<str>)]>,
    /// Where its OAuth token comes from, when the gateway fetches it.
    pub token: Option<Credential>,
    /// Whether its OAuth token is the caller's own.
    pub pass_through: bool,
    /// 1 while the backend says that its credentials do not work.
    pub unauthenticated: IntGauge,
}

impl Connection {
    /// A connection with these parameters.
    pub fn new(
        name: &str,
        set: Option<&str>,
        parameters: impl IntoIterator<Item = (String, String)>,
        token: Option<Credential>,
        pass_through: bool,
        unauthenticated: IntGauge,
    ) -> Self {
        let mut parameters: Vec<(Box<str>, Box<str>)> =
            parameters.into_iter().map(|(name, value)| (name.to_lowercase().into(), value.into())).collect();
        parameters.sort();
        let (name, set) = (name.into(), set.map(Arc::from));
        Self { name, set, parameters: parameters.into(), token, pass_through, unauthenticated }
    }

    /// A parameter; names compare without case, as they do on the platform.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let order = |known: &str| known.chars().cmp(name.chars().flat_map(char::to_lowercase));
        let at = self.parameters.binary_search_by(|(known, _)| order(known)).ok()?;
        Some(&self.parameters[at].1)
    }
}

impl fmt::Debug for Connection {
    /// Without values: some are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Connection").field("name", &self.name).field("parameters", &names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_without_case_and_never_shown() {
        let pairs = [("Host", "h"), ("token:tenantId", "t"), ("API Key", "hush"), ("b-c_d", "x")];
        let gauge = IntGauge::new("a", "b").unwrap();
        let connection = Connection::new("one", None, pairs.map(|(a, b)| (a.into(), b.into())), None, false, gauge);
        for (name, want) in [
            ("host", Some("h")),
            ("TOKEN:TENANTID", Some("t")),
            ("Api key", Some("hush")),
            ("b-C_d", Some("x")),
            ("hos", None),
        ] {
            assert_eq!(connection.parameter(name), want, "{name}");
        }
        assert!(!format!("{connection:?}").contains("hush"));
    }
}
