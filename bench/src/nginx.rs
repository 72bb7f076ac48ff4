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
    /// The first process; its children do the work.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it passes on at once what comes.
    pub streams: SocketAddr,
}

impl Nginx {
    /// Starts one in front of `upstream`.
    pub fn start(places: &Places, program: PathBuf, upstream: SocketAddr) -> Result<Self> {
        let (address, streams, folder) = (free_address()?, free_address()?, places.work.join("nginx"));
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration(address, streams, upstream))?;
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
        Ok(Self { process, address, streams })
    }
}

/// As whoever wants it fast writes it: two workers on two cores, connections kept on both sides, no log, a body in memory.
/// What streams passes through unbuffered, on an address of its own.
fn configuration(address: SocketAddr, streams: SocketAddr, upstream: SocketAddr) -> String {
    let place = |address: SocketAddr, more: &str| {
        format!(
            "  server {{\n    listen {address};\n    location / {{\n      proxy_pass http://model;\n      proxy_http_version 1.1;\n      \
             proxy_set_header Connection \"\";\n{more}    }}\n  }}\n"
        )
    };
    let (plain, streamed) = (place(address, ""), place(streams, "      proxy_buffering off;\n"));
    // Who is not root can't say a user, and is told so in the log.
    format!(
        "user root root;\ndaemon off;\nworker_processes auto;\npid nginx.pid;\nerror_log error.log warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  client_body_temp_path body;\n  \
         proxy_temp_path proxied;\n  fastcgi_temp_path f;\n  uwsgi_temp_path u;\n  scgi_temp_path s;\n  \
         keepalive_requests 10000000;\n  client_body_buffer_size 1m;\n  \
         upstream model {{ server {upstream}; keepalive 64; keepalive_requests 10000000; }}\n{plain}{streamed}}}\n"
    )
}
