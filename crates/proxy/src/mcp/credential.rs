//! What the gateway shows a tool server: its own secret, or one that the operator keeps for each user. A secret of an agent's or a
//! caller's never comes here.

use super::failure::UpstreamError;
use super::upstream::UserRef;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const SECRET_BYTES_MAX: u64 = 8 * 1024;
/// Who a starting agent asks for, which belongs to nobody.
const NOBODY: &str = "nobody";

/// Where the secret comes from.
pub enum Secret {
    /// One for everybody's requests.
    One(SecretString),
    /// A private file for each user in this folder, named by their id.
    OfUser(PathBuf),
}

/// The secret and where it stands in a request.
pub struct Credential {
    header: HeaderName,
    before: String,
    after: String,
    secret: Secret,
}

impl Credential {
    /// `template` has `{secret}` where the secret stands.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] for what is no header or no template; a checked manifest has neither.
    pub fn new(header: &str, template: &str, secret: Secret) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError::Unreachable("the credential's header or template is none".to_owned());
        let (before, after) = template.split_once("{secret}").ok_or_else(wrong)?;
        let header = HeaderName::try_from(header).map_err(|_| wrong())?;
        Ok(Self { header, before: before.to_owned(), after: after.to_owned(), secret })
    }

    /// As servers are shown one unless the manifest says otherwise.
    pub(super) fn bearer(secret: SecretString) -> Self {
        let (before, after) = ("Bearer ".to_owned(), String::new());
        Self { header: http::header::AUTHORIZATION, before, after, secret: Secret::One(secret) }
    }

    /// The header of one request.
    pub(super) async fn header(&self, user: &UserRef) -> Result<(HeaderName, HeaderValue), UpstreamError> {
        let own;
        let secret = match &self.secret {
            Secret::One(secret) => secret,
            Secret::OfUser(folder) => {
                own = of_user(folder, &user.id).await?;
                &own
            }
        };
        let text = format!("{}{}{}", self.before, secret.expose_secret(), self.after);
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| UpstreamError::Unreachable("the credential holds what no header may".to_owned()))?;
        value.set_sensitive(true);
        Ok((self.header.clone(), value))
    }
}

/// The secret that an operator keeps for a user.
///
/// # Errors
/// [`UpstreamError::Unreachable`] when there is none, or others could read it.
pub async fn of_user(folder: &Path, user: &str) -> Result<SecretString, UpstreamError> {
    let none = |reason: &str| UpstreamError::Unreachable(format!("the secret of user {user}: {reason}"));
    // Ids have one spelling, in which nothing leads elsewhere.
    let is_id = user.len() == 36 && user.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
    if !is_id && user != NOBODY {
        return Err(none("not the id of a user"));
    }
    let path = folder.join(user);
    let read = tokio::task::spawn_blocking(move || read(&path)).await.map_err(|error| none(&error.to_string()))?;
    read.map_err(|reason| none(&reason))
}

fn read(path: &Path) -> Result<SecretString, String> {
    let named = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let meta = file.metadata().map_err(|error| error.to_string())?;
    if (named.dev(), named.ino()) != (meta.dev(), meta.ino()) {
        return Err("its file is a link; it must be a plain file".to_owned());
    }
    let own = nix::unistd::geteuid().as_raw();
    if !meta.is_file() || meta.uid() != own && meta.uid() != 0 || meta.mode() & 0o077 != 0 {
        return Err("its file can be read by others; it must be a plain file of this user's, mode 600".to_owned());
    }
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() { Err("its file is empty".to_owned()) } else { Ok(SecretString::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const ADA: &str = "018bcfe5-6800-7000-8000-000000000001";

    async fn shown(credential: &Credential, user: &str) -> Result<(String, String), String> {
        let header = credential.header(&UserRef::new(user.to_owned())).await;
        header
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .map_err(|error| error.to_string())
    }

    fn keep(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).expect("a file");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[tokio::test]
    async fn each_user_s_request_shows_that_user_s_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        keep(&folder.path().join(ADA), "hers\n", 0o600);
        let of_users = Secret::OfUser(folder.path().to_owned());
        let credential = Credential::new("x-api-key", "key={secret};", of_users).expect("good");
        assert_eq!(shown(&credential, ADA).await, Ok(("x-api-key".to_owned(), "key=hers;".to_owned())));
        let other = ADA.replace('1', "2");
        assert!(shown(&credential, &other).await.is_err(), "who has none is shown nobody else's");
        keep(&folder.path().join(NOBODY), "of nobody", 0o600);
        assert!(shown(&credential, NOBODY).await.is_ok());
        for bad in ["", ".", "..", "../secret", "a/b", &ADA.to_uppercase(), "018bcfe5-6800-7000-8000-00000000000/"] {
            let told = shown(&credential, bad).await.expect_err(bad);
            assert!(told.contains("not the id"), "{told}");
        }
        keep(&folder.path().join(&other), "open", 0o644);
        assert!(shown(&credential, &other).await.expect_err("open").contains("read by others"));
        std::fs::remove_file(folder.path().join(&other)).expect("gone");
        std::os::unix::fs::symlink(folder.path().join(ADA), folder.path().join(&other)).expect("a link");
        assert!(shown(&credential, &other).await.is_err(), "no link is followed");
    }

    #[tokio::test]
    async fn one_secret_stands_where_the_template_says() {
        let one = |text: &str| Secret::One(SecretString::from(text));
        assert_eq!(
            shown(&Credential::bearer(SecretString::from("s")), "x").await,
            Ok(("authorization".to_owned(), "Bearer s".to_owned()))
        );
        let plain = Credential::new("x-key", "{secret}", one("s")).expect("good");
        assert_eq!(shown(&plain, "x").await, Ok(("x-key".to_owned(), "s".to_owned())));
        let broken = Credential::new("x-key", "{secret}", one("a\nb")).expect("good");
        assert!(shown(&broken, "x").await.is_err());
        assert!(Credential::new("x key", "{secret}", one("s")).is_err() && Credential::new("x", "s", one("s")).is_err());
    }
}
