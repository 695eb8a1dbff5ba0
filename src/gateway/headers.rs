//! Headers that an API's messages carry beside those of policies, and headers that they do not: as behind a connector.

use http::header::{
    CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use smallvec::SmallVec;

use crate::config::source::FileId;
use crate::config::spec::ApiHeadersSpec;
use crate::config::{At, Diagnostic, Diagnostics};
use crate::policy::is_framing;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-id");
/// Azure Resource Manager's.
const CORRELATION_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");

/// What the connector runtime adds to answers.
const RUNTIME: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store, no-cache"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
    (HeaderName::from_static("timing-allow-origin"), "*"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("x-ms-apihub-cached-response"), "true"),
];

/// What an API does to the headers of its messages.
#[derive(Debug, Default)]
pub struct ApiHeaders {
    correlation: bool,
    from_requests: Names,
    from_answers: Names,
    runtime: bool,
}

/// The ids of a call, where its API wants them.
#[derive(Debug, Clone)]
pub struct Correlation {
    /// `x-ms-client-request-id`, which is also what error bodies say.
    pub client_request_id: HeaderValue,
    correlation_id: HeaderValue,
    correlation_request_id: Option<HeaderValue>,
}

impl ApiHeaders {
    /// Compiles the table; none where nothing is to be done.
    pub fn compile(spec: Option<&ApiHeadersSpec>, file: FileId, diagnostics: &mut Diagnostics) -> Option<Box<Self>> {
        let spec = spec?;
        let rules = Self {
            correlation: spec.correlation,
            from_requests: Names::compile(&spec.remove_from_requests, file, diagnostics),
            from_answers: Names::compile(&spec.remove_from_answers, file, diagnostics),
            runtime: spec.runtime,
        };
        let does_something =
            rules.correlation || rules.runtime || !rules.from_requests.is_empty() || !rules.from_answers.is_empty();
        does_something.then(|| Box::new(rules))
    }

    /// The ids of a caller's request, where they are wanted.
    pub fn correlation(&self, headers: &HeaderMap, request_id: &HeaderValue) -> Option<Box<Correlation>> {
        self.correlation.then(|| Box::new(Correlation::of(headers, request_id)))
    }

    /// Makes a caller's request what policies and the backend are given.
    pub fn request(&self, headers: &mut HeaderMap, correlation: Option<&Correlation>) {
        self.from_requests.remove(headers);
        if let Some(correlation) = correlation.filter(|_| self.correlation) {
            headers.insert(CLIENT_REQUEST_ID, correlation.client_request_id.clone());
            headers.insert(CORRELATION_ID, correlation.correlation_id.clone());
        }
    }

    /// Takes out of a backend's answer what is not to be seen.
    pub fn backend_answer(&self, headers: &mut HeaderMap) {
        self.from_answers.remove(headers);
    }

    /// Adds what the caller gets.
    pub fn answer(&self, headers: &mut HeaderMap, request_id: &HeaderValue, correlation: Option<&Correlation>) {
        if let Some(correlation) = correlation.filter(|_| self.correlation) {
            headers.insert(REQUEST_ID, request_id.clone());
            headers.insert(CLIENT_REQUEST_ID, correlation.client_request_id.clone());
            headers.insert(CORRELATION_ID, correlation.correlation_id.clone());
            if let Some(id) = &correlation.correlation_request_id {
                headers.insert(CORRELATION_REQUEST_ID, id.clone());
            }
        }
        if self.runtime {
            for (name, value) in RUNTIME {
                headers.entry(name).or_insert(HeaderValue::from_static(value));
            }
        }
    }
}

impl Correlation {
    /// The ids of a request.
    fn of(headers: &HeaderMap, request_id: &HeaderValue) -> Self {
        let [client, correlation, resource] =
            [CLIENT_REQUEST_ID, CORRELATION_ID, CORRELATION_REQUEST_ID].map(|name| id(headers, &name));
        let any = client.as_ref().or(correlation.as_ref()).or(resource.as_ref()).unwrap_or(request_id).clone();
        Self {
            client_request_id: client.unwrap_or_else(|| any.clone()),
            correlation_id: correlation.unwrap_or(any),
            correlation_request_id: resource,
        }
    }

    /// What errors say of a request, where that is all that is wanted; none where it has none.
    pub fn said(headers: &HeaderMap) -> Option<Box<Self>> {
        let client = id(headers, &CLIENT_REQUEST_ID)?;
        Some(Box::new(Self { correlation_id: client.clone(), client_request_id: client, correlation_request_id: None }))
    }
}

/// An id, when it is fit to be repeated.
fn id(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let id = headers.get(name)?;
    ((1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)).then(|| id.clone())
}

/// Names of headers, and beginnings of names.
#[derive(Debug, Default)]
struct Names {
    exact: Box<[HeaderName]>,
    beginnings: Box<[Box<str>]>,
}

impl Names {
    fn compile(written: &[At<String>], file: FileId, diagnostics: &mut Diagnostics) -> Self {
        let (mut exact, mut beginnings) = (Vec::new(), Vec::new());
        for text in written {
            let (name, is_beginning) = text.strip_suffix('*').map_or((text.as_str(), false), |name| (name, true));
            let problem = match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) if is_beginning && name.is_empty() => "`*` would take out every header".to_owned(),
                Ok(_) if name.contains('*') => "`*` stands at the end, or nowhere".to_owned(),
                Err(_) => format!("`{}` cannot be the name of a header", text.value),
                Ok(header) if !is_beginning && is_framing(&header) => {
                    format!("`{header}` belongs to the connection and cannot be taken out")
                }
                Ok(header) if is_beginning => {
                    beginnings.push(header.as_str().into());
                    continue;
                }
                Ok(header) => {
                    exact.push(header);
                    continue;
                }
            };
            let hint = "a name such as `x-powered-by`, or a beginning such as `x-ms-workflow-*`";
            diagnostics.push(Diagnostic::error("bad-value", file, text.span.clone(), problem).hint(hint));
        }
        Self { exact: exact.into(), beginnings: beginnings.into() }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.beginnings.is_empty()
    }

    fn remove(&self, headers: &mut HeaderMap) {
        for name in &self.exact {
            headers.remove(name);
        }
        if self.beginnings.is_empty() {
            return;
        }
        let meant = |name: &&HeaderName| {
            self.beginnings.iter().any(|beginning| name.as_str().starts_with(&**beginning)) && !is_framing(name)
        };
        let doomed: SmallVec<[HeaderName; 8]> = headers.keys().filter(meant).cloned().collect();
        for name in doomed {
            headers.remove(name);
        }
    }
}
