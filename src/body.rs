//! The body of a message: nothing, bytes in memory, or a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than the gateway or a step accepts.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit: u64,
    },
    /// No byte came for too long.
    #[error("the body stalled")]
    Stalled,
    /// The connection or the framing broke.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The body of a request or a response.
#[derive(Debug, Default)]
pub enum Body {
    /// No body at all.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// As it comes from a connection.
    Incoming(Incoming),
}

impl Body {
    /// The bytes, when they are all in memory.
    pub fn bytes(&self) -> Option<&Bytes> {
        static NONE: Bytes = Bytes::new();
        match self {
            Self::Empty => Some(&NONE),
            Self::Full(bytes) => Some(bytes),
            Self::Incoming(_) => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Incoming(incoming) => {
                Pin::new(incoming).poll_frame(cx).map_err(|error| BodyError::Broken(error.into()))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Incoming(incoming) => incoming.size_hint(),
        }
    }
}
