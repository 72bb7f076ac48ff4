//! A gateway around one door, and clients that dial through it.

use crate::egress::{Door, Hosts, SandboxCa};
use crate::mcp::upstream::{McpUpstream, UpstreamConfig};
use crate::messages::ModelUpstream;
use crate::{App, Gate, Proxy, RunContext, RunEvent, RunLimits};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use policy::{
    Clock, CredentialSlot, Denial, EgressRule, EgressRules, HostName, Manifest, Microusd, PathPattern, SandboxId, Scheme,
    Timestamp,
};
use rustls::client::EchMode;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use secrecy::SecretString;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub(super) const SECRET: &str = "sk-operator-0123456789abcdef";
const MANIFEST: &str = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools]\n";

struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000_000_000)
    }
}

/// One rule for a host on a port; everything below `/` but `/closed/`.
pub(super) fn rule(host: &str, port: u16) -> EgressRule {
    EgressRule {
        host: HostName::parse(host).expect("a name"),
        port,
        scheme: Scheme::Https,
        methods: ["GET", "POST", "HEAD"].map(str::to_owned).to_vec(),
        paths: vec![PathPattern::parse("/open/*").expect("a path")],
        credential: None,
        danger_allow_private: true,
    }
}

pub(super) fn with_credential(rule: EgressRule) -> EgressRule {
    let slot = CredentialSlot { env: "KEY".to_owned(), header: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    EgressRule { credential: Some(slot), ..rule }
}

/// A gateway with one sandbox's door, and a run that is bound to it.
pub(super) struct House {
    door: Door,
    ca: Arc<SandboxCa>,
    pub(super) run: Arc<RunContext>,
    pub(super) gate: Arc<Gate>,
    denials: Arc<Mutex<Vec<Denial>>>,
    rules: EgressRules,
    _folder: TempDir,
}

impl House {
    pub(super) async fn open(rules: Vec<EgressRule>, roots: RootCertStore) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("x.db").display());
        let store = store::Store::open(&url, &[&store::CORE]).await.expect("a database");
        let rules = EgressRules::new(rules).expect("rules");
        let secrets = HashMap::from([("KEY".to_owned(), SecretString::from(SECRET))]);
        let hosts = Hosts::with_roots(rules.clone(), &secrets, roots).expect("hosts");
        let model = ModelUpstream::new("http://127.0.0.1:9", SecretString::from("k")).expect("a provider");
        let clock: Arc<dyn Clock> = Arc::new(Standing);
        let ledger = crate::context::tests::ledger().await;
        let proxy = Arc::new(Proxy::new(store, clock, model, ledger, Microusd::dollars(1), hosts));
        let ca = Arc::new(SandboxCa::generate().expect("an authority"));
        let (run, denials) = run().await;
        let gate = Arc::new(Gate::new(SandboxId::random()));
        gate.bind(Arc::clone(&run));
        let door = Door::new(proxy, Arc::clone(&gate), Arc::clone(&ca), CancellationToken::new());
        Self { door, ca, run, gate, denials, rules, _folder: folder }
    }

    /// The address that the sandbox's name server gives for a host.
    pub(super) fn address(&self, host: &str, port: u16) -> SocketAddr {
        let host = HostName::parse(host).expect("a name");
        SocketAddr::from((self.rules.address_of(&host).expect("an allowed name"), port))
    }

    /// A connection that was meant for `dialled`.
    pub(super) async fn dial(&self, dialled: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().expect("bound")), listener.accept());
        let (door, theirs) = (self.door.clone(), theirs.expect("accepted").0);
        tokio::spawn(async move { door.serve(theirs, dialled).await });
        let ours = ours.expect("connected");
        ours.set_nodelay(true).expect("an option");
        ours
    }

    /// How a client in the sandbox trusts: this sandbox's authority and nobody else.
    pub(super) fn trust(&self, http_2: bool) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(self.roots()).with_no_client_auth();
        config.alpn_protocols = vec![if http_2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config
    }

    /// The same with a second, encrypted hello inside the one that can be read.
    pub(super) fn trust_hiding(&self, hidden: EchMode) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_ech(hidden).expect("TLS 1.3");
        builder.with_root_certificates(self.roots()).with_no_client_auth()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_slice(self.ca.certificate_pem().as_bytes()).expect("a certificate");
        roots.add(pem).expect("a root");
        roots
    }

    pub(super) async fn tls(&self, dialled: SocketAddr, name: &str, http_2: bool) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_as(self.trust(http_2), dialled, name).await
    }

    pub(super) async fn tls_as(
        &self,
        config: ClientConfig,
        dialled: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, self.dial(dialled).await).await
    }

    /// A client of HTTP/1.1 over TLS for a host, at that host's address.
    pub(super) async fn client(&self, host: &str, port: u16) -> http1::SendRequest<Full<Bytes>> {
        let stream = self.tls(self.address(host, port), host, false).await.expect("a handshake");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// The same with HTTP/2.
    pub(super) async fn client_2(&self, host: &str, port: u16) -> http2::SendRequest<Full<Bytes>> {
        let stream = self.tls(self.address(host, port), host, true).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        sender
    }

    /// Waits until a refusal of this kind was told, and says what was wanted. What was told before it is forgotten.
    pub(super) async fn refused(&self, code: &str) -> String {
        for _ in 0..300 {
            {
                let mut denials = self.denials.lock();
                let at = denials.iter().position(|denial| denial.code.as_str() == code);
                if let Some(found) = at.and_then(|at| denials.drain(..=at).next_back()) {
                    return found.wanted;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was refused as {code}: {:?}", self.denials.lock());
    }
}

/// A run, and what is refused in it.
async fn run() -> (Arc<RunContext>, Arc<Mutex<Vec<Denial>>>) {
    let config = UpstreamConfig {
        url: "http://127.0.0.1:9/mcp".parse().expect("an address"),
        credential: SecretString::from("x"),
        timeout: Duration::from_secs(1),
        result_bytes_max: 1000,
    };
    let upstream = McpUpstream::new(config).expect("an upstream");
    let app = Arc::new(App { manifest: Manifest::parse(MANIFEST).expect("a manifest"), upstream: Some(Arc::new(upstream)) });
    let limits = RunLimits {
        deadline: Timestamp(i64::MAX),
        turns_max: 2,
        output_tokens_max: 1,
        context_tokens_max: None,
        budgets: Vec::new().into(),
    };
    let (sender, mut events) = tokio::sync::mpsc::channel(8);
    let denials: Arc<Mutex<Vec<Denial>>> = Arc::default();
    let seen = Arc::clone(&denials);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let RunEvent::Denied { denial } = event {
                seen.lock().push(denial);
            }
        }
    });
    (Arc::new(RunContext::new(crate::context::tests::purse().await, app, false, limits, sender)), denials)
}

/// A request for HTTP/1.1.
pub(super) fn ask(method: &str, host: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", host);
    request.body(Full::new(Bytes::new())).expect("a request")
}

/// Sends as soon as the connection is ready for it.
pub(super) async fn send(client: &mut http1::SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Response<Incoming> {
    client.ready().await.expect("an open connection");
    client.send_request(request).await.expect("an answer")
}

/// Status, denial code, body.
pub(super) async fn read(response: Response<Incoming>) -> (u16, String, Bytes) {
    let status = response.status().as_u16();
    let denial = response.headers().get("x-hexward-denial").map_or("", |code| code.to_str().expect("text")).to_owned();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, denial, body)
}
