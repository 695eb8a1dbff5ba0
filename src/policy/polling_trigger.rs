//! Answers a polling trigger: nothing new yet, or what is new, with the state of the next poll.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::{path, property};
use super::body_template::BodyTemplate;
use super::value::evaluation_failed;
use super::{Policy, Sections};
use crate::body::Body;
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Text};
use crate::expression::{EvaluationError, Needs};
use crate::json::{Document, Key, Kind, Node, Root};
use crate::pipeline::next::{Serve, exchange_of};
use crate::pipeline::{BoxFuture, Context, Exchange, Fault, Message, Next, Step};
use crate::routing::query;
use tower_service::Service as _;

/// Answers a polling trigger of Power Automate or Logic Apps in front of a backend that only lists things, newest first: the connector
/// template `pollingtrigger`, see
/// [Create a polling trigger](https://learn.microsoft.com/connectors/custom-connectors/create-polling-trigger).
///
/// The first call notes what is newest and is answered with 202, `Location` and `Retry-After`. `Location` is this operation with the parameters of
/// `query` that were read from the answer, and with `triggerState`. A call with it asks the backend with them: while there is nothing the
/// answer is 202 again, with the same `Location`; what there is comes with 200 and the next `Location`. More pages of one answer come
/// with `Retry-After: 0`, page by page. Whatever else the backend answers is passed on. It works around everything that comes
/// after it, so that it sees the answer as the caller would.
///
/// Nothing that a caller sends back is believed, so that nothing has to be signed, and every gateway and every restart understands it: a
/// `Location` holds parameters of this operation and no more, and they go through the policies before this one like any that a caller writes.
/// Who changes them reaches nothing else than with a call of their own. Parameters that policies put into the request, keys
/// among them, are kept out of it.
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
    /// A parameter without a hole is sent with every call, the others as `Location` has them.
    #[serde(default)]
    query: BTreeMap<String, Text>,
    /// The property of the answer that holds the link to its next page. Default `@odata.nextLink`.
    next_link: Option<At<String>>,
    /// When to ask again. Default `20s`, the platform's own.
    interval: Option<Period>,
}

/// The query parameter that tells a first call from others, as the platform names it.
const STATE: &str = "triggerState";
/// Its value for a call that asks for what is new.
const NEXT: &str = "next";
/// The beginning of its value for a call that asks for another page; the query of the call after the last page follows.
const PAGE: &str = "page-";
/// The longest query of a `Location`.
const LONGEST: usize = 8 * 1024;

impl Policy for PollingTrigger {
    const NAME: &'static str = "polling-trigger";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::HEAD_LATER;
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

/// Which call of the cycle it is.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    First,
    Next,
    /// Another page of an answer.
    Page {
        /// The query of the call after the last page.
        then: String,
    },
}

impl Serve for Polled {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            let mut request = Box::new(request);
            let turn = self.trigger.ask(&exchange, &mut request)?;
            let mut response = self.next.clone().call(*request).await?;
            if !response.status().is_success() || exchange.method == Method::HEAD {
                return Ok(response);
            }
            exchange.read(&mut Message::Response(&mut response)).await?;
            self.trigger.answer(&exchange, &turn, response)
        })
    }
}

impl Trigger {
    /// Takes the state out of the request, and puts in what every call has.
    fn ask(&self, exchange: &Exchange, request: &mut Request<Body>) -> Result<Turn, Fault> {
        let invalid =
            || Fault::client(StatusCode::BAD_REQUEST, "TriggerStateInvalid", "The state of the trigger is not valid.");
        let mut new = request.uri().query().unwrap_or_default().to_owned();
        let turn = match query::get(&new, STATE) {
            None => Turn::First,
            Some(text) => Turn::read(&text).ok_or_else(invalid)?,
        };
        query::set(&mut new, STATE, None::<&str>);
        {
            let mut values = exchange.state.lock();
            let cx = Context { exchange, state: &mut values, message: Message::Request(request) };
            for (name, template) in self.parameters.iter().filter(|(_, template)| !template.reads_body()) {
                if let Some(value) = template.text(&template.call(&cx)?, &mut Node::null()) {
                    query::set(&mut new, name, [value]);
                }
            }
        }
        let mark = if new.is_empty() { "" } else { "?" };
        let target = PathAndQuery::try_from(format!("{}{mark}{new}", request.uri().path())).map_err(|_| invalid())?;
        *request.uri_mut() = Uri::from(target);
        // The answer is read.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(turn)
    }

