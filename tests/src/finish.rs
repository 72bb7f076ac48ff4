//! What a test's gateway owes at its end, and what must not be found in its logs.

/// A test that forgets to finish its gateway would check nothing.
pub(crate) struct MustFinish(pub(crate) bool);

impl Drop for MustFinish {
    fn drop(&mut self) {
        assert!(self.0 || std::thread::panicking(), "this test never called TestGate::finish");
    }
}

/// `postgres://user:password@...`
fn password_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (credentials, _) = rest.split_once('@')?;
    credentials.split_once(':').map(|(_, password)| password.to_owned())
}

/// What must be in no log, by name.
pub(crate) fn secrets_of([master, key, auth, caller]: [&String; 4], database_url: &str) -> Vec<(&'static str, String)> {
    let own = [("the master key", master), ("the provider's key", key), ("AUTH_SECRET", auth), ("the callers' secret", caller)];
    let password = password_of(database_url).map(|password| ("the database's password", password));
    own.into_iter().map(|(name, secret)| (name, secret.clone())).chain(password).collect()
}
