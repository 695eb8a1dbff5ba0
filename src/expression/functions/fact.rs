//! Functions that read the exchange.

use std::borrow::Cow;

use http::HeaderName;
use serde_json::Value as Json;

use super::{Evaluated, Function, Needs};
use crate::expression::evaluate::{Call, Node};
use crate::expression::{EvaluationError, Value};

const HEAD: Needs = Needs::REQUEST_HEAD;
const TARGET: Needs = Needs::TARGET;
/// Facts that are always at hand, but differ from exchange to exchange.
const AT_HAND: Needs = Needs::NONE;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("api()", "The name of the API.", "api()", "'orders'", |call| text(call.facts.api())).reads(AT_HAND),
    Function::new("body()", "The body of the current message as JSON.", "body().customer", "'Contoso'", |call| {
        call.facts.body().map(Value::from_json)
    })
    .reads(Needs::BODY)
    .structured(),
    Function::new(
        "bodyText()",
        "The body of the current message as text.",
        "bodyText()",
        "'{\"customer\":\"Contoso\"}'",
        |call| call.facts.body_text().map(Value::Str),
    )
    .reads(Needs::BODY),
    Function::new(
        "claims([name], [default])",
        "A claim of the validated token, or all of them as an object.",
        "claims('sub')",
        "'ada'",
        |call| member(call, call.facts.claims()),
    )
    .reads(Needs::CLAIMS)
    .structured(),
    Function::new(
        "clientCertificate([name], [default])",
        "What the client's certificate says, or all of it as an object: `thumbprint` (SHA-1), `sha256`, `subject`, `commonName`, `issuer`, `serialNumber`, `san` (a list), `notBefore`, `notAfter`. Null without one. It was not verified unless a policy did.",
        "clientCertificate('commonName')",
        "'erp'",
        |call| member(call, call.facts.client_certificate()),
    )
    .reads(AT_HAND)
    .structured(),
    Function::new("clientIp()", "The caller's address.", "clientIp()", "'192.0.2.7'", |call| {
        Ok(Value::Str(call.facts.client_ip().to_string().into()))
    })
    .reads(AT_HAND),
    Function::new(
        "connection()",
        "The name of the connection that the call uses: that of its subscription, else the API's for all others. Null without one.",
        "connection()",
        "'contoso'",
        |call| Ok(Value::from_text(call.facts.connection_name())),
    )
    .reads(Needs::CONNECTION),
    Function::new(
        "connectionIp()",
        "The address of the connection: the caller's own, or that of the proxy in front.",
        "connectionIp()",
        "'198.51.100.1'",
        |call| Ok(Value::Str(call.facts.connection_ip().to_string().into())),
    )
    .reads(AT_HAND),
    Function::new(
        "connectionParameters(name, [default])",
        "A parameter of the caller's connection; names compare without case.",
        "connectionParameters('Region', 'eu')",
        "'eu'",
        |call| {
            let name = call.text(0)?;
            or_default(call, call.facts.connection_parameter(&name).map(Cow::Borrowed))
        },
    )
    .reads(Needs::CONNECTION),
    Function::new(
        "consumer([name], [default])",
        "The name of the consumer that calls; or its `groups`, or one of its metadata, by name.",
        "consumer()",
        "'ada'",
        |call| match call.optional_text(0)? {
            None => Ok(Value::from_text(call.facts.consumer())),
            Some(name) => fact(call, call.facts.consumer_fact(&name)),
        },
    )
    .reads(Needs::CALLER),
    // It reads the answer as far as a limit's `cost` is concerned: until then it goes on.
    Function::new(
        "elapsed()",
        "How many milliseconds have passed since the request came. As the `cost` of a limit: until it was answered.",
        "elapsed()",
        "125",
        |call| Ok(Value::Int(i64::try_from(call.facts.elapsed().as_millis()).unwrap_or(i64::MAX))),
    )
    .reads(Needs::RESPONSE_HEAD),
    Function::new("header(name, [default])", "The same as `headers`.", "header('x-tenant')", "'contoso'", headers)
        .reads(HEAD)
        .header(),
    Function::new(
        "headers(name, [default])",
        "A header of the request; several values are joined with `,`.",
        "headers('x-tenant')",
        "'contoso'",
        headers,
    )
    .reads(HEAD)
    .header(),
    Function::new("host()", "The host the request was made to.", "host()", "'api.contoso.com'", |call| {
        text(call.facts.host())
    })
    .reads(TARGET),
    Function::new("item()", "The item that the policy is working on.", "item().id", "7", |call| {
        match call.facts.item() {
            Some(item) => Ok(Value::from_json(item)),
            None => Err(call.error("this policy does not work on items")),
        }
    })
    .reads(AT_HAND)
    .structured(),
    Function::new(
        "lastError([name])",
        "What on-error handles: `source`, `reason`, `message`, `scope`, `section`, `path`, `policyId`, and `blame`, whose fault it is: `client`, `gateway` or `backend`.",
        "lastError('reason')",
        "'RateLimitExceeded'",
        |call| member(call, call.facts.last_error()),
    )
    .reads(Needs::LAST_ERROR)
    .structured(),
    Function::new("method()", "The request method.", "method()", "'GET'", |call| text(call.facts.method())).reads(TARGET),
    Function::new("operation()", "The name of the operation.", "operation()", "'GetOrder'", |call| {
        text(call.facts.operation())
    })
    .reads(AT_HAND),
    Function::new("path()", "The request path, percent-encoded.", "path()", "'/orders/42'", |call| {
        text(call.facts.path())
    })
    .reads(TARGET),
    Function::new(
        "pathParameters(name, [default])",
        "A parameter of the operation's path, decoded.",
        "pathParameters('id')",
        "'42'",
        |call| {
            let name = call.text(0)?;
            or_default(call, call.facts.path_parameter(&name))
        },
    )
    .reads(TARGET),
    Function::new("product()", "The name of the product the call was made under.", "product()", "'starter'", |call| {
        Ok(Value::from_text(call.facts.product()))
    })
    .reads(Needs::CALLER),
    Function::new(
        "queryParameters(name, [default])",
        "A parameter of the request's query, decoded.",
        "queryParameters('page', '1')",
        "'2'",
        |call| {
            let name = call.text(0)?;
            or_default(call, call.facts.query_parameter(&name))
        },
    )
    .reads(TARGET),
    Function::new("queryString()", "The request's query without `?`.", "queryString()", "'page=2'", |call| {
        text(call.facts.query_string())
    })
    .reads(TARGET),
    Function::new("requestId()", "The id of the exchange.", "requestId()", "'3f2a'", |call| {
        text(call.facts.request_id())
    })
    .reads(AT_HAND),
    Function::new(
        "responseHeaders(name, [default])",
        "A header of the response; several values are joined with `,`.",
        "responseHeaders('retry-after', '1')",
        "'12'",
        |call| {
            let value = with_header(call, |name| call.facts.response_header(name))?;
            or_default(call, value)
        },
    )
    .reads(Needs::RESPONSE_HEAD)
    .header(),
    Function::new("status()", "The status of the response, null before there is one.", "status()", "429", |call| {
        Ok(call.facts.status().map_or(Value::Null, |status| Value::Int(i64::from(status))))
    })
    .reads(Needs::RESPONSE_HEAD),
    Function::new(
        "subscription([name], [default])",
        "The name of the subscription the call was made with; or one of its metadata, by name.",
        "subscription()",
        "'sub-1'",
        |call| match call.optional_text(0)? {
            None => Ok(Value::from_text(call.facts.subscription())),
            Some(name) => fact(call, call.facts.subscription_fact(&name)),
        },
    )
    .reads(Needs::CALLER),
    Function::new(
        "url()",
        "The request's absolute URL.",
        "url()",
        "'http://api.contoso.com/orders/42?page=2'",
        |call| Ok(Value::Str(call.facts.url())),
    )
    .reads(TARGET),
    Function::new(
        "variables(name, [default])",
        "A variable that a policy set earlier in the exchange.",
        "variables('attempt', 1)",
        "3",
        |call| {
            let name = call.text(0)?;
            call.facts.variable(&name).map_or_else(|| call.value(1), |value| Ok(Value::from_json(value)))
        },
    )
    .reads(Needs::VARIABLES)
    .structured(),
];