    /// The answer with the state of the next call, and with nothing else when there is nothing new.
    fn answer(&self, exchange: &Exchange, turn: &Turn, mut response: Response<Body>) -> Result<Response<Body>, Fault> {
        let bytes = response.body().bytes().cloned().unwrap_or_default();
        let mut document = match Document::parse(&bytes) {
            Ok(document) => document,
            // 204, or an empty 200: nothing new.
            Err(_) if bytes.is_empty() => Document { root: Node::null() },
            Err(_) => return Ok(response),
        };
        let found = document.root.at(&self.data).is_some_and(|data| match data.kind() {
            Kind::Array => data.items().is_some_and(|items| !items.is_empty()),
            Kind::Object => data.members().is_some_and(|members| !members.is_empty()),
            kind => kind != Kind::Null,
        });
        let own = exchange.target.query().unwrap_or_default();
        // The call that asks for what is new once this answer is read to its end.
        let mut then = match turn {
            Turn::First | Turn::Next => own.to_owned(),
            Turn::Page { then } => then.clone(),
        };
        // As the backend was asked.
        let sent;
        {
            let mut state = exchange.state.lock();
            let cx = Context { exchange, state: &mut state, message: Message::Response(&mut response) };
            sent = cx.uri().map(|uri| uri.query().unwrap_or_default().to_owned());
            // The newest thing is on the first page.
            let is_page = matches!(turn, Turn::Page { .. });
            let reading = self.parameters.iter().filter(|(_, template)| found && !is_page && template.reads_body());
            for (name, template) in reading {
                if let Some(value) = template.text(&template.call(&cx)?, &mut document.root) {
                    query::set(&mut then, name, [value]);
                }
            }
        }
        query::set(&mut then, STATE, None::<&str>);
        let link = document.root.at(&self.next_link).and_then(|link| link.as_text());
        let page = link.filter(|_| found && *turn != Turn::First).and_then(|link| {
            let link = link.split('#').next().unwrap_or_default();
            let (_, query) = link.split_once('?')?;
            // What policies put into the request they will put there again, and some of it is secret.
            let mut page = String::new();
            let is_own = |name: &str| {
                sent.as_deref().is_some_and(|sent| {
                    query::find(sent, name).is_none() || query::get_all(own, name).eq(query::get_all(sent, name))
                })
            };
            query::merge(&mut page, query, |pair| is_own(&pair.name()));
            Some(page)
        });
        let (mut next, state, wait) = match page {
            Some(page) => (page, format!("{PAGE}{}", URL_SAFE_NO_PAD.encode(&then)), 0),
            None => (then, NEXT.to_owned(), self.interval),
        };
        query::set(&mut next, STATE, [state]);
        let location = location(exchange, &next)?;
        let is_first = *turn == Turn::First;
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

impl Turn {
    fn read(text: &str) -> Option<Self> {
        if text == NEXT {
            return Some(Self::Next);
        }
        let encoded = text.strip_prefix(PAGE).filter(|encoded| encoded.len() <= LONGEST)?;
        let then = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
        // It goes into a header.
        let is_query =
            PathAndQuery::try_from(format!("/?{then}")).is_ok_and(|it| it.query().unwrap_or_default() == then);
        is_query.then_some(Self::Page { then })
    }
}

/// This operation with a query, at the address that the caller used.
fn location(exchange: &Exchange, query: &str) -> Result<HeaderValue, Fault> {
    let unfit = |why: &str| evaluation_failed(EvaluationError::new(format!("the state of the trigger {why}")));
    if query.len() > LONGEST {
        return Err(unfit("is longer than 8 KiB"));
    }
    let url = format!("{}{}?{query}", exchange.public_origin(), exchange.target.path());
    HeaderValue::from_str(&url).map_err(|_| unfit("cannot stand in a URL"))
}
