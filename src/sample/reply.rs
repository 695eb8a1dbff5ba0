//! Answers of the sample backend: JSON, or a run of bytes.

use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde_json::{Value, json};

/// The longest body that is read into memory, in MiB.
const MAX_BODY: usize = 1;

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Content,
}

impl Reply {
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Self { status, headers, body: Content::Full(Bytes::from(value.to_string())) }
    }

    pub(super) fn text(status: StatusCode, kind: HeaderValue, text: String) -> Self {
        Self { status, headers: vec![(header::CONTENT_TYPE, kind)], body: Content::Full(Bytes::from(text)) }
    }

    pub(super) fn ok(value: &Value) -> Self {
        Self::json(StatusCode::OK, value)
    }

    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Content::Full(Bytes::new()) }
    }

    pub(super) fn run_of_bytes(count: u64) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))];
        Self { status: StatusCode::OK, headers, body: Content::Run { left: count } }
    }

    /// The shape of error that Microsoft's REST guidelines ask for: a code for programs, a message for people.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        Self::json(status, &json!({ "error": { "code": code, "message": message } }))
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::error(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn not_allowed(allowed: &'static str) -> Self {
        Self::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the method is not allowed here")
            .header(header::ALLOW, HeaderValue::from_static(allowed))
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn into_response(self) -> Response<Content> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

/// A body.
#[derive(Debug)]
pub(super) enum Content {
    /// All in memory.
    Full(Bytes),
    /// So many bytes that are made as the client takes them.
    Run { left: u64 },
}

/// One piece of a run. Every piece but the last is whole, so byte `n` of an answer is always the same.
static PIECE: [u8; 64 * 1024] = {
    let mut piece = [b'\n'; 64 * 1024];
    let mut at = 0;
    while at < piece.len() {
        if at % 64 != 63 {
            // Less than 64 fits a byte.
            piece[at] = b'0' + (at % 64) as u8;
        }
        at += 1;
    }
    piece
};

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Full(bytes) => std::mem::take(bytes),
            Self::Run { left } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE.len());
                *left -= length as u64;
                Bytes::from_static(&PIECE[..length])
            }
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.len() as u64,
            Self::Run { left } => *left,
        })
    }
}

/// The next piece of a request's body, or none at its end. Trailers are passed over.
pub(super) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Reply> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Reply::bad_request("the body broke off")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The whole of a request's body, of at most so many MiB. One that is longer is read to its end all the same: who is still sending would
/// see the connection break, and not the answer.
pub(super) async fn read(mut body: Incoming, most: usize) -> Result<Vec<u8>, Reply> {
    let (mut bytes, mut is_longer) = (Vec::new(), false);
    while let Some(piece) = next_piece(&mut body).await? {
        is_longer |= bytes.len() + piece.len() > most << 20;
        match is_longer {
            true => bytes = Vec::new(),
            false => bytes.extend_from_slice(&piece),
        }
    }
    if is_longer {
        let message = format!("the body is longer than {most} MiB");
        return Err(Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge", &message));
    }
    Ok(bytes)
}

/// A request's body as a JSON object.
pub(super) async fn read_object(body: Incoming) -> Result<serde_json::Map<String, Value>, Reply> {
    match serde_json::from_slice(&read(body, MAX_BODY).await?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Reply::bad_request("the body is not a JSON object")),
        Err(error) => Err(Reply::bad_request(&format!("the body is not JSON: {error}"))),
    }
}

/// A query parameter as a number; `default` when it is absent.
pub(super) fn number(query: Option<&str>, name: &str, default: u64) -> Result<u64, Reply> {
    let value = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match value {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Reply::bad_request(&format!("`{name}` is not a number"))),
    }
}

/// One page of a list, with a link to the next one while there is one. The link names the host that was asked, as real
/// services do; behind a gateway that is not the client's way, which is what the update-next-link policy is for.
pub(super) fn page(
    head: &http::request::Parts,
    count: usize,
    values: impl FnOnce(Range<usize>) -> Vec<Value>,
) -> Result<Reply, Reply> {
    let query = head.uri.query();
    let (page, size) = (number(query, "page", 1)?, number(query, "pageSize", 20)?);
    if page == 0 || !(1..=100).contains(&size) {
        return Err(Reply::bad_request("`page` starts at 1, and `pageSize` is 1 to 100"));
    }
    let from = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX).min(count);
    let to = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(from).min(count);
    let mut list = json!({ "value": values(from..to), "count": count });
    if to < count {
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let link = format!("http://{host}{}?page={}&pageSize={size}", head.uri.path(), page + 1);
        list["nextLink"] = Value::String(link);
    }
    Ok(Reply::ok(&list))
}