fn text<'a>(text: &'a str) -> Evaluated<'a> {
    Ok(Value::Str(Cow::Borrowed(text)))
}

/// The fact, or the second argument where it is missing, or null.
fn or_default<'a>(call: &Call<'a>, fact: Option<Cow<'a, str>>) -> Evaluated<'a> {
    fact.map_or_else(|| call.value(1), |text| Ok(Value::Str(text)))
}

/// The fact, or the second argument where it is missing, or null.
fn fact<'a>(call: &Call<'a>, fact: Option<&'a Json>) -> Evaluated<'a> {
    fact.map_or_else(|| call.value(1), |value| Ok(Value::from_json(value)))
}

fn headers<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let value = with_header(call, |name| call.facts.header(name))?;
    or_default(call, value)
}

fn with_header<'a>(
    call: &Call<'a>,
    read: impl FnOnce(&HeaderName) -> Option<Cow<'a, str>>,
) -> Result<Option<Cow<'a, str>>, EvaluationError> {
    if let Some(Node::Header(name)) = call.arguments.first() {
        return Ok(read(name));
    }
    let name = call.text(0)?;
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| call.error("this cannot be the name of a header"))?;
    Ok(read(&name))
}

/// The whole object, or the member that the first argument names.
fn member<'a>(call: &Call<'a>, object: Option<&'a Json>) -> Evaluated<'a> {
    let Some(name) = call.optional_text(0)? else { return Ok(object.map_or(Value::Null, Value::from_json)) };
    object
        .and_then(|object| object.get(name.as_ref()))
        .map_or_else(|| call.value(1), |value| Ok(Value::from_json(value)))
}
