//! A host on this machine that is not called `localhost`, over TLS or not, which remembers what it was asked.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(20);

/// It lives as long as the test's process.
pub struct Server {
    pub name: String,
    pub port: u16,
    /// What proves that it has this name.
    pub authority_pem: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn tls() -> Self {
        Self::start(true)
    }

    pub fn plain() -> Self {
        Self::start(false)
    }

    fn start(tls: bool) -> Self {
        let (name, listener) = local_name();
        let port = listener.local_addr().expect("bound").port();
        let (authority_pem, config) = identity(&name);
        let config = tls.then(|| Arc::new(config));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (config, seen) = (config.clone(), Arc::clone(&seen));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(WAIT))?;
                    match config {
                        None => answer(stream, &seen),
                        Some(config) => {
                            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
                            let mut stream = StreamOwned::new(connection, stream);
                            answer(&mut stream, &seen)?;
                            stream.conn.send_close_notify();
                            stream.flush()
                        }
                    }
                });
            }
        });
        Self { name, port, authority_pem, heads }
    }

    /// `NAME:PORT`.
    pub fn at(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }

    /// The heads of the requests that came so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

/// A name of this host's own table beside `localhost`, which a sandbox answers itself.
fn local_name() -> (String, TcpListener) {
    let table = std::fs::read_to_string("/etc/hosts").expect("a table of names");
    let lines = table.lines().filter_map(|line| line.split('#').next()?.trim().split_once(char::is_whitespace));
    let names = lines.flat_map(|(address, names)| names.split_whitespace().map(move |name| (address, name)));
    let fit = names.filter(|(_, name)| *name != "localhost" && !name.starts_with("localhost."));
    let usable = fit.filter_map(|(address, name)| Some((name.to_owned(), address.parse::<IpAddr>().ok()?)));
    let mut listening = usable
        .filter(|(_, address)| address.is_loopback())
        .filter_map(|(name, address)| Some((name, TcpListener::bind((address, 0)).ok()?)));
    listening.next().expect("/etc/hosts names a loopback address beside localhost, such as the host's own name")
}

fn identity(name: &str) -> (String, ServerConfig) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let leaf_key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).expect("a leaf");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    (pem, server.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).expect("a server"))
}

/// One request, one answer. `/reflect` says what it was asked, `/redirect` leads to the metadata service, `/git` is a
/// repository without anything in it, `/simple` an index of packages.
fn answer(mut stream: impl Read + Write, heads: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    heads.lock().expect("no panic").push(head.clone());
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, extra, body) = match path.split('?').next().unwrap_or_default() {
        "/reflect" => ("200 OK", format!("x-you-said: {}\r\n", field(&head, "authorization").unwrap_or("nothing")), head.clone()),
        "/redirect" => ("302 Found", "location: http://169.254.169.254/latest/\r\n".to_owned(), String::new()),
        "/simple/pack/" => {
            let page = "<a href=\"/pack-1.0-py3-none-any.whl\">pack-1.0-py3-none-any.whl</a>".to_owned();
            ("200 OK", "content-type: text/html\r\n".to_owned(), page)
        }
        "/git/info/refs" => ("200 OK", String::new(), format!("{}\trefs/heads/main\n", "a".repeat(40))),
        "/git/HEAD" => ("200 OK", String::new(), "ref: refs/heads/main\n".to_owned()),
        _ => ("200 OK", String::new(), "hello from outside".to_owned()),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    stream.flush()
}

/// The value of a field in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
