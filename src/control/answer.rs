//! Answers of the management API: JSON, and errors as Bifrost writes them.
//!
//! In: a value, or why there is none. Out: a response. Never: an empty error.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// Why a request of the management API is not answered.
#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = match self.status.as_u16() {
            400 | 413 | 422 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 | 405 => "not_found_error",
            503 | 504 => "overloaded_error",
            _ => "api_error",
        };
        let body = json!({
            "is_bifrost_error": true,
            "status_code": self.status.as_u16(),
            "error": {"type": kind, "message": self.message},
        });
        (self.status, json(&body)).into_response()
    }
}

/// A value as the body of an answer.
pub fn json(value: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(value) {
        Ok(body) => (headers, body).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("unwritable: {error}")).into_response()
        }
    }
}
