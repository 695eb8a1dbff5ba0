//! Asks a running issuer for a token, for the command line.

use std::time::Duration;

use serde_json::Value;

use super::mint::MintRequest;

/// How long an issuer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Has the issuer at `url` make a token: its answer.
///
/// # Errors
/// Why there is none, for the person who asked.
pub fn mint(url: &str, request: &MintRequest) -> Result<Value, String> {
    let url = format!("{}/-/mint", url.trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot start: {error}"))?;
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        let failed = |error: reqwest::Error| {
            let hint = if error.is_connect() { "; is `sluicegate issuer` running there?" } else { "" };
            format!("`{url}` does not answer: {}{hint}", error.without_url())
        };
        let response = client.post(&url).json(request).send().await.map_err(failed)?;
        let status = response.status();
        if response.headers().get(super::MARK.0).is_none() {
            return Err(format!("`{url}` is not a `sluicegate issuer` (it answered with status {status})"));
        }
        let answer: Value = response.json().await.map_err(failed)?;
        match answer.get("error_description").and_then(Value::as_str) {
            Some(why) => Err(format!("the issuer refuses: {why}")),
            None => Ok(answer),
        }
    })
}
