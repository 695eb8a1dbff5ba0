//! Answers a polling trigger: nothing new yet, or what is new, with the state of the next poll.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::body_property::{path, property};
use super::body_template::BodyTemplate;
use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Text};
use crate::expression::EvaluationError;
use crate::json::{Document, Key, Kind, Node, Root};
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{BoxFuture, Context, Exchange, Fault, Message, Next, Step};
use crate::routing::query;
use tower_service::Service as _;

/// Answers a polling trigger of Power Automate or Logic Apps in front of a backend that only lists things, newest first: the connector
/// template `pollingtrigger`, see
/// [Create a polling trigger](https://learn.microsoft.com/connectors/custom-connectors/create-polling-trigger).
///
/// The first call notes what is newest and is answered with 202, `Location` and `Retry-After`. `Location` is this operation with the parameter
/// `triggerState`, which holds the values of `query` that were read from the answer. A call with it sends them to the backend: while there is
/// nothing the answer is 202 again, with the same state; what there is comes with 200 and the next state in `Location`. More pages of one
/// answer come with `Retry-After: 0`, page by page. Whatever else the backend answers is passed on. It works around everything that comes
/// after it, so that it sees the answer as the caller would.
///
/// The state is in the hands of the caller, who can change it as any parameter of a query; it is no way to keep something from a caller.
///
/// ```toml
/// [[inbound]]
/// policy = "polling-trigger"
/// data   = "@triggerBody().value"
///
/// [inbound.query]
/// since    = "@{triggerBody().value[0].modified}"
/// per_page = "50"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PollingTrigger {
    /// Where the new things stand in the answer: an array that is empty, or not there, while there are none.
    data: At<String>,
    /// The parameters that ask for what is new, by name: text with holes `@{triggerBody().value[0].id}` that read from the answer, and expressions.
    /// A parameter without a hole is sent with every call, the others once there is a state.
    #[serde(default)]
    query: BTreeMap<String, Text>,
    /// The property of the answer that holds the link to its next page. Default `@odata.nextLink`.
    next_link: Option<At<String>>,
    /// When to ask again. Default `20s`, the platform's own.
    interval: Option<Period>,
}

/// The query parameter that holds the state, as the platform names it.
const STATE: &str = "triggerState";
/// The longest state that is read.
const LONGEST: usize = 8 * 1024;

impl Policy for PollingTrigger {
    const NAME: &'static str = "polling-trigger";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let data = path(&self.data, cx).and_then(|path| match path.root {
            Root::Item => {
                Err(CompileError::at(&self.data, "there is no item here").hint("begin with `@triggerBody()`"))
            }
            Root::Body | Root::Here => Ok(path.keys),
        });
        let data = cx.note(data);
        let next_link = match &self.next_link {
            Some(name) => property(Some(name), cx)?,
            None => [Key::Name("@odata.nextLink".into())].into(),
        };
        let mut parameters = Vec::new();
        for (name, text) in self.query {
            if name.is_empty() {
                return Err(CompileError::at(&text, "a query parameter needs a name"));
            }
            let value = BodyTemplate::compile(&text, cx)?;
            parameters.push((name, value));
        }
        let interval = self.interval.map_or(20, |period| period.0.as_secs() + u64::from(period.0.subsec_nanos() > 0));
        let trigger = Arc::new(Trigger { data: data?, parameters, next_link, interval });
        Ok(Step::layer(move |next| Next::new(Polled { trigger: trigger.clone(), next })))
    }
}

// === impl Layer ===

struct Trigger {
    data: Box<[Key]>,
    parameters: Vec<(String, BodyTemplate)>,
    next_link: Box<[Key]>,
    interval: u64,
}

struct Polled {
    trigger: Arc<Trigger>,
    next: Next,
}

/// What the caller carries from call to call.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// The values of parameters.
    #[serde(rename = "v", default)]
    values: BTreeMap<String, String>,
    /// The query of the page that comes next.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    page: Option<String>,
}

impl Serve for Polled {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            let mut request = Box::new(request);
            let state = self.trigger.ask(&exchange, &mut request)?;
            let mut response = self.next.clone().call(*request).await?;
            if !response.status().is_success() || exchange.method == Method::HEAD {
                return Ok(response);
            }
            exchange.buffer(&mut Message::Response(&mut response)).await?;
            self.trigger.answer(&exchange, state, response)
        })
    }
}

