//! The bytes of an error body in each of its forms.

use std::fmt::Write as _;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value as Json, json};

use super::ErrorFormat;
use crate::pipeline::Blame;

/// What stands in an error body.
#[derive(Clone, Copy, Debug)]
pub struct ErrorBody<'a> {
    /// The form.
    pub format: ErrorFormat,
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable code.
    pub reason: &'a str,
    /// What the caller reads.
    pub message: &'a str,
    /// Whose fault it is.
    pub blame: Blame,
    /// The id of the request.
    pub request_id: &'a str,
    /// The caller's own id for what it does, else the request's.
    pub client_request_id: &'a str,
    /// The gateway as callers know it.
    pub host: &'a str,
    /// What the backend said, as JSON text.
    pub inner: Option<&'a str>,
}

impl ErrorBody<'_> {
    /// The bytes, and their content type.
    ///
    /// Azure API Management writes `{ "statusCode": 429, "message": "…" }` with spaces inside the braces, and adds an
    /// `activityId` to a 500. The connector runtime puts failures of the backend's side into an envelope whose message is the name of the
    /// status, and leaves its throttle's answer as it is, without the spaces.
    pub fn write(&self) -> (Bytes, &'static str) {
        match self.format {
            ErrorFormat::Apim => (self.apim().into(), "application/json"),
            ErrorFormat::Connector => (self.connector().into(), "application/json"),
            ErrorFormat::Problem => (self.problem().into(), "application/problem+json"),
        }
    }

    fn apim(&self) -> String {
        let Self { status, message, inner, .. } = self;
        let mut out = String::with_capacity(64 + message.len() + inner.map_or(0, str::len));
        out.push_str("{ \"statusCode\": ");
        out.push_str(status.as_str());
        out.push_str(", \"message\": ");
        if message.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            out.push('"');
            out.push_str(message);
            out.push('"');
        } else {
            let _ = write!(out, "{}", Json::from(*message));
        }
        if let Some(inner) = inner {
            let _ = write!(out, ", \"innerError\": {inner}");
        } else if *status == StatusCode::INTERNAL_SERVER_ERROR {
            let _ = write!(out, ", \"activityId\": {}", Json::from(self.request_id));
        }
        out.push_str(" }");
        out
    }

    fn connector(&self) -> String {
        let (status, text, source) = (self.status.as_u16(), Json::from(self.message), Json::from(self.host));
        if self.inner.is_none() && is_throttle(self.status, self.reason) {
            return format!("{{\"statusCode\":{status},\"message\":{text}}}");
        }
        let message = match (self.blame, self.inner) {
            (Blame::Client, _) | (_, Some(_)) => text.to_string(),
            (Blame::Gateway | Blame::Upstream, None) => Json::from(status_name(self.status)).to_string(),
        };
        let made;
        let inner = match self.inner {
            Some(inner) => inner,
            None => {
                made = format!("{{\"status\":{status},\"message\":{text},\"source\":{source}}}");
                &made
            }
        };
        let id = Json::from(self.client_request_id);
        format!(
            "{{\"error\":{{\"code\":{status},\"source\":{source},\"clientRequestId\":{id},\"message\":{message},\"innerError\":{inner}}}}}"
        )
    }

    fn problem(&self) -> String {
        let body = json!({
            "type": "about:blank", "title": self.status.canonical_reason().unwrap_or("Error"), "status": self.status.as_u16(),
            "detail": self.message, "code": self.reason, "instance": format!("urn:request:{}", self.request_id),
        });
        let mut out = body.to_string();
        if let Some(inner) = self.inner {
            out.pop();
            let _ = write!(out, ",\"innerError\":{inner}}}");
        }
        out
    }
}

/// Whether an error is that of a limit or a quota, which the platform answers before its connector runtime is asked.
fn is_throttle(status: StatusCode, reason: &str) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || reason == "QuotaExceeded"
}

