//! What the requests to many packages are answered with: as it is to be, or as a list says why it is not, or neither.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Map, Value as Json};

use super::Api;
use crate::backend::{Backend, Told};
use crate::wire::{Connection, Message};

/// Operations of published packages to which no request can be made up that is right, the status that they answer with, and why.
const EXPLAINED: [(&str, &str, u16, &str); 11] = [
    ("apptigent-cloudtools", "ActionsExecuteQuickAction", 400, EXAMPLE),
    ("apptigent-cloudtools", "FilesShareDocument", 400, EXAMPLE),
    ("apptigent-cloudtools", "GlobalJobsAbortJob", 400, EXAMPLE),
    ("apptigent-cloudtools", "GlobalJobsDeleteJob", 400, EXAMPLE),
    ("apptigent-cloudtools", "GlobalJobsGetStatus", 400, EXAMPLE),
    ("connective-esignatures", "CreateInstantPackage", 400, EXAMPLE),
    ("connective-esignatures", "SetProcessInformation", 400, EXAMPLE),
    ("gallery", "ListLikes", 403, HOST),
    ("imanage-insight-plus", "GetCurationPropertiesForDocument", 400, PATTERN),
    ("imanage-insight-plus", "SetCurationPropertiesForDocument", 400, PATTERN),
    ("motimate", "User_Create", 400, EXAMPLE),
];
const EXAMPLE: &str = "the definition's own example is not what its schema takes";
const HOST: &str = "callers choose the host, and an import lets the definition's own through and no other";
const PATTERN: &str = "no text is made up for a regular expression";

/// What the calls of an API were answered with.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// How often what is as the definition says was answered with each status.
    pub(crate) right: BTreeMap<u16, usize>,
    /// The same of what is not.
    pub(crate) wrong: BTreeMap<u16, usize>,
    /// How often each of the reasons for another answer was met.
    pub(crate) explained: BTreeMap<&'static str, usize>,
    /// What nothing explains.
    pub(crate) unexplained: Vec<String>,
    /// The APIs that answered as they should to what is right, and to what is not.
    pub(crate) passed: BTreeSet<String>,
    pub(crate) refused: BTreeSet<String>,
}

impl Answers {
    /// Calls an API. What is right reaches the backend, and nothing else does.
    #[track_caller]
    pub(crate) fn of(&mut self, api: &Api, caller: &mut Caller, backend: &Backend) {
        for call in api.calls() {
            backend.take();
            let answer = caller.ask(&call.text).unwrap_or_else(|| panic!("no answer to {}", call.text));
            let status = answer.status();
            let asked = backend.take().len();
            let is_right = call.want < 300;
            let counts = if is_right { &mut self.right } else { &mut self.wrong };
            *counts.entry(status).or_default() += 1;
            if status == call.want && is_right == (asked > 0) {
                let names = if is_right { &mut self.passed } else { &mut self.refused };
                names.insert(api.name.clone());
                continue;
            }
            let package = api.name.rsplit_once('-').map_or(&*api.name, |(package, _)| package);
            let known = EXPLAINED.iter().find(|(name, operation, told, _)| {
                (*name, *operation, *told) == (package, &*call.operation, status) && asked == 0
            });
            match known {
                Some((_, _, _, why)) => *self.explained.entry(why).or_default() += 1,
                None => self.unexplained.push(format!(
                    "{} {}: {status} in place of {}, {asked} requests to the backend: {}\n{}",
                    api.name,
                    call.operation,
                    call.want,
                    String::from_utf8_lossy(&answer.body),
                    call.text
                )),
            }
        }
    }
}

/// A backend that records requests, and answers with what the policies of these APIs look for.
pub(crate) fn recording(apis: &[Api]) -> Backend {
    let mut answer = Map::new();
    apis.iter().for_each(|api| api.looks_for(&mut answer));
    let backend = Backend::start();
    let fields = vec![("content-type".to_owned(), "application/json".to_owned())];
    backend.tell(Told { status: 200, fields, body: Json::Object(answer).to_string().into_bytes() });
    backend
}

/// Asks on one connection, which is opened again when the gateway has closed it.
pub(crate) struct Caller {
    address: SocketAddr,
    connection: Option<Connection>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    fn ask(&mut self, request: &str) -> Option<Message> {
        let method = request.split(' ').next()?;
        (0..2).find_map(|_| {
            let mut connection = self.connection.take().unwrap_or_else(|| Connection::open(self.address));
            connection.send(request.as_bytes());
            let answer = connection.response(method)?;
            if answer.field("connection") != Some("close") {
                self.connection = Some(connection);
            }
            Some(answer)
        })
    }
}
