//! What the policies for tokens have in common: where the token is, what a refusal answers, and what becomes of a token that passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use http::header::{AUTHORIZATION, HOST};

use super::step::{ClaimHeaders, Immediate, Place, Validation, Waiting};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::identity::TokenVerifier;
use crate::pipeline::{Step, TokenDemand};
use crate::policy::set_header::is_framing;
use crate::policy::value::{StatusValue, TextValue};

/// The keys as written.
pub(in crate::policy) struct Handling<'a> {
    pub(in crate::policy) header: &'a Option<At<String>>,
    pub(in crate::policy) query_parameter: &'a Option<At<String>>,
    pub(in crate::policy) token: &'a Option<Text>,
    pub(in crate::policy) require_scheme: &'a Option<At<String>>,
    pub(in crate::policy) failed_validation_status: &'a Option<Text>,
    pub(in crate::policy) failed_validation_message: &'a Option<Text>,
    pub(in crate::policy) output_token_variable: &'a Option<At<String>>,
    pub(in crate::policy) claims_to_headers: &'a BTreeMap<String, At<String>>,
    pub(in crate::policy) forward_token: &'a Option<At<bool>>,
}

impl Handling<'_> {
    /// The step, given the check itself.
    pub(in crate::policy) fn step(
        &self,
        verifier: impl FnOnce(&mut CompileCx<'_, '_>) -> Result<TokenVerifier, CompileError>,
        cx: &mut CompileCx<'_, '_>,
    ) -> Result<Step, CompileError> {
        cx.gives_token = true;
        let place = self.place(cx);
        let place = cx.note(place);
        let verifier = verifier(cx);
        let verifier = cx.note(verifier);
        let status = match self.failed_validation_status {
            Some(status) => StatusValue::compile(status, cx),
            None => Ok(StatusValue::Literal(StatusCode::UNAUTHORIZED)),
        };
        let status = cx.note(status);
        let message = self.failed_validation_message.as_ref().map(|text| TextValue::compile(text, cx)).transpose();
        let message = cx.note(message);
        let headers = self.headers(cx);
        let headers = cx.note(headers);
        let place = place?;
        let scheme = match &place {
            Place::Header { scheme: Some(scheme), .. } => scheme.as_str(),
            _ => "Bearer",
        };
        let strip = self.forward_token.as_ref().filter(|forward| !forward.value);
        if let (Some(forward), Place::Value(_)) = (strip, &place) {
            return Err(CompileError::at(forward, "where the token of an expression came from is not known")
                .hint("take it off with `set-header` or `set-query-parameter`"));
        }
        let (verifier, status) = (Arc::new(verifier?), status?);
        cx.asks_of_token(TokenDemand::Valid {
            verifier: verifier.clone(),
            status: match status {
                StatusValue::Literal(status) => Some(status),
                _ => None,
            },
            place: place.describe().into(),
        });
        let validation = Validation {
            scheme: scheme.to_owned(),
            place,
            verifier,
            pool: cx.world.shared.verification.clone(),
            status,
            message: message?,
            output: self.output_token_variable.as_ref().map(|name| name.as_str().into()),
            headers: headers?,
            strip: strip.is_some(),
        };
        // Asynchronous only where a token may have to wait, for keys or for arithmetic.
        Ok(if validation.verifier.is_immediate() {
            Step::sync(Immediate(validation))
        } else {
            Step::asynchronous(Waiting(validation))
        })
    }

    fn place(&self, cx: &mut CompileCx<'_, '_>) -> Result<Place, CompileError> {
        match (self.header, self.query_parameter, self.token) {
            (_, None, None) => {}
            (None, Some(name), None) if self.require_scheme.is_none() => {
                cx.secret_parameter(name);
                return Ok(Place::Query(name.value.clone()));
            }
            (None, None, Some(token)) if self.require_scheme.is_none() => {
                return TextValue::compile(token, cx).map(Place::Value);
            }
            (None, Some(_), None) | (None, None, Some(_)) => {
                return Err(CompileError::whole("`require-scheme` is for tokens in a header"));
            }
            _ => {
                return Err(CompileError::whole("a token comes from one place")
                    .hint("give one of `header`, `query-parameter` and `token`"));
            }
        }
        let name = self.header.as_ref().map_or(Ok(AUTHORIZATION), |name| cx.header_name(name))?;
        let scheme = match self.require_scheme {
            Some(scheme) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte)) => {
                Some(scheme.value.clone()).filter(|scheme| !scheme.is_empty())
            }
            Some(scheme) => {
                return Err(
                    CompileError::at(scheme, "an authentication scheme is one word").hint("for example `Bearer`")
                );
            }
            None => (name == AUTHORIZATION).then(|| "Bearer".to_owned()),
        };
        Ok(Place::Header { name, scheme })
    }

    fn headers(&self, cx: &CompileCx<'_, '_>) -> Result<ClaimHeaders, CompileError> {
        let header = |(name, claim): (&String, &At<String>)| {
            let name = cx.header_name(&At { value: name.clone(), span: claim.span.clone() })?;
            if is_framing(&name) || name == HOST {
                return Err(CompileError::at(
                    claim,
                    format!("`{name}` belongs to the connection and cannot be changed"),
                )
                .hint("for example `x-user`"));
            }
            if claim.is_empty() {
                return Err(CompileError::at(claim, "the name of a claim is empty"));
            }
            Ok((name, claim.as_str().into()))
        };
        self.claims_to_headers.iter().map(header).collect()
    }
}
