//! What a test's gateway owes at its end, and what must not be found in its logs.

/// A test that forgets to finish its gateway would check nothing.
pub(crate) struct MustFinish(pub(crate) bool);

impl Drop for MustFinish {
    fn drop(&mut self) {
        assert!(self.0 || std::thread::panicking(), "this test never called TestGate::finish");
    }
}

/// `postgres://user:password@...`
pub(crate) fn password_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (credentials, _) = rest.split_once('@')?;
    credentials.split_once(':').map(|(_, password)| password.to_owned())
}