impl Trigger {
    /// Takes the state out of the request, and puts what it holds into it.
    fn ask(&self, exchange: &Exchange, request: &mut Request<Body>) -> Result<Option<State>, Fault> {
        let mut new = request.uri().query().unwrap_or_default().to_owned();
        let state = match query::get(&new, STATE) {
            None => None,
            Some(text) => Some(State::read(&text).ok_or_else(|| {
                Fault::client(StatusCode::BAD_REQUEST, "TriggerStateInvalid", "The state of the trigger is not valid.")
            })?),
        };
        query::set(&mut new, STATE, None::<&str>);
        if let Some(page) = state.as_ref().and_then(|state| state.page.as_ref()) {
            page.clone_into(&mut new);
        } else {
            let mut values = exchange.state.lock();
            let cx = Context { exchange, state: &mut values, message: Message::Request(request) };
            for (name, template) in &self.parameters {
                let value = match (template.reads_body(), &state) {
                    (false, _) => template.text(&template.call(&cx)?, &mut Node::null()),
                    (true, Some(state)) => state.values.get(name).cloned(),
                    (true, None) => None,
                };
                if let Some(value) = value {
                    query::set(&mut new, name, [value]);
                }
            }
        }
        let mark = if new.is_empty() { "" } else { "?" };
        let target = PathAndQuery::try_from(format!("{}{mark}{new}", request.uri().path())).map_err(|_| {
            Fault::client(StatusCode::BAD_REQUEST, "TriggerStateInvalid", "The state of the trigger is not valid.")
        })?;
        *request.uri_mut() = Uri::from(target);
        // The answer is read.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(state)
    }

    /// The answer with the state of the next call, and with nothing else when there is nothing new.
    fn answer(
        &self,
        exchange: &Exchange,
        before: Option<State>,
        mut response: Response<Body>,
    ) -> Result<Response<Body>, Fault> {
        let bytes = response.body().bytes().cloned().unwrap_or_default();
        let mut document = match Document::parse(&bytes) {
            Ok(document) => document,
            // 204, or an empty 200: nothing new.
            Err(_) if bytes.is_empty() => Document { root: Node::null() },
            Err(_) => return Ok(response),
        };
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        let pages = before.page.is_some();
        let found = document.root.at(&self.data).is_some_and(|data| match data.kind() {
            Kind::Array => data.items().is_some_and(|items| !items.is_empty()),
            Kind::Object => data.members().is_some_and(|members| !members.is_empty()),
            kind => kind != Kind::Null,
        });
        let mut values = before.values;
        // The newest thing is on the first page.
        if found && !pages {
            let mut state = exchange.state.lock();
            let cx = Context { exchange, state: &mut state, message: Message::Response(&mut response) };
            for (name, template) in self.parameters.iter().filter(|(_, template)| template.reads_body()) {
                if let Some(value) = template.text(&template.call(&cx)?, &mut document.root) {
                    values.insert(name.clone(), value);
                }
            }
        }
        let link = document.root.at(&self.next_link).and_then(|link| link.as_text());
        let page = link.filter(|_| found && !is_first).and_then(|link| {
            let link = link.split('#').next().unwrap_or_default();
            link.split_once('?').map(|(_, query)| query.to_owned())
        });
        let wait = if page.is_some() { 0 } else { self.interval };
        let location = State { values, page }.location(exchange)?;
        if is_first || !found {
            *response.status_mut() = StatusCode::ACCEPTED;
            *response.body_mut() = Body::Empty;
            for name in [
                header::CONTENT_LENGTH,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::TRANSFER_ENCODING,
                header::ETAG,
                header::LAST_MODIFIED,
            ] {
                response.headers_mut().remove(name);
            }
        }
        response.headers_mut().insert(header::LOCATION, location);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        Ok(response)
    }
}

impl State {
    fn read(text: &str) -> Option<Self> {
        let bytes = (text.len() <= LONGEST).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// This operation with the state, at the address that the caller used.
    fn location(&self, exchange: &Exchange) -> Result<HeaderValue, Fault> {
        let unfit = |why: &str| evaluation_failed(EvaluationError::new(format!("the state of the trigger {why}")));
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).map_err(|_| unfit("cannot be written"))?);
        if text.len() > LONGEST {
            return Err(unfit("is longer than 8 KiB"));
        }
        let mut own = exchange.target.query().unwrap_or_default().to_owned();
        query::set(&mut own, STATE, [text]);
        let url = format!("{}{}?{own}", exchange.public_origin(), exchange.target.path());
        HeaderValue::from_str(&url).map_err(|_| unfit("cannot stand in a URL"))
    }
}
