//! What expressions read of an exchange.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use serde_json::Value as Json;

use super::exchange::Context;
use super::rescue;
use crate::expression::{EvaluationError, Facts};
use crate::routing::query;

/// A header's value as text; several are joined with `,` (RFC 9110 §5.3).
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = values.next()?;
    Some(values.fold(first, |mut all, value| {
        all.to_mut().push(',');
        all.to_mut().push_str(&value);
        all
    }))
}

impl Facts for Context<'_> {
    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        joined(self.request_headers()?, name)
    }

    fn response_header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        joined(self.response()?.headers(), name)
    }

    fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.uri().map_or_else(|| self.exchange.target.query(), http::Uri::query)?;
        query::get(query, name)
    }

    fn path_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.exchange.parameter(name).map(crate::routing::Value::decode)
    }

    fn connection_parameter(&self, name: &str) -> Option<&str> {
        self.connection()?.parameter(name)
    }

    fn body(&self) -> Result<&Json, EvaluationError> {
        let parse = || match self.message.body().bytes() {
            None => Err("the body is not in memory".to_owned()),
            Some(bytes) if bytes.is_empty() => Ok(Json::Null),
            Some(bytes) => {
                // Windows tools write a byte-order mark, and RFC 8259 §8.1 lets a reader ignore it.
                let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
                serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))
            }
        };
        let parsed = self.state.json.get_or_init(|| Box::new(parse()));
        parsed.as_ref().as_ref().map_err(|message| EvaluationError::new(message.clone()))
    }

    fn body_text(&self) -> Result<Cow<'_, str>, EvaluationError> {
        let bytes = self.message.body().bytes().ok_or_else(|| EvaluationError::new("the body is not in memory"))?;
        std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| EvaluationError::new("the body is not UTF-8 text"))
    }

    fn item(&self) -> Option<&Json> {
        None
    }

    fn variable(&self, name: &str) -> Option<&Json> {
        Context::variable(self, name)
    }

    fn claims(&self) -> Option<&Json> {
        self.state.token.as_ref().map(|token| &token.claims)
    }

    fn connection_name(&self) -> Option<&str> {
        self.connection().map(|connection| &*connection.name)
    }

    fn subscription(&self) -> Option<&str> {
        self.state.subscription.as_ref().map(|subscription| &*subscription.id)
    }

    fn subscription_fact(&self, name: &str) -> Option<&Json> {
        self.state.subscription.as_ref()?.metadata.as_ref()?.get(name)
    }

    fn consumer(&self) -> Option<&str> {
        self.state.consumer()
    }

    fn client_certificate(&self) -> Option<&Json> {
        self.exchange.certificate.certificate().ok()?.map(|certificate| certificate.facts())
    }

    fn connection_ip(&self) -> IpAddr {
        self.exchange.connection_ip
    }

    fn consumer_fact(&self, name: &str) -> Option<&Json> {
        let consumer = self.state.subscription.as_ref()?.consumer.as_ref()?;
        self.exchange.gateway.consumers.get(consumer)?.get(name)
    }

    fn client_ip(&self) -> IpAddr {
        self.exchange.client_ip
    }

    fn elapsed(&self) -> Duration {
        let now = self.exchange.gateway.clock.now();
        Duration::from_nanos(now.0.saturating_sub(self.exchange.started.0))
    }

    fn request_id(&self) -> &str {
        self.exchange.request_id.to_str().unwrap_or_default()
    }

    fn method(&self) -> &str {
        Context::method(self).as_str()
    }

    fn path(&self) -> &str {
        self.exchange.target.path()
    }

    fn query_string(&self) -> &str {
        self.exchange.target.query().unwrap_or_default()
    }

    fn host(&self) -> &str {
        self.exchange.authority.as_ref().map_or("", crate::server::authority::Authority::host)
    }

    fn url(&self) -> Cow<'_, str> {
        Cow::Owned(format!("{}://{}{}", self.exchange.scheme(), self.exchange.authority(), self.exchange.target))
    }

    fn status(&self) -> Option<u16> {
        self.response().map(|response| response.status().as_u16())
    }

    fn operation(&self) -> &str {
        self.exchange.operation.as_ref().map_or("", |operation| &operation.name)
    }

    fn api(&self) -> &str {
        self.exchange.operation.as_ref().map_or("", |operation| &operation.api.name)
    }

    fn product(&self) -> Option<&str> {
        self.state.product.as_ref().map(|product| &*product.name)
    }

    fn last_error(&self) -> Option<&Json> {
        rescue::last_error(self)
    }

    fn now(&self) -> SystemTime {
        self.exchange.gateway.clock.wall()
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }
}
