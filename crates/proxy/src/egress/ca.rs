//! A certificate authority of one sandbox. Its key lives in this process and nowhere else; its certificate is what the sandbox
//! is told to trust, and nobody else does.

use policy::Destination;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

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

/// One sandbox's authority, with the one leaf it ever signs: the provider's name.
pub struct SandboxCa {
    certificate_pem: String,
    server: Arc<ServerConfig>,
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
        let leaf_key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![Destination::PROVIDER_NAME.to_owned()])?;
        leaf.distinguished_name.push(DnType::CommonName, Destination::PROVIDER_NAME);
        let leaf = leaf.signed_by(&leaf_key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificate_pem, server: Arc::new(server) })
    }

    /// What the sandbox is told to trust, as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}
