//! The same over TLS, through a real sandbox: the connection is made in the sandbox's own network, captured there by its kernel,
//! answered with a certificate of the sandbox's authority, and made anew to the host, over TLS again.

use super::{HOST, open, pairs, rules, serve, tcp_proxy, throughputs};
use crate::client::Client;
use crate::places::Places;
use crate::report::Report;
use crate::sandboxes::first_byte;
use crate::statistics::percentile;
use anyhow::{Context, Result, anyhow, bail};
use policy::{SandboxId, Scheme};
use proxy::egress::{Hosts, Listeners, SandboxCa, serve_sandbox};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sandbox::{AgentSpec, Driver, JailedDriver, JailedPaths, Life, Mode, Profile};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

const HTTP_1: &[u8] = b"http/1.1";

struct Setting {
    /// The host itself, and a proxy before it that reads nothing.
    direct: SocketAddr,
    tcp: SocketAddr,
    host: Arc<ClientConfig>,
    /// The host as the sandbox knows it.
    captured: SocketAddr,
    sandbox: Arc<ClientConfig>,
    network: File,
    _life: Life,
}

pub fn measure(places: &Places, report: &mut Report) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        report.skip("egress over TLS", "connecting from within a sandbox's network needs root");
        return Ok(());
    }
    let servers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let setting = servers.block_on(start(places))?;
    let clock = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (added, ratios) = clock.block_on(async {
        let (mut direct, mut door, mut tcp) =
            (setting.outside(setting.direct).await?, setting.inside().await?, setting.outside(setting.tcp).await?);
        Ok::<_, anyhow::Error>((pairs(&mut direct, &mut door).await?, throughputs(&mut door, &mut tcp).await?))
    })?;
    let note = "1 KiB answer over TLS from within a real sandbox, intercepted, minus directly over TLS: difference of each pair";
    report.add_percentile("egress.tls.added", &added, 50, note)?;
    report.add_percentile("egress.tls.added", &added, 99, "the same")?;
    let note = "256 MiB over TLS from within a real sandbox, intercepted, against TLS through a plain TCP proxy: throughput";
    report.add("egress.tls.bulk_vs_tcp_proxy", percentile(&ratios, 50).context("no rounds")?, note);
    Ok(())
}

impl Setting {
    async fn outside(&self, address: SocketAddr) -> Result<Client> {
        speak(TcpStream::connect(address).await?, &self.host, self.direct.port()).await
    }

    async fn inside(&self) -> Result<Client> {
        let connected = std::thread::scope(|scope| scope.spawn(|| self.connect_inside()).join());
        let stream = connected.map_err(|_| anyhow!("the thread that connects panicked"))??;
        stream.set_nonblocking(true)?;
        speak(TcpStream::from_std(stream)?, &self.sandbox, self.direct.port()).await
    }

    /// On a thread of its own, which ends in the sandbox's network; the socket stays there too.
    fn connect_inside(&self) -> Result<std::net::TcpStream> {
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(std::net::TcpStream::connect(self.captured)?)
    }
}

async fn speak(stream: TcpStream, config: &Arc<ClientConfig>, port: u16) -> Result<Client> {
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::clone(config)).connect(ServerName::try_from(HOST)?, stream).await?;
    Client::over(stream, format!("{HOST}:{port}")).await
}

async fn start(places: &Places) -> Result<Setting> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
    let direct = host(cert.der().clone(), PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into()).await?;
    let tcp = tcp_proxy(direct).await?;
    let (rules, captured) = rules(Scheme::Https, direct.port())?;
    let hosts = Hosts::with_roots(rules, &HashMap::new(), roots(cert.der().clone())?)?;
    let (proxy, gate) = open(&places.work.join("egress-tls.db"), hosts).await?;
    let ca = SandboxCa::generate()?;
    let sandbox_root = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes())?;
    let probe = first_byte(places)?;
    let paths = JailedPaths { agent: probe, jail: places.jail.clone(), scratch: places.work.join("scratch") };
    let sandbox = JailedDriver::new(Mode::Native, paths, Profile::agent()?)
        .start(AgentSpec {
            runtime: sandbox::AGENT.to_owned(),
            id: SandboxId::random(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            trusted_pem: ca.certificate_pem().to_owned(),
            past: Vec::new(),
            model: "none".to_owned(),
            extra_ports: vec![direct.port()],
        })
        .await?;
    let network = File::open(format!("/proc/{}/ns/net", sandbox.init_pid))?;
    let sandbox::Network::Captured(listeners) = sandbox.network else { bail!("the sandbox has no network of its own") };
    let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = listeners;
    let listeners = Listeners { http, tls, dns_udp, dns_tcp, extra, refused_ports: None };
    tokio::spawn(serve_sandbox(proxy, gate, Arc::new(ca), listeners, CancellationToken::new()));
    let (host, sandbox_client) = (client(cert.der().clone())?, client(sandbox_root)?);
    Ok(Setting { direct, tcp, host, captured, sandbox: sandbox_client, network, _life: sandbox.life })
}

/// The host, which speaks TLS.
async fn host(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Result<SocketAddr> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    super::listen(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

fn client(root: CertificateDer<'static>) -> Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(root)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(Arc::new(config))
}

fn roots(root: CertificateDer<'static>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    Ok(roots)
}
