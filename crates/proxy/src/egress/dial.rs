//! A connection to a host that a rule names: the name is resolved once, each address is judged, and a judged one is dialled.
//! Nothing that a sandbox sent takes part in that but the choice among the operator's hosts.

use super::hosts::Hosts;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use policy::{AddressFault, HostName, Scheme, vet_address};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From the name to a connection that can be used.
const WAIT: Duration = Duration::from_secs(15);
/// One address among several.
const ADDRESS_WAIT: Duration = Duration::from_secs(5);
/// Addresses of one name that are looked at, and tried.
const ADDRESSES_MAX: usize = 16;

/// Why a host could not be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It leads where nobody may go.
    #[error("every address is refused: {0}")]
    Refused(AddressFault),
    /// There is no such name, or no name server.
    #[error("the name could not be resolved: {0}")]
    Name(io::Error),
    /// Nobody answered.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// It could not prove that it is the host.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// It took too long.
    #[error("no connection in time")]
    Slow,
    /// No rule names it any more, or it is not a name.
    #[error("no rule")]
    NoRule,
}

/// Dials for one sandbox.
#[derive(Clone)]
pub(super) struct Dialer {
    hosts: Arc<Hosts>,
}

impl Dialer {
    pub(super) const fn new(hosts: Arc<Hosts>) -> Self {
        Self { hosts }
    }

    async fn dial(self, uri: Uri) -> Result<Line, DialError> {
        let scheme = if uri.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        let host = uri.host().and_then(|host| HostName::parse(host).ok()).ok_or(DialError::NoRule)?;
        let port = uri.port_u16().ok_or(DialError::NoRule)?;
        let private = self.hosts.rules.private_allowed(&host, port).ok_or(DialError::NoRule)?;
        let tls = (scheme == Scheme::Https).then(|| Arc::clone(&self.hosts.tls));
        dial(host.as_str(), port, private, tls).await
    }
}

/// Resolves a name once, judges what it leads to, and connects to what may be; with TLS, the host has to prove that name.
pub(crate) async fn dial(host: &str, port: u16, private: bool, tls: Option<Arc<ClientConfig>>) -> Result<Line, DialError> {
    let dialling = async {
        let tcp = connect(&vetted(host, port, private).await?).await?;
        let _ = tcp.set_nodelay(true);
        let Some(tls) = tls else { return Ok(Line::Plain(TokioIo::new(tcp))) };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::NoRule)?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await.map_err(DialError::Tls)?;
        Ok(Line::Tls(Box::new(TokioIo::new(tls))))
    };
    tokio::time::timeout(WAIT, dialling).await.map_err(|_| DialError::Slow)?
}

/// The addresses of a name that may be dialled.
async fn vetted(host: &str, port: u16, private: bool) -> Result<Vec<SocketAddr>, DialError> {
    let found = lookup_host((host, port)).await.map_err(DialError::Name)?;
    let own = own_addresses().map_err(DialError::Name)?;
    let (mut good, mut refused) = (Vec::new(), None);
    for address in found.take(ADDRESSES_MAX) {
        match vet_address(address.ip(), &own) {
            Ok(()) => good.push(address),
            Err(fault) if private && fault.may_be_accepted() => good.push(address),
            Err(fault) => refused = Some(fault),
        }
    }
    match (good.is_empty(), refused) {
        (true, Some(fault)) => Err(DialError::Refused(fault)),
        (true, None) => Err(DialError::Name(io::ErrorKind::NotFound.into())),
        (false, _) => Ok(good),
    }
}

/// One after the other, until one answers.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, DialError> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in addresses {
        match tokio::time::timeout(ADDRESS_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(DialError::Connect(last))
}

/// Asked for each dial: a host may get another address at any time.
fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(interfaces.filter_map(|interface| interface.address.and_then(address)).collect())
}

/// A connection, plain or not.
pub(crate) enum Line {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Line {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Line {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(line) => Pin::new(line).poll_read(context, buffer),
            Self::Tls(line) => Pin::new(line).poll_read(context, buffer),
        }
    }
}

impl Write for Line {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(line) => Pin::new(line).poll_write(context, bytes),
            Self::Tls(line) => Pin::new(line).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(line) => Pin::new(line).poll_flush(context),
            Self::Tls(line) => Pin::new(line).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(line) => Pin::new(line).poll_shutdown(context),
            Self::Tls(line) => Pin::new(line).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(line) => line.is_write_vectored(),
            Self::Tls(line) => line.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(line) => Pin::new(line).poll_write_vectored(context, pieces),
            Self::Tls(line) => Pin::new(line).poll_write_vectored(context, pieces),
        }
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = Line;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Line, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}
