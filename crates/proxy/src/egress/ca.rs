//! A certificate authority of one sandbox. Its key lives in this process and nowhere else; its certificate is what the sandbox
//! is told to trust, and nobody else does.

use parking_lot::Mutex;
use policy::HostName;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::HashMap;
use std::sync::Arc;

/// HTTP/2 as it is named in the handshake (RFC 9113, 3.1).
pub(super) const HTTP_2: &[u8] = b"h2";

/// Why a certificate could not be made: a bug or a broken random source.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Making it.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Using it.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// One sandbox's authority. It signs for the provider's name and for hosts that a rule names, each when it is first asked for.
pub struct SandboxCa {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all leaves: they end with the sandbox, and so does it.
    leaf_key: KeyPair,
    servers: Mutex<HashMap<HostName, Arc<ServerConfig>>>,
}

impl SandboxCa {
    /// Makes a new one (under a millisecond).
    ///
    /// # Errors
    /// [`CaError`].
    pub fn generate() -> Result<Self, CaError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Hexward sandbox");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        Ok(Self { certificate_pem, issuer, leaf_key: KeyPair::generate()?, servers: Mutex::new(HashMap::new()) })
    }

    /// What the sandbox is told to trust, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// How to answer for a name. Invariant: only names that were allowed are asked for, so there are few.
    pub(super) fn server(&self, name: &HostName) -> Result<Arc<ServerConfig>, CaError> {
        let mut servers = self.servers.lock();
        if let Some(server) = servers.get(name) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(self.sign(name)?);
        servers.insert(name.clone(), Arc::clone(&server));
        Ok(server)
    }

    fn sign(&self, name: &HostName) -> Result<ServerConfig, CaError> {
        let mut leaf = CertificateParams::new(vec![name.as_str().to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, name.as_str());
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = leaf.signed_by(&self.leaf_key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        server.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
        Ok(server)
    }
}
