//! Measures how long a sandbox takes from the request until its program runs, and until everything is gone again.
//!
//! `cargo run --release -p jail --example create_latency [COUNT] [PROGRAM]`, with root or without. Build the jail in
//! the same profile before: `cargo build --release -p jail`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jail::{AgentStdio, Calls, Isolation, Jail, Limits, Mount, Plan};

const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let program = arguments.next().unwrap_or_else(|| "/usr/bin/true".into());
    let jail = jail_program()?;
    let (mut create, mut inside, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..count {
        let plan = plan(round, &program);
        let (_reader, writer) = std::io::pipe()?;
        let null = std::fs::File::open("/dev/null")?;
        let stdio = AgentStdio { stdin: null.into(), stdout: writer.try_clone()?.into(), stderr: writer.into() };
        let begun = Instant::now();
        let mut jail = Jail::spawn(&jail, &plan, stdio)?;
        let (ready, _listeners) = jail.wait_ready(TIMEOUT)?;
        create.push(begun.elapsed());
        inside.push(Duration::from_micros(ready.setup_us));
        jail.wait_reply(TIMEOUT)?;
        drop(jail);
        total.push(begun.elapsed());
    }
    report("request to running program", &mut create);
    report("plan to running program   ", &mut inside);
    report("request to nothing left   ", &mut total);
    Ok(())
}

/// Beside the folder of this example.
fn jail_program() -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let profile = own.parent().and_then(Path::parent).ok_or("no build folder")?;
    Ok(profile.join("hexward-jail"))
}

fn plan(round: usize, program: &str) -> Plan {
    let bind = |path: &str| Mount::BindRo { source: path.into(), target: path.into() };
    let link = |path: &str| Mount::Symlink { target: path.into(), points_to: format!("usr{path}").into() };
    let linked = ["/bin", "/lib", "/lib64"].into_iter().filter(|path| Path::new(path).exists());
    let mut mounts = vec![bind("/usr")];
    mounts.extend(linked.map(link));
    mounts.push(Mount::Tmpfs { target: "/space".into(), size_bytes: 64 << 20, inodes: 4096, mode: 0o700 });
    Plan {
        id: format!("latency-{}-{round}", std::process::id()),
        isolation: Isolation::Full,
        calls: Calls::Agent,
        argv: vec![program.into()],
        env: BTreeMap::new(),
        cwd: "/space".into(),
        hostname: "sandbox".into(),
        mounts,
        uid: 1000,
        gid: 1000,
        host_uid: Some(300_000),
        limits: Limits::default(),
        extra_ports: Vec::new(),
    }
}

fn report(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    println!("{name}: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
}
