//! What a test turns: new keys, any token at all, and trouble.

use std::sync::Arc;

use hyper::body::Incoming;
use serde_json::json;

use super::mint::MintRequest;
use super::reply::{self, Reply};
use super::route::Form;
use super::{Issuer, random_id};
use crate::config::Period;

impl Issuer {
    /// `POST /-/rotate`.
    pub(super) async fn rotate_now(self: &Arc<Self>, form: &Form) -> Reply {
        let overlap = match form.get("overlap").map(Period::parse).transpose() {
            Ok(overlap) => overlap.map(|period| period.0),
            Err(problem) => return Reply::error(400, "invalid_request", &problem),
        };
        match self.rotate(overlap).await {
            Ok(keys) => {
                let published: Vec<String> = self.keys.published().iter().map(|key| key.id().to_owned()).collect();
                Reply::ok(&json!({ "keys": keys, "published": published }))
            }
            Err(error) => Reply::error(500, "server_error", &error),
        }
    }

    /// `POST /-/mint`.
    pub(super) async fn mint_now(&self, body: Incoming) -> Reply {
        let body = match reply::read(body).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let mut request: MintRequest = match serde_json::from_slice(&body) {
            Ok(request) => request,
            Err(error) => return Reply::error(400, "invalid_request", &error.to_string()),
        };
        if request.tenant.is_none() {
            request.tenant = Some(self.options.tenant.clone());
        }
        let algorithm = match request.algorithm.as_deref().map(str::parse).transpose() {
            Ok(algorithm) => algorithm,
            Err(error) => {
                let error: crate::identity::algorithm::UnknownAlgorithm = error;
                return Reply::error(400, "invalid_request", &error.to_string());
            }
        };
        let grant = request.grant(&self.base);
        let claims = request.claims(&grant, self.clock.wall(), &random_id());
        match self.sign(algorithm, &grant, &request.header, &claims) {
            Ok(token) => {
                tracing::info!(client = grant.client, user = grant.user, "minted a token");
                Reply::tokens(&json!({ "access_token": token, "claims": claims }))
            }
            Err(error) => Reply::error(400, "invalid_request", &error),
        }
    }

    /// `POST /-/faults`.
    pub(super) async fn add_fault(&self, body: Incoming) -> Reply {
        let body = match reply::read(body).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        match serde_json::from_slice(&body) {
            Ok(fault) => match self.faults.add(fault) {
                Ok(()) => Reply::ok(&json!({ "faults": self.faults.len() })),
                Err(problem) => Reply::error(400, "invalid_request", problem),
            },
            Err(error) => Reply::error(400, "invalid_request", &error.to_string()),
        }
    }

    /// `DELETE /-/faults`.
    pub(super) fn clear_faults(&self) -> Reply {
        self.faults.clear();
        Reply::ok(&json!({ "faults": 0 }))
    }
}
