//! A host of the internet, on loopback: TLS with an authority of its own, HTTP/1.1, and a WebSocket that repeats.

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A host named `localhost`.
pub(super) struct Upstream {
    pub(super) port: u16,
    /// Who believes that it is `localhost`.
    pub(super) roots: RootCertStore,
    /// The heads of the requests it got.
    pub(super) saw: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        Self::named("localhost").await
    }

    pub(super) async fn named(name: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (roots, server) = identity(name);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let saw = Arc::default();
        let seen = Arc::clone(&saw);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, acceptor.clone(), Arc::clone(&seen)));
            }
        });
        Self { port, roots, saw }
    }
}

fn identity(name: &str) -> (RootCertStore, ServerConfig) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(ca.self_signed(&ca_key).expect("a certificate").der().clone()).expect("a root");
    let leaf_key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).expect("a leaf");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a server");
    (roots, server)
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, saw: Arc<Mutex<Vec<http::request::Parts>>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |mut request: Request<Incoming>| {
        let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        saw.lock().push(head.clone());
        async move { Ok::<_, Infallible>(answer(head, body, upgrade).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(head: http::request::Parts, body: Incoming, upgrade: Option<hyper::upgrade::OnUpgrade>) -> Response<Body> {
    let said = head.headers.get(header::AUTHORIZATION).map_or(Bytes::new(), |value| Bytes::copy_from_slice(value.as_bytes()));
    match head.uri.path() {
        "/open/repeat" => Response::new(body.map_err(|_| unreachable!("our own client")).boxed_unsync()),
        "/open/ws" => websocket(upgrade, &said),
        "/open/redirect" => {
            let redirect = Response::builder().status(302).header("location", "https://169.254.169.254/latest/");
            redirect.body(full(Bytes::new())).expect("a response")
        }
        // What it was given, in the head and in the body, a byte at a time.
        "/open/reflect" => {
            let pieces: Vec<Bytes> = said.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
            let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
            let body = StreamBody::new(futures_util::stream::iter(frames).then(|frame| async {
                tokio::task::yield_now().await;
                frame
            }));
            let response = Response::builder().header("x-you-said", said.as_ref()).header("set-cookie", "session=operator");
            response.body(BodyExt::boxed_unsync(body)).expect("a response")
        }
        "/open/packed" => Response::builder().header("content-encoding", "gzip").body(full(said)).expect("a response"),
        "/open/forever" => {
            let frames = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Some((Ok(Frame::data(Bytes::from_static(b"tick\n"))), ()))
            });
            Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
        }
        _ => Response::new(full(Bytes::from_static(b"hello"))),
    }
}

/// Greets with what it was given, then repeats. The frames are the test's own business: these are bytes.
fn websocket(upgrade: Option<hyper::upgrade::OnUpgrade>, said: &Bytes) -> Response<Body> {
    let (Some(upgrade), greeting) = (upgrade, said.clone()) else {
        return Response::builder().status(400).body(full(Bytes::new())).expect("a response");
    };
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.expect("an upgrade"));
        stream.write_all(&greeting).await.expect("sent");
        let mut buffer = [0; 1024];
        while let Ok(read) = stream.read(&mut buffer).await {
            if read == 0 || stream.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header("connection", "upgrade");
    response.header("upgrade", "websocket").header("sec-websocket-accept", "x").body(full(Bytes::new())).expect("a response")
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}