/// The name of a status in .NET's `HttpStatusCode`, which the connector runtime writes: `BadGateway`.
pub fn status_name(status: StatusCode) -> String {
    let known = match status.as_u16() {
        413 => "RequestEntityTooLarge",
        414 => "RequestUriTooLong",
        416 => "RequestedRangeNotSatisfiable",
        505 => "HttpVersionNotSupported",
        511 => "NetworkAuthenticationRequired",
        _ => {
            let reason = status.canonical_reason().unwrap_or(status.as_str());
            return reason.chars().filter(char::is_ascii_alphanumeric).collect();
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(format: ErrorFormat, status: u16, blame: Blame, message: &str, inner: Option<&str>) -> String {
        let status = StatusCode::from_u16(status).expect("a status");
        let body = ErrorBody {
            format,
            status,
            reason: "Code",
            message,
            blame,
            request_id: "0191",
            client_request_id: "c1",
            host: "h",
            inner,
        };
        String::from_utf8(body.write().0.to_vec()).expect("text")
    }

    #[test]
    fn bytes_are_those_of_api_management() {
        let body = |status: u16, message: &str| body(ErrorFormat::Apim, status, Blame::Client, message, None);
        // The lengths that public captures show in Content-Length: 152 for the missing key, 84 for a two-digit wait.
        let missing = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API.";
        assert_eq!(body(401, missing).len(), 152);
        assert_eq!(body(429, "Rate limit is exceeded. Try again in 12 seconds.").len(), 84);
        assert_eq!(body(404, "Resource not found"), r#"{ "statusCode": 404, "message": "Resource not found" }"#);
        assert_eq!(
            body(500, "Internal server error"),
            r#"{ "statusCode": 500, "message": "Internal server error", "activityId": "0191" }"#
        );
    }

    #[test]
    fn the_connector_envelope() {
        let body = |status, blame, message, inner| body(ErrorFormat::Connector, status, blame, message, inner);
        for (got, want) in [
            (
                body(502, Blame::Upstream, "Bad gateway.", None),
                r#"{"error":{"code":502,"source":"h","clientRequestId":"c1","message":"BadGateway","innerError":{"status":502,"message":"Bad gateway.","source":"h"}}}"#,
            ),
            (
                body(400, Blame::Client, "Say \"please\".", None),
                r#"{"error":{"code":400,"source":"h","clientRequestId":"c1","message":"Say \"please\".","innerError":{"status":400,"message":"Say \"please\".","source":"h"}}}"#,
            ),
            (
                body(400, Blame::Upstream, "The response is not in a JSON format.", Some("\"<html>\"")),
                r#"{"error":{"code":400,"source":"h","clientRequestId":"c1","message":"The response is not in a JSON format.","innerError":"<html>"}}"#,
            ),
            (
                body(429, Blame::Client, "Rate limit is exceeded. Try again in 2 seconds.", None),
                r#"{"statusCode":429,"message":"Rate limit is exceeded. Try again in 2 seconds."}"#,
            ),
        ] {
            assert_eq!(got, want);
            assert!(serde_json::from_str::<Json>(&got).is_ok(), "{got}");
        }
    }

    #[test]
    fn what_the_backend_said_stands_in_every_form() {
        for (format, want) in [
            (ErrorFormat::Apim, r#"{ "statusCode": 500, "message": "m", "innerError": {"n":1.0} }"#),
            (
                ErrorFormat::Problem,
                r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"m","code":"Code","instance":"urn:request:0191","innerError":{"n":1.0}}"#,
            ),
        ] {
            assert_eq!(body(format, 500, Blame::Upstream, "m", Some(r#"{"n":1.0}"#)), want);
        }
    }

    #[test]
    fn statuses_by_name() {
        for (status, want) in
            [(502, "BadGateway"), (504, "GatewayTimeout"), (413, "RequestEntityTooLarge"), (599, "599")]
        {
            assert_eq!(status_name(StatusCode::from_u16(status).expect("a status")), want);
        }
    }
}
