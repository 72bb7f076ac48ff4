//! What an agent needs. A sandbox in which nothing works would pass every attack, so this is asked first.

use crate::kit::{Facts, Probe, Seen, probe, seen, works};
use crate::names;
use crate::net::{MODEL, PROVIDER, SOMEWHERE, answered, exchange, model_request, tools_request};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

const WORKS: &str = "it works";

pub const PROBES: &[Probe] = &[
    probe("needs.write", "write and read back in /tmp, /work and the home folder", WORKS, write),
    probe("needs.child", "start a program and wait for it", WORKS, child),
    probe("needs.thread", "start a thread", WORKS, |_| {
        seen(std::thread::spawn(|| 7).join().is_ok_and(|value| value == 7), "joined")
    }),
    probe("needs.socketpair", "a local socket pair", WORKS, |_| {
        works(UnixStream::pair().and_then(|(mut one, mut two)| {
            one.write_all(b"x")?;
            two.read_exact(&mut [0])
        }))
    }),
    probe("needs.entropy", "random bytes from the kernel", WORKS, |_| {
        works(std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut [0; 16])))
    }),
    probe("needs.memory", "64 MiB of memory, and pages that can be made executable", WORKS, memory),
    probe("needs.name", "ask for the address of the model's names", "an address", |_| {
        names::resolves(&[PROVIDER, MODEL, "tools.hexward.internal"])
    }),
    probe("needs.model", "ask the model by its inner name", "200", |_| {
        answered(exchange(SOMEWHERE, model_request(MODEL, "", "allowed").as_bytes()), "\"role\"")
    }),
    probe("needs.model_by_name", "ask the model by the provider's own name", "200", |_| {
        answered(exchange("160.79.104.10:80", model_request(PROVIDER, "", "allowed").as_bytes()), "\"role\"")
    }),
    probe("needs.tools", "list the app's tools", "200", |_| {
        answered(exchange("198.18.0.11:80", tools_request("", "tools/list", "{}").as_bytes()), "getCurrentUser")
    }),
];

fn write(_: &Facts) -> Seen {
    works(["/tmp", "/work", "/agent"].iter().try_for_each(|folder| {
        let path = format!("{folder}/needs");
        std::fs::write(&path, folder)?;
        let same = std::fs::read_to_string(&path)? == *folder;
        std::fs::remove_file(&path)?;
        if same { Ok(()) } else { Err(std::io::Error::other("something else was read")) }
    }))
}

fn child(_: &Facts) -> Seen {
    match Command::new("/proc/self/exe").arg("--nothing").status() {
        Ok(status) => seen(status.success(), status.to_string()),
        Err(error) => seen(false, error.to_string()),
    }
}

fn memory(_: &Facts) -> Seen {
    const BYTES: usize = 64 << 20;
    let held = vec![1_u8; BYTES];
    std::hint::black_box(&held);
    // SAFETY: a fresh private mapping that nothing else knows, unmapped with the process.
    let executable = unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        page != libc::MAP_FAILED && libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) == 0
    };
    seen(executable, format!("{} MiB held, executable page: {executable}", held.len() >> 20))
}
