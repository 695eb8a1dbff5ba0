//! What the policies of a package make of a request and of its answer, after the platform's documentation: a second and much
//! simpler implementation that shares no code with the gateway, to hold it to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value as Json;

use super::bodies::{HOLE_IN_TRIGGER, Key, Path, edit, get, in_text, put, text_of};
use super::reading::{Operation, Package, Policy};
use super::support::hosts::{Found, call_at};

pub(crate) type Pairs = Vec<(String, String)>;

/// A request as a caller sends it to the gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) variables: Pairs,
    pub(crate) query: Pairs,
    /// Names in lower case.
    pub(crate) headers: Pairs,
    pub(crate) body: Option<Json>,
}

/// A request as the backend gets it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) host: String,
    /// Decoded.
    pub(crate) path: String,
    /// Decoded, in the order of the alphabet.
    pub(crate) query: Pairs,
    /// What the caller and the policies say.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Json>,
}

/// What is to come of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub(crate) asked: Vec<Asked>,
    pub(crate) answer: Json,
    /// What policies set.
    pub(crate) answer_headers: BTreeMap<String, String>,
    /// What policies set when there is no answer.
    pub(crate) failure_headers: BTreeMap<String, String>,
    /// The parameters of the next poll.
    pub(crate) poll: Option<Pairs>,
    /// The status that takes the connection's credentials for wrong.
    pub(crate) refusal: Option<u64>,
    /// The connection parameter without which there is no path, and so no request.
    pub(crate) unset: Option<String>,
    /// The URL that paths are appended to, at last.
    pub(crate) base: String,
}

/// An operation of a package that is served.
pub(crate) struct Model<'a> {
    pub(crate) package: &'a Package,
    pub(crate) operation: &'a Operation,
    /// The values of the connection.
    pub(crate) connection: &'a [(String, String)],
    /// The name of the API.
    pub(crate) api: &'a str,
}

/// A request on its way.
struct Call {
    method: String,
    base: String,
    /// Percent-encoded.
    path: String,
    query: Pairs,
    headers: BTreeMap<String, String>,
    body: Option<Json>,
}

const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The pairs of a query.
pub(crate) fn pairs(query: &str) -> Pairs {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(a, b)| (plain(a), plain(b))).collect()
}

fn plain(text: &str) -> String {
    decoded(&text.replace('+', " "))
}

