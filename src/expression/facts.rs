//! What an expression can know about an exchange.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::HeaderName;
use serde_json::Value as Json;

use super::EvaluationError;

/// The facts of one exchange. The pipeline implements it; expressions read everything through it.
///
/// `None` stands for something that is not there, and becomes null in an expression.
pub trait Facts {
    /// A request header; several values are joined with `,` (RFC 9110 §5.3).
    fn header(&self, name: &HeaderName) -> Option<Cow<'_, str>>;
    /// A response header; several values are joined with `,`.
    fn response_header(&self, name: &HeaderName) -> Option<Cow<'_, str>>;
    /// A query parameter of the request, decoded.
    fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>>;
    /// A parameter of the matched operation's path template, decoded.
    fn path_parameter(&self, name: &str) -> Option<Cow<'_, str>>;
    /// A parameter of the caller's connection. Names compare without case.
    fn connection_parameter(&self, name: &str) -> Option<&str>;
    /// The current message's body as JSON. Fails where it is not JSON.
    fn body(&self) -> Result<&Json, EvaluationError>;
    /// The current message's body as text. Fails where it is not UTF-8.
    fn body_text(&self) -> Result<Cow<'_, str>, EvaluationError>;
    /// The item a policy is working on, for policies that visit each item of a collection.
    fn item(&self) -> Option<&Json>;
    /// A variable that a policy set earlier in the exchange.
    fn variable(&self, name: &str) -> Option<&Json>;
    /// The claims of the validated token, an object.
    fn claims(&self) -> Option<&Json>;
    /// The name of the connection that the call uses.
    fn connection_name(&self) -> Option<&str>;
    /// The id of the subscription the call was made with.
    fn subscription(&self) -> Option<&str>;
    /// A fact of the subscription's metadata.
    fn subscription_fact(&self, name: &str) -> Option<&Json>;
    /// The name of the consumer.
    fn consumer(&self) -> Option<&str>;
    /// What the client's certificate says, an object.
    fn client_certificate(&self) -> Option<&Json>;
    /// The address of the connection.
    fn connection_ip(&self) -> IpAddr;
    /// A fact of the consumer: its `groups`, or one of its metadata.
    fn consumer_fact(&self, name: &str) -> Option<&Json>;
    /// The caller's address, after trusted proxies.
    fn client_ip(&self) -> IpAddr;
    /// How long ago the request came.
    fn elapsed(&self) -> Duration;
    /// The id of the exchange.
    fn request_id(&self) -> &str;
    /// The request method.
    fn method(&self) -> &str;
    /// The request path as received, percent-encoded.
    fn path(&self) -> &str;
    /// The request's query without `?`; empty where there is none.
    fn query_string(&self) -> &str;
    /// The host the request was made to, without port.
    fn host(&self) -> &str;
    /// The request's absolute URL.
    fn url(&self) -> Cow<'_, str>;
    /// The response's status, once there is a response.
    fn status(&self) -> Option<u16>;
    /// The name of the matched operation.
    fn operation(&self) -> &str;
    /// The name of the matched API.
    fn api(&self) -> &str;
    /// The name of the product the call was made under.
    fn product(&self) -> Option<&str>;
    /// The failure that on-error handles: an object of `source`, `reason`, `message`, `scope`, `section`, `path`, `policyId`.
    fn last_error(&self) -> Option<&Json>;
    /// The wall time.
    fn now(&self) -> SystemTime;
    /// A fresh random number.
    fn random(&self) -> u64;
}

/// Nothing is known: for calls that are evaluated while the configuration is read.
pub(super) struct NoFacts;

impl Facts for NoFacts {
    fn header(&self, _: &HeaderName) -> Option<Cow<'_, str>> {
        None
    }
    fn response_header(&self, _: &HeaderName) -> Option<Cow<'_, str>> {
        None
    }
    fn query_parameter(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn path_parameter(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn connection_parameter(&self, _: &str) -> Option<&str> {
        None
    }
    fn body(&self) -> Result<&Json, EvaluationError> {
        Err(EvaluationError::new("there is no message"))
    }
    fn body_text(&self) -> Result<Cow<'_, str>, EvaluationError> {
        Err(EvaluationError::new("there is no message"))
    }
    fn item(&self) -> Option<&Json> {
        None
    }
    fn variable(&self, _: &str) -> Option<&Json> {
        None
    }
    fn claims(&self) -> Option<&Json> {
        None
    }
    fn connection_name(&self) -> Option<&str> {
        None
    }
    fn subscription(&self) -> Option<&str> {
        None
    }
    fn subscription_fact(&self, _: &str) -> Option<&Json> {
        None
    }
    fn consumer(&self) -> Option<&str> {
        None
    }
    fn client_certificate(&self) -> Option<&Json> {
        None
    }
    fn connection_ip(&self) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
    fn consumer_fact(&self, _: &str) -> Option<&Json> {
        None
    }
    fn client_ip(&self) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn request_id(&self) -> &str {
        ""
    }
    fn method(&self) -> &str {
        ""
    }
    fn path(&self) -> &str {
        ""
    }
    fn query_string(&self) -> &str {
        ""
    }
    fn host(&self) -> &str {
        ""
    }
    fn url(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }
    fn status(&self) -> Option<u16> {
        None
    }
    fn operation(&self) -> &str {
        ""
    }
    fn api(&self) -> &str {
        ""
    }
    fn product(&self) -> Option<&str> {
        None
    }
    fn last_error(&self) -> Option<&Json> {
        None
    }
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn random(&self) -> u64 {
        0
    }
}
