//! Which database.

use super::Environment;
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// The database that `DATABASE_URL` names, or the file in the state folder.
pub fn database_url(environment: &Environment, state_dir: &Path) -> SecretString {
    let own = || SecretString::from(format!("sqlite:{}", state_dir.join("hexward.db").display()));
    environment.secret("DATABASE_URL").unwrap_or_else(own)
}

pub(super) fn is_sqlite(url: &SecretString) -> bool {
    url.expose_secret().starts_with("sqlite:")
}

pub(super) fn is_database(url: &SecretString) -> bool {
    ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
}
