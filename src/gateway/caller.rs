//! Who calls: the key that came with a request, the subscription it belongs to, and the 401 when there is none.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};

use super::{Api, Gateway, Product};
use crate::body::Body;
use crate::identity::{Refusal, Subscription};
use crate::pipeline::{Exchange, Fault};
use crate::routing::query;

/// The subscription of the key that was presented, and the product that the call is made under.
pub type Caller = (Option<Arc<Subscription>>, Option<Arc<Product>>);

/// Where a caller is told to put its key.
#[derive(Clone, Copy, Debug)]
pub struct KeyPlace<'a> {
    /// The name of the header, query parameter, cookie or member of the body.
    pub name: &'a str,
    /// `header`, `query`, `cookie`, `basic` or `body`.
    pub kind: &'static str,
}

/// Who calls, by the key in the API's header or else in its query parameter, as in Azure API Management: a key that is
/// presented must be good even where none is needed.
pub fn identify(exchange: &Exchange, api: &Api, request: &Request<Body>) -> Result<Caller, Fault> {
    let decoded;
    let in_header = request.headers().get(&api.key_header).map(HeaderValue::as_bytes);
    let presented = match in_header.filter(|key| !key.is_empty()) {
        Some(key) => Some(key),
        None => {
            decoded = exchange.target.query().and_then(|text| query::get(text, &api.key_query));
            decoded.as_ref().map(|text| text.as_bytes())
        }
    };
    presented.into_iter().for_each(|key| exchange.hide(key));
    let refusal = match presented.filter(|key| !key.is_empty()) {
        None if api.open_product.is_some() => return Ok((None, api.open_product.clone())),
        None if !api.subscription_required => return Ok((None, None)),
        None => Refusal::KeyMissing,
        Some(key) => match granted(exchange, api, key) {
            Ok(subscription) => {
                let product = product_of(&exchange.gateway, subscription);
                return Ok((Some(subscription.clone()), product));
            }
            Err(refusal) => refusal,
        },
    };
    Err(key_refused(exchange, api, KeyPlace { name: api.key_header.as_str(), kind: "header" }, &refusal))
}

/// The subscription of a key, when it may call the API now.
pub fn granted<'a>(exchange: &'a Exchange, api: &Api, key: &[u8]) -> Result<&'a Arc<Subscription>, Refusal> {
    let key = exchange.gateway.keys.lookup(key).ok_or(Refusal::KeyUnknown)?;
    key.authorize(&api.name, &api.products, exchange.time)?;
    Ok(&key.subscription)
}

/// The product that a subscription grants.
pub fn product_of(gateway: &Gateway, subscription: &Subscription) -> Option<Arc<Product>> {
    let name = subscription.product()?;
    gateway.products.iter().find(|product| product.name == *name).cloned()
}

/// Azure API Management's 401, with its challenge and its reason phrase.
#[cold]
pub fn key_refused(exchange: &Exchange, api: &Api, place: KeyPlace<'_>, refusal: &Refusal) -> Fault {
    exchange.gateway.metrics.auth_failure(refusal.reason());
    let (realm, KeyPlace { name, kind }) = (realm(exchange, api), place);
    let name = if kind == "header" { title_case(name) } else { name };
    let challenge = format!(r#"AzureApiManagementKey realm="{realm}",name="{name}",type="{kind}""#);
    let mut fault = Fault::client(StatusCode::UNAUTHORIZED, refusal.reason(), refusal.message())
        .public(refusal.public_message())
        .phrase("Access Denied")
        .cause(refusal.to_string());
    fault.source = "authorization";
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => fault.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => fault,
    }
}

/// What a challenge protects: the API's base URL, as the caller knows it.
pub fn realm(exchange: &Exchange, api: &Api) -> String {
    format!("{}{}", exchange.public_origin(), api.path)
}

/// `ocp-apim-subscription-key` as people write it. Names compare without case; the challenge is read by people.
fn title_case(name: &str) -> &str {
    if name == "ocp-apim-subscription-key" { "Ocp-Apim-Subscription-Key" } else { name }
}
