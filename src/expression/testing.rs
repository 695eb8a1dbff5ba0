//! Facts for tests and benches: an exchange made of maps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use serde_json::{Value as Json, json};

use super::{EvaluationError, Facts};

/// An exchange whose facts are set by hand.
#[derive(Debug)]
pub struct MapFacts {
    /// The request headers.
    pub headers: HeaderMap,
    /// The response headers.
    pub response_headers: HeaderMap,
    /// The query parameters, decoded.
    pub query: HashMap<String, String>,
    /// The path parameters, decoded.
    pub path_parameters: HashMap<String, String>,
    /// The connection parameters.
    pub connection: HashMap<String, String>,
    /// The body of the current message.
    pub body: Option<Json>,
    /// The current item.
    pub item: Option<Json>,
    /// The variables.
    pub variables: HashMap<String, Json>,
    /// The claims.
    pub claims: Option<Json>,
    /// What the client's certificate says.
    pub certificate: Option<Json>,
    /// The failure.
    pub last_error: Option<Json>,
    /// The status of the response.
    pub status: Option<u16>,
    /// The random number, always the same.
    pub random: u64,
}

impl MapFacts {
    /// Nothing known but what is always at hand.
    pub fn empty() -> Self {
        Self {
            headers: HeaderMap::new(),
            response_headers: HeaderMap::new(),
            query: HashMap::new(),
            path_parameters: HashMap::new(),
            connection: HashMap::new(),
            body: None,
            item: None,
            variables: HashMap::new(),
            claims: None,
            certificate: None,
            last_error: None,
            status: None,
            random: 7,
        }
    }

    /// The exchange that the examples of the reference speak of.
    pub fn sample() -> Self {
        let mut facts = Self::empty();
        let header = |name| (HeaderName::from_static(name), http::HeaderValue::from_static("contoso"));
        facts.headers.extend([header("x-tenant")]);
        facts.response_headers.insert("retry-after", http::HeaderValue::from_static("12"));
        facts.query.insert("page".into(), "2".into());
        facts.path_parameters.insert("id".into(), "42".into());
        facts.connection.insert("region".into(), "eu".into());
        facts.body = Some(json!({ "customer": "Contoso" }));
        facts.item = Some(json!({ "id": 7 }));
        facts.variables.insert("attempt".into(), json!(3));
        facts.certificate = Some(json!({ "commonName": "erp" }));
        facts.claims = Some(json!({ "sub": "ada", "roles": ["reader", "writer"] }));
        facts.last_error = Some(json!({ "source": "rate-limit", "reason": "RateLimitExceeded" }));
        facts.status = Some(429);
        facts
    }
}

fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?;
    Some(values.fold(Cow::Borrowed(first), |all, value| Cow::Owned(format!("{all},{value}"))))
}

fn borrowed<'a>(map: &'a HashMap<String, String>, name: &str) -> Option<Cow<'a, str>> {
    map.get(name).map(|value| Cow::Borrowed(value.as_str()))
}

impl Facts for MapFacts {
    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        joined(&self.headers, name)
    }
    fn response_header(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        joined(&self.response_headers, name)
    }
    fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        borrowed(&self.query, name)
    }
    fn path_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        borrowed(&self.path_parameters, name)
    }
    fn connection_parameter(&self, name: &str) -> Option<&str> {
        self.connection.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
    fn body(&self) -> Result<&Json, EvaluationError> {
        self.body.as_ref().ok_or(EvaluationError::new("the body is not JSON"))
    }
    fn body_text(&self) -> Result<Cow<'_, str>, EvaluationError> {
        self.body().map(|body| Cow::Owned(body.to_string()))
    }
    fn item(&self) -> Option<&Json> {
        self.item.as_ref()
    }
    fn variable(&self, name: &str) -> Option<&Json> {
        self.variables.get(name)
    }
    fn claims(&self) -> Option<&Json> {
        self.claims.as_ref()
    }
    fn connection_name(&self) -> Option<&str> {
        Some("contoso")
    }
    fn subscription(&self) -> Option<&str> {
        Some("sub-1")
    }
    fn subscription_fact(&self, _: &str) -> Option<&Json> {
        None
    }
    fn consumer(&self) -> Option<&str> {
        Some("ada")
    }
    fn client_certificate(&self) -> Option<&Json> {
        self.certificate.as_ref()
    }
    fn connection_ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1))
    }
    fn consumer_fact(&self, _: &str) -> Option<&Json> {
        None
    }
    fn client_ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(125)
    }
    fn request_id(&self) -> &str {
        "3f2a"
    }
    fn method(&self) -> &str {
        "GET"
    }
    fn path(&self) -> &str {
        "/orders/42"
    }
    fn query_string(&self) -> &str {
        "page=2"
    }
    fn host(&self) -> &str {
        "api.contoso.com"
    }
    fn url(&self) -> Cow<'_, str> {
        Cow::Borrowed("http://api.contoso.com/orders/42?page=2")
    }
    fn status(&self) -> Option<u16> {
        self.status
    }
    fn operation(&self) -> &str {
        "GetOrder"
    }
    fn api(&self) -> &str {
        "orders"
    }
    fn product(&self) -> Option<&str> {
        Some("starter")
    }
    fn last_error(&self) -> Option<&Json> {
        self.last_error.as_ref()
    }
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_767_225_600)
    }
    fn random(&self) -> u64 {
        self.random
    }
}
