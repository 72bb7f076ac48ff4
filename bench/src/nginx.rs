//! nginx as a plain reverse proxy, without any check: what a gateway that decides, reserves and records is held against.

use crate::places::Places;
use crate::process::{Process, free_address};
use anyhow::{Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const START_WAIT: Duration = Duration::from_secs(10);
const START_STEP: Duration = Duration::from_millis(10);

/// The system's, or one unpacked beside our other tools.
pub fn program(places: &Places) -> Option<PathBuf> {
    let own = places.root.join(".hexward/tools/nginx/usr/sbin/nginx");
    ["/usr/sbin/nginx".into(), "/usr/bin/nginx".into(), own].into_iter().find(|path: &PathBuf| path.is_file())
}

/// A running nginx.
pub struct Nginx {
    /// The process; it does its work itself.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts one in front of `upstream`.
    pub fn start(places: &Places, program: PathBuf, upstream: SocketAddr) -> Result<Self> {
        let (address, folder) = (free_address()?, places.work.join("nginx"));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration(address, upstream))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log")).env_clear();
        let process = Process::start(&mut command, &places.work.join("nginx.log"))?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START_WAIT {
                bail!("nginx does not listen; its log says why");
            }
            std::thread::sleep(START_STEP);
        }
        Ok(Self { process, address })
    }
}

/// Connections are kept on both sides and nothing is buffered or logged: as fast as it gets, and as streaming wants it.
fn configuration(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log warn;\nevents {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path body;\n  proxy_temp_path proxied;\n  fastcgi_temp_path f;\n  \
         uwsgi_temp_path u;\n  scgi_temp_path s;\n  keepalive_requests 1000000;\n  \
         upstream model {{ server {upstream}; keepalive 32; keepalive_requests 1000000; }}\n  \
         server {{\n    listen {address};\n    location / {{\n      proxy_pass http://model;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
    )
}
