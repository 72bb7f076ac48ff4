//! Too much of everything. Each has a bound of its own here, far above what the sandbox should allow.

use crate::kit::{Facts, Probe, Seen, each, probe, says, seen};
use crate::names::resolves;
use crate::net::{MODEL, SOMEWHERE, answered, connect, exchange, model_request, request, status};
use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const FORKS_MAX: usize = 1000;
const FILES_MAX: usize = 20_000;
const MEGABYTES_MAX: usize = 512;
const CONNECTIONS: usize = 10_000;
const HELD_MAX: usize = 500;

pub const PROBES: &[Probe] = &[
    probe("floods.forks", "a fork bomb", "held at 128 processes", forks),
    probe("floods.after_forks", "work after the fork bomb", "it works", |_| {
        let made = std::process::Command::new("/proc/self/exe").arg("--nothing").status();
        seen(made.as_ref().is_ok_and(std::process::ExitStatus::success), format!("{made:?}"))
    }),
    probe("floods.threads", "threads without end", "held at 128", threads),
    probe("floods.descriptors", "open files without end", "held at 1024", descriptors),
    probe("floods.bytes", "fill the folders", "each is held at 64 MiB", |_| each(&["/tmp", "/work", "/agent"], bytes)),
    probe("floods.files", "files without end", "each folder is held at 4096", |_| each(&["/tmp", "/work", "/agent"], inodes)),
    probe("floods.sparse", "a file that claims to be huge", "it holds no more than its folder", sparse),
    probe("floods.connections", "10 000 connections to the gateway", "at most 64 stay, and it answers afterwards", connections),
    probe("floods.slow", "60 requests whose bodies never come", "others are answered meanwhile", slow),
    probe("floods.names", "5 000 questions for names", "the next one is answered", names),
    probe("floods.datagrams", "20 000 datagrams that nobody reads", "names are answered afterwards", datagrams),
    probe("floods.refusals", "400 requests to other hosts", "each is refused", refusals),
    probe("floods.requests", "an endless loop of model requests", "it ends at the run's turns", requests),
];

/// In a sandbox of its own: what the kernel ends when memory is out is the kernel's choice.
pub const MEMORY: &[Probe] = &[probe("memory.all", "take 2 GiB of memory", "ended at 1 GiB", memory)];

fn wait_all() {
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

fn forks(_: &Facts) -> Seen {
    let (mut children, mut error) = (Vec::new(), String::new());
    for _ in 0..FORKS_MAX {
        // SAFETY: one thread; the copy only sleeps.
        match unsafe { libc::fork() } {
            -1 => {
                error = says(&std::io::Error::last_os_error());
                break;
            }
            0 => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
            child => children.push(child),
        }
    }
    for child in &children {
        // SAFETY: our own children, not waited for yet, so their numbers are theirs.
        unsafe { libc::kill(*child, libc::SIGKILL) };
    }
    for child in &children {
        // SAFETY: as above; no status is asked for.
        unsafe { libc::waitpid(*child, std::ptr::null_mut(), 0) };
    }
    wait_all();
    seen(children.len() <= 128, format!("{} processes, then {error}", children.len()))
}

fn threads(_: &Facts) -> Seen {
    let mut made = 0;
    let refused = loop {
        let result = std::thread::Builder::new().stack_size(64 << 10).spawn(|| std::thread::sleep(Duration::from_secs(20)));
        match result {
            Ok(_) if made < FORKS_MAX => made += 1,
            Ok(_) => break "nothing".to_owned(),
            Err(error) => break says(&error),
        }
    };
    seen(made <= 128, format!("{made} threads, then {refused}"))
}

fn descriptors(_: &Facts) -> Seen {
    let mut open = Vec::new();
    while open.len() < FILES_MAX {
        match fs::File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(_) => break,
        }
    }
    seen(open.len() <= 1024, format!("{} files", open.len()))
}

fn bytes(folder: &str) -> Seen {
    let path = format!("{folder}/flood");
    let block = vec![7_u8; 1 << 20];
    let written =
        fs::File::create(&path).map(|mut file| (0..MEGABYTES_MAX).take_while(|_| file.write_all(&block).is_ok()).count());
    let _removed = fs::remove_file(&path);
    match written {
        Ok(written) => seen((1..=64).contains(&written), format!("{written} MiB")),
        Err(error) => seen(false, says(&error)),
    }
}

fn inodes(folder: &str) -> Seen {
    let path = |number: usize| format!("{folder}/flood-{number}");
    let made = (0..FILES_MAX).take_while(|number| fs::write(path(*number), "").is_ok()).count();
    (0..made).for_each(|number| drop(fs::remove_file(path(number))));
    seen((1..=4096).contains(&made), format!("{made} files"))
}

fn sparse(_: &Facts) -> Seen {
    let made = fs::File::create("/tmp/sparse").and_then(|file| file.set_len(1 << 40).map(|()| file));
    let kept = made.and_then(|file| file.metadata()).map_or(0, |data| std::os::unix::fs::MetadataExt::blocks(&data));
    let _removed = fs::remove_file("/tmp/sparse");
    seen(kept * 512 <= 64 << 20, format!("{} bytes kept", kept * 512))
}

