//! What the gateway's own requests for keys, tokens and secrets have in common: where plain HTTP may go, how much is read.

use std::net::IpAddr;

use reqwest::Response;

/// Whether a host of a URL is this machine, which no protection is needed to reach.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Why the body of an answer was not read.
pub(crate) enum ReadError {
    /// It is longer than the limit, by its own `Content-Length` or by what came.
    TooLarge,
    /// The connection failed.
    Transport(reqwest::Error),
}

/// Reads the body of an answer, of at most `limit` bytes.
pub(crate) async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(ReadError::TooLarge);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Transport)? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with all its causes, for the log.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
