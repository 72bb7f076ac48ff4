//! What stands in an address between its slashes. What can't be read as text is the address of nothing, in the words of everything else
//! that is not there.

use crate::answer::Refusal;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The parts of an address that its route names.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let axum::extract::Path(found) =
            axum::extract::Path::from_request_parts(parts, state).await.map_err(|_| Refusal::not_found())?;
        Ok(Self(found))
    }
}