impl Model<'_> {
    /// What the policies make of a request that the backend answers with `answer`. The error says why it is refused.
    pub(crate) fn run(&self, policies: &[&Policy], sample: &Sample, answer: &Json) -> Result<Expected, String> {
        let mut call = Call {
            method: self.operation.method.clone(),
            base: base(&self.package.definition),
            path: filled(&self.operation.path, &sample.variables),
            query: sample.query.clone(),
            headers: sample.headers.iter().cloned().collect(),
            body: sample.body.clone(),
        };
        let mut expected = Expected { answer: answer.clone(), ..Expected::default() };
        self.authenticate(&mut call);
        for policy in policies.iter().filter(|policy| policy.section() == "Request") {
            self.request(policy, &mut call, sample, &mut expected)?;
        }
        if expected.unset.is_some() {
            return Ok(Expected { unset: expected.unset, ..Expected::default() });
        }
        expected.asked.push(call.asked()?);
        expected.base = call.base.trim_end_matches('/').to_owned();
        for policy in policies.iter().filter(|policy| policy.section() == "Response") {
            self.response(policy, &call, sample, &mut expected);
        }
        for policy in policies.iter().filter(|policy| policy.section() == "Failure") {
            let value = self.evaluate(policy.text("value"), &call, false);
            expected.failure_headers.insert(policy.text("name").trim().to_ascii_lowercase(), value);
        }
        Ok(expected)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.connection.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// As the first of the definition's schemes has it that the connection has what is needed for.
    fn authenticate(&self, call: &mut Call) {
        let (set, parameters) = self.package.connection();
        let token = parameters
            .iter()
            .find(|(_, it)| it["type"].as_str().is_some_and(|it| it.eq_ignore_ascii_case("oauthSetting")));
        let token = token.and_then(|(name, _)| self.value(name)).map(|token| format!("Bearer {token}"));
        let basic = self.value("username").zip(self.value("password"));
        let basic = basic.map(|(name, word)| format!("Basic {}", STANDARD.encode(format!("{name}:{word}"))));
        let schemes = self.package.definition["securityDefinitions"].as_object();
        for scheme in schemes.into_iter().flatten().map(|(_, scheme)| scheme) {
            let name = scheme["name"].as_str().unwrap_or_default();
            let done = match (scheme["type"].as_str().unwrap_or_default(), scheme["in"].as_str()) {
                ("apiKey", Some("query")) => self.value("api_key").map(|key| set_all(&mut call.query, name, key)),
                ("apiKey", _) => self.value("api_key").map(|key| call.set_header(name, key)),
                ("basic", _) => basic.as_deref().map(|text| call.set_header("authorization", text)),
                _ => token.as_deref().map(|text| call.set_header("authorization", text)),
            };
            // With sets each has the scheme that fits it, else there is the first.
            if done.is_some() || set.is_none() {
                return;
            }
        }
        if let Some(text) = basic.filter(|_| set.is_some()).or(token) {
            call.set_header("authorization", &text);
        }
    }

    fn request(
        &self,
        policy: &Policy,
        call: &mut Call,
        sample: &Sample,
        expected: &mut Expected,
    ) -> Result<(), String> {
        match policy.id.as_str() {
            "setheader" => {
                let value = self.evaluate(policy.text("value"), call, false);
                let name = policy.text("name").trim().to_ascii_lowercase();
                match (policy.text("existsAction"), call.headers.get(&name)) {
                    ("skip", Some(_)) => {}
                    ("append", Some(old)) => drop(call.headers.insert(name, format!("{old},{value}"))),
                    _ => drop(call.headers.insert(name, value)),
                }
            }
            "setqueryparameter" => {
                let (name, value) = (decoded(policy.text("name")), self.evaluate(policy.text("value"), call, false));
                match policy.text("existsAction") {
                    "skip" if call.query.iter().any(|(known, _)| *known == name) => {}
                    "append" => call.query.push((name, value)),
                    _ => set_all(&mut call.query, &name, &value),
                }
            }
            "dynamichosturl" | "dynamicsubdomain" => {
                let url = self.evaluate(policy.text("urlTemplate"), call, false);
                let (base, query) = url.split_once('?').unwrap_or((&url, ""));
                call.base = base.trim().to_owned();
                let own = pairs(query);
                call.query.splice(0..0, own);
            }
            "routerequesttoendpoint" => {
                let path = filled(policy.text("newPath"), &sample.variables);
                expected.unset = self.unset(&path);
                let path = self.evaluate(&path, call, true);
                let (path, query) = path.split_once('?').unwrap_or((&path, ""));
                call.path = format!("/{}", path.trim_start_matches('/'));
                let own = pairs(query);
                call.query.retain(|(name, _)| !own.iter().any(|(known, _)| known == name));
                call.query.splice(0..0, own);
                call.method = match policy.text("httpMethod") {
                    "" => call.method.clone(),
                    method if method.starts_with('@') => self.operation.method.clone(),
                    method => method.to_owned(),
                };
            }
            "setvaluefromurl" => {
                let url = self.evaluate(&filled(policy.text("parameterValueUrl"), &sample.variables), call, true);
                let (path, query) = url.split_once('?').unwrap_or((&url, ""));
                let method = Some(policy.text("httpMethod")).filter(|it| !it.is_empty()).unwrap_or("GET").to_owned();
                let is_get = method == "GET";
                let mut headers = call.headers.clone();
                headers.retain(|name, _| !(name.starts_with("if-") || is_get && name == "content-type"));
                let side = Call {
                    method,
                    base: call.base.clone(),
                    path: format!("/{}", path.trim_start_matches('/')),
                    query: pairs(query),
                    headers,
                    body: call.body.clone().filter(|_| !is_get),
                };
                expected.asked.push(side.asked()?);
                let path = Path::parse(policy.text("parameterValuePathTemplate"));
                let value = get(&expected.answer, &path.keys).map(text_of).ok_or("there is no value")?;
                let target = call_at(policy.text("parameterTemplate")).ok_or("no target")?;
                match target.function.as_str() {
                    "queryparameters" => set_all(&mut call.query, &target.name, &value),
                    _ => call.set_header(&target.name, &value),
                }
            }
            "pollingtrigger" => {
                let mut next = Vec::new();
                for (name, value) in policy.parameter("triggerConfig").as_object().into_iter().flatten() {
                    let text = value.as_str().unwrap_or_default();
                    if name.is_empty() || name.eq_ignore_ascii_case("x-ms-triggerConfig-nextLink") {
                        continue;
                    }
                    match in_text(text, &expected.answer, None, &HOLE_IN_TRIGGER) {
                        _ if !HOLE_IN_TRIGGER.is_match(text) => set_all(&mut call.query, name, text),
                        Some(value) => next.push((name.clone(), value)),
                        None => {}
                    }
                }
                expected.poll = Some(next);
            }
            _ => {
                if let Some(body) = &mut call.body.take() {
                    let value = self.evaluate(policy.text("propertyValuePathTemplate"), call, false);
                    edit(policy, &value, body);
                    call.body = Some(std::mem::take(body));
                }
            }
        }
        Ok(())
    }

    fn response(&self, policy: &Policy, call: &Call, sample: &Sample, expected: &mut Expected) {
        match policy.id.as_str() {
            "setheader" => {
                // `@headers` is the request's, also here.
                let value = self.evaluate(policy.text("value"), call, false);
                expected.answer_headers.insert(policy.text("name").trim().to_ascii_lowercase(), value);
            }
            "updatenextlink" => {
                let mut keys = Path::parse(policy.text("nextLinkParentPropertyPath")).keys;
                keys.push(Key::Name(policy.text("nextLinkPropertyName").to_owned()));
                let Some(link) = get(&expected.answer, &keys).and_then(Json::as_str) else { return };
                let Some(rest) = link.strip_prefix(&expected.base) else { return };
                let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
                let own = filled(&self.operation.path, &sample.variables);
                let path = if decoded(path) == decoded(&call.path) { &own } else { path };
                let link = format!("http://gateway.test/{}{path}?{query}", self.api);
                put(&mut expected.answer, &keys, Json::String(link));
            }
            "setconnectionstatustounauthenticated" => expected.refusal = policy.parameter("statusCode").as_u64(),
            _ => {
                let value = self.evaluate(policy.text("propertyValuePathTemplate"), call, false);
                edit(policy, &value, &mut expected.answer);
            }
        }
    }

    /// The first connection parameter of a text that has neither a value nor a default.
    fn unset(&self, template: &str) -> Option<String> {
        let found = template.match_indices('@').filter_map(|(at, _)| call_at(&template[at..]));
        let mut parameters = found.filter(|it| it.function == "connectionparameters" && it.default.is_none());
        parameters.find(|it| self.value(&it.name).is_none()).map(|it| it.name)
    }

    /// A text with calls in it.
    fn evaluate(&self, template: &str, call: &Call, encode: bool) -> String {
        let (mut out, mut rest) = (String::new(), template);
        while let Some(at) = rest.find('@') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some(found) = call_at(rest) else {
                out.push('@');
                rest = &rest[1..];
                continue;
            };
            let value = match found.function.as_str() {
                "connectionparameters" => self.value(&found.name).map(str::to_owned),
                "queryparameters" => {
                    call.query.iter().find(|(name, _)| *name == found.name).map(|(_, value)| value.clone())
                }
                _ => call.headers.get(&found.name.to_ascii_lowercase()).cloned(),
            };
            let value = value.or(found.default).unwrap_or_default();
            out.push_str(&if encode { encoded(&value) } else { value });
            rest = &rest[found.length..];
        }
        out + rest
    }
}

