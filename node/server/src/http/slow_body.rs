//! Bodies that must arrive in time, so that a caller who sends a byte now and then holds nothing up.
//!
//! Only waiting for the caller counts. A body that is read as it arrives, as bulk writes do, gets the whole time
//! again with every piece; any other must arrive whole within it.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Sleep, sleep};

use crate::http::error::ApiError;

/// The caller sent too little for too long.
#[derive(Debug, Error)]
#[error("the body did not arrive in time")]
struct TooSlow;

/// A body with a limit on how long its sender may take.
#[derive(Debug)]
struct TimedBody {
    inner: Body,
    limit: Duration,
    restarts: bool,
    /// Set only while there is something to wait for, which for most requests is never.
    waited: Option<Pin<Box<Sleep>>>,
}

/// Puts a limit on how long a body may take; with each piece it begins anew if `restarts`.
pub fn timed(body: Body, limit: Duration, restarts: bool) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(TimedBody { inner: body, limit, restarts, waited: None })
}

/// The error of a body that broke off: 408 when it was too slow, else 400.
pub fn broken_off(error: &(dyn Error + 'static)) -> ApiError {
    let mut cause = Some(error);
    while let Some(error) = cause.filter(|error| !error.is::<TooSlow>()) {
        cause = error.source();
    }
    if cause.is_some() {
        return ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "The body did not arrive within Limits:BodyReadTimeoutSeconds of this node. Send it faster or in parts.",
        );
    }
    ApiError::bad_request("incomplete-body", "The body broke off before its end. Send the request again.")
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            if this.restarts {
                this.waited = None;
            }
            return Poll::Ready(frame);
        }
        let limit = this.limit;
        let waited = this.waited.get_or_insert_with(|| Box::pin(sleep(limit)));
        waited.as_mut().poll(context).map(|()| Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