fn connections(_: &Facts) -> Seen {
    let (mut held, mut made, begun) = (Vec::new(), 0_usize, Instant::now());
    while made < CONNECTIONS && begun.elapsed() < Duration::from_secs(20) {
        let Ok(stream) = connect(SOMEWHERE) else { break };
        made += 1;
        held.push(stream);
        if held.len() > HELD_MAX {
            held.retain(is_open);
        }
        if held.len() > HELD_MAX {
            return seen(false, format!("{} are open at the same time", held.len()));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    held.retain(is_open);
    let stay = held.len();
    drop(held);
    std::thread::sleep(Duration::from_millis(300));
    let after = answered(exchange(SOMEWHERE, model_request(MODEL, "", "allowed").as_bytes()), "\"role\"");
    seen(stay <= 64 && made >= 1000 && after.pass, format!("{made} made, {stay} stay, then {}", after.observed))
}

/// Whether the other side has not closed it.
fn is_open(stream: &std::net::TcpStream) -> bool {
    let _mode = stream.set_nonblocking(true);
    !matches!(stream.peek(&mut [0]), Ok(0)) && stream.take_error().is_ok_and(|error| error.is_none())
}

fn slow(_: &Facts) -> Seen {
    let mut held = Vec::new();
    for _ in 0..60 {
        if let Ok(mut stream) = connect(SOMEWHERE) {
            let head = model_request(MODEL, "", "").replace("Content-Length: ", "Content-Length: 9");
            let _sent = stream.write_all(head.as_bytes());
            held.push(stream);
        }
    }
    let begun = Instant::now();
    let after = answered(exchange(SOMEWHERE, model_request(MODEL, "", "allowed").as_bytes()), "\"role\"");
    seen(after.pass && begun.elapsed() < Duration::from_secs(5), format!("{} held, meanwhile {}", held.len(), after.observed))
}

fn names(_: &Facts) -> Seen {
    let Ok(socket) = std::net::UdpSocket::bind("0.0.0.0:0") else { return seen(false, "no socket") };
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04evil\x07example\0\0\x10\0\x01";
    let sent = (0..5000).filter(|_| socket.send_to(question, "8.8.8.8:53").is_ok()).count();
    after_a_while(sent)
}

fn datagrams(_: &Facts) -> Seen {
    let (Ok(reader), Ok(socket)) = (std::net::UdpSocket::bind("127.0.0.1:0"), std::net::UdpSocket::bind("0.0.0.0:0")) else {
        return seen(false, "no socket");
    };
    let Ok(to) = reader.local_addr() else { return seen(false, "no address") };
    let sent = (0..20_000).filter(|_| socket.send_to(&[0; 1024], to).is_ok()).count();
    after_a_while(sent)
}

/// What is queued is answered first.
fn after_a_while(sent: usize) -> Seen {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(15) {
        if resolves(&["api.anthropic.com"]).pass {
            return seen(sent > 0, format!("{sent} sent; answered after {} ms", begun.elapsed().as_millis()));
        }
    }
    seen(false, format!("{sent} sent; names are not answered any more"))
}

fn refusals(_: &Facts) -> Seen {
    let asked = request("GET", "/", "flood.example", "", "");
    let refused = (0..400).filter(|_| exchange(SOMEWHERE, asked.as_bytes()).is_ok_and(|answer| status(&answer) == 403)).count();
    seen(refused == 400, format!("{refused} of 400 refused"))
}

fn requests(_: &Facts) -> Seen {
    const LOOPS_MAX: usize = 120;
    let mut answered = 0;
    for _ in 0..LOOPS_MAX {
        match exchange(SOMEWHERE, model_request(MODEL, "", "allowed").as_bytes()) {
            Ok(answer) if status(&answer) == 200 => answered += 1,
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer).into_owned();
                let why = crate::net::told(&answer);
                return seen(
                    answered <= 50 && (400..500).contains(&status(&answer)) && !text.is_empty(),
                    format!("{answered} answered, then {why}"),
                );
            }
            Err(error) => return seen(false, says(&error)),
        }
    }
    seen(false, format!("{answered} answered without an end"))
}

fn memory(_: &Facts) -> Seen {
    let mut reader = [0_u8; 1];
    let Ok((mut from, to)) = std::io::pipe() else { return seen(false, "no pipe") };
    // SAFETY: one thread; the copy takes memory and ends.
    match unsafe { libc::fork() } {
        -1 => seen(false, "no process"),
        0 => {
            let mut held = Vec::new();
            for _ in 0..2048 {
                held.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&held);
            }
            let mut to = to;
            let _told = to.write_all(b"x");
            // SAFETY: ends the copy.
            unsafe { libc::_exit(0) }
        }
        _child => {
            drop(to);
            let took_all = from.read(&mut reader).is_ok_and(|count| count > 0);
            seen(!took_all, if took_all { "it got 2 GiB" } else { "it was ended before" })
        }
    }
}