impl Call {
    fn set_header(&mut self, name: &str, value: &str) {
        self.headers.insert(name.trim().to_ascii_lowercase(), value.to_owned());
    }

    fn asked(&self) -> Result<Asked, String> {
        let invalid = || format!("`{}` is no URL", self.base);
        let (scheme, rest) = self.base.trim_end_matches('/').split_once("://").ok_or_else(invalid)?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains(['@', ' ', '\'', '(']) {
            return Err(invalid());
        }
        let mut query = self.query.clone();
        query.sort();
        Ok(Asked {
            method: self.method.clone(),
            host: host.to_ascii_lowercase(),
            path: decoded(&format!("{path}{}", self.path)),
            query,
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.trim().to_owned())).collect(),
            body: self.body.clone(),
        })
    }
}

fn set_all(query: &mut Pairs, name: &str, value: &str) {
    query.retain(|(known, _)| known != name);
    query.push((name.to_owned(), value.to_owned()));
}

/// The URL that a definition's paths are appended to.
fn base(definition: &Json) -> String {
    let text = |name: &str| definition[name].as_str().unwrap_or_default().trim();
    let host = text("host");
    // Makers write all sorts of things where a policy sets the host.
    let host = if host.contains('.') && !host.contains(['{', '[', '<', ' ']) { host } else { "host.invalid" };
    let scheme = definition["schemes"][0].as_str().unwrap_or("https");
    format!("{scheme}://{}/{}", host.trim_end_matches('/'), text("basePath").trim_matches('/'))
}

/// A path with its variables.
pub(crate) fn filled(path: &str, variables: &[(String, String)]) -> String {
    let fill = |path: String, (name, value): &(String, String)| path.replace(&format!("{{{name}}}"), &encoded(value));
    variables.iter().fold(path.to_owned(), fill)
}

/// All calls of a text.
pub(crate) fn calls(text: &str) -> impl Iterator<Item = Found> {
    text.match_indices('@').filter_map(|(at, _)| call_at(&text[at..]))
}
