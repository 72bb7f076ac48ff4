//! The starter itself: nothing may be left behind, however its owner ends.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Postgres;

const GONE_WAIT: Duration = Duration::from_secs(20);

/// The server's address, out of a database's.
fn address(url: &str) -> SocketAddr {
    let host = url.split('@').nth(1).and_then(|rest| rest.split('/').next());
    host.and_then(|host| host.parse().ok()).expect("a database's address names host and port")
}

/// The folder is named after the password, which no two servers share.
fn folder_of(url: &str) -> std::path::PathBuf {
    let password = url.split(':').nth(2).and_then(|rest| rest.split('@').next()).expect("an address with a password");
    std::env::temp_dir().join(format!("hexward-postgres-{password}"))
}

fn is_up(url: &str) -> bool {
    TcpStream::connect(address(url)).is_ok()
}

fn assert_gone(url: &str) {
    let began = Instant::now();
    while is_up(url) || folder_of(url).exists() {
        assert!(began.elapsed() < GONE_WAIT, "the server or its folder is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_dropped_server_leaves_nothing() {
    let server = Postgres::start();
    let (first, second) = (server.fresh_database(), server.fresh_database());
    assert_ne!(first, second);
    assert!(is_up(&first) && folder_of(&first).exists());
    server.stop();
    assert!(!is_up(&first) && folder_of(&first).exists(), "stopped, but its data stay");
    server.start_again();
    assert!(is_up(&first));
    drop(server);
    assert!(!is_up(&first) && !folder_of(&first).exists());
}

/// Run by the test below as a process of its own.
#[test]
#[expect(clippy::disallowed_methods, reason = "how this process knows that it is the child")]
fn child_that_never_ends() {
    if std::env::var_os("TESTKIT_CHILD").is_some() {
        println!("\nurl {}", Postgres::shared().fresh_database());
        std::thread::sleep(Duration::from_secs(120));
    }
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    let mut child = Command::new(std::env::current_exe().expect("this test has a program"))
        .args(["--exact", "child_that_never_ends", "--nocapture"])
        .env("TESTKIT_CHILD", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines().map_while(Result::ok);
    let url = lines.find_map(|line| line.strip_prefix("url ").map(str::to_owned)).expect("the child names its database");
    assert!(is_up(&url));
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
    assert_gone(&url);
}
