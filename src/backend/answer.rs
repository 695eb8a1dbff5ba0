//! A backend's body on its way to the client, and the connection that comes back to the pool behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::Endpoint;
use super::pool::{Lease, give_back};
use crate::body::{BodyError, Finish, Progress, Tally};
use crate::server::deadline::Deadline;

/// A backend's body as it comes. Trailers are dropped, as RFC 9110 §6.5.1 allows.
#[derive(Debug)]
pub struct Answer {
    incoming: Incoming,
    connection: Option<Returning>,
    deadline: Deadline,
    idle: Duration,
    /// When the whole exchange is due.
    limit: u64,
    waiting: bool,
    tally: Option<Tally>,
}

/// A connection that can be used again once the answer, and the request, have ended.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) lease: Lease,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The request's body, when it was still being sent.
    pub(crate) request: Option<Arc<Progress>>,
}

impl Returning {
    /// Puts the connection into the pool, or closes it when the request has not been sent to its end.
    pub(crate) fn give_back(self) {
        if self.request.is_none_or(|request| request.ended()) {
            give_back(&self.endpoint, self.lease);
        }
    }
}

impl Answer {
    pub(crate) fn new(
        incoming: Incoming,
        connection: Option<Returning>,
        deadline: Deadline,
        idle: Duration,
        limit: u64,
    ) -> Self {
        Self { incoming, connection, deadline, idle, limit, waiting: false, tally: None }
    }

    /// Reports the end to `finish`. Only one can be told; false when there is one already.
    pub(crate) fn observe(&mut self, finish: &Arc<dyn Finish>) -> bool {
        let free = self.tally.is_none();
        if free {
            self.tally = Some(Tally::new(finish.clone()));
        }
        free
    }

    fn ended(&mut self, complete: bool, error: Option<&BodyError>) {
        if let Some(connection) = self.connection.take()
            && complete
        {
            connection.give_back();
        }
        if let Some(tally) = &mut self.tally {
            tally.end(complete, error);
        }
    }

    fn stalled(&mut self, cx: &Context<'_>) -> bool {
        if !self.waiting {
            self.waiting = true;
            self.deadline.reset_within(self.idle, self.limit);
        }
        self.deadline.poll_expired(cx)
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.ended(false, Some(&error));
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            return if this.stalled(cx) { this.fail(BodyError::Stalled) } else { Poll::Pending };
        };
        this.waiting = false;
        match frame {
            Some(Ok(frame)) if frame.is_data() => {
                if let (Some(tally), Some(data)) = (&mut this.tally, frame.data_ref()) {
                    tally.data(data.len());
                }
                // A server does not poll again once the announced length has been passed on.
                if this.incoming.is_end_stream() {
                    this.ended(true, None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => this.fail(BodyError::Broken(error.into())),
            Some(Ok(_)) | None => {
                this.ended(true, None);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let complete = self.incoming.is_end_stream();
        self.ended(complete, None);
    }
}
