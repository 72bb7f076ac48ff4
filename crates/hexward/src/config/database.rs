//! Which database, and what seals it.

use super::{Environment, Faults};
use crate::data_key::{MASTER_KEY, MASTER_KEYS_OLD, MasterKeys, OLD_ALONE};
use secrecy::{ExposeSecret, SecretString};
use std::path::Path;

/// The database that `DATABASE_URL` names, or the file in the state folder.
pub fn database_url(environment: &Environment, state_dir: &Path) -> SecretString {
    let own = || SecretString::from(format!("sqlite:{}", state_dir.join("hexward.db").display()));
    environment.secret("DATABASE_URL").unwrap_or_else(own)
}

fn is_sqlite(url: &SecretString) -> bool {
    url.expose_secret().starts_with("sqlite:")
}

fn is_database(url: &SecretString) -> bool {
    ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.expose_secret().starts_with(scheme))
}

pub(super) fn read(
    environment: &Environment,
    state_dir: &Path,
    production: bool,
    faults: &mut Faults,
) -> (SecretString, Option<MasterKeys>) {
    let database_url = database_url(environment, state_dir);
    if !is_database(&database_url) {
        faults.add("DATABASE_URL", "must start with sqlite: (a path) or postgres:// (a server)");
    }
    let master_keys = MasterKeys::given(environment);
    if let Some(Err(error)) = master_keys.as_ref().map(MasterKeys::parse) {
        faults.add(MASTER_KEY, &error.to_string());
    }
    if master_keys.is_none() && environment.secret(MASTER_KEYS_OLD).is_some() {
        faults.add(MASTER_KEYS_OLD, OLD_ALONE);
    }
    if production && master_keys.is_none() && !is_sqlite(&database_url) {
        faults.add(
            MASTER_KEY,
            "is not set; in production with PostgreSQL every gateway needs the same one. Make it with `openssl rand -hex 32`",
        );
    }
    (database_url, master_keys)
}
