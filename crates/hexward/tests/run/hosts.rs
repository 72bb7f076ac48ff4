//! `--allow`, `--key`, `--danger-allow-private`: what a command reaches, and what it never learns.

use crate::project::{As, Project, everyone, told};
use crate::server::{Server, field};
use std::process::Command;

const SECRET: &str = "sk-developer-canary-0123456789";

/// The command, run by a developer who trusts the server's authority and has a secret.
fn command(project: &Project, server: &Server, arguments: &[&str]) -> Command {
    project.write("authority.pem", &server.authority_pem);
    let mut command = project.command(arguments);
    command.env("SSL_CERT_FILE", project.folder.join("authority.pem")).env("MY_KEY", SECRET).env("SHORT", "0123456789");
    command
}

fn run(project: &Project, server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
    told(&command(project, server, arguments).output().expect("it runs"))
}

#[test]
fn an_allowed_host_is_reached_and_nothing_else() {
    for &who in everyone() {
        let (project, server) = (Project::new(who), Server::tls());
        let (at, name) = (server.at(), &server.name);
        let other_port = format!("{name}:{}", if server.port == 65535 { 1024 } else { server.port + 1 });
        let script = format!(
            "curl -sS https://{at}/x; curl -sS -X DELETE https://{at}/@scope%2fname; curl -sSL https://{at}/redirect; \
             curl -s https://other.example/; curl -s https://{name}/; curl -s https://{other_port}/; curl -s http://{name}/; \
             curl -s http://169.254.169.254/; exit 7"
        );
        let flags = ["--discard", "--allow", &at, "--danger-allow-private", name, "--", "sh", "-c", &script];
        let (code, out, err) = run(&project, &server, &flags);
        assert_eq!(code, Some(7), "the command's own code: {err}");
        assert_eq!(out.matches("hello from outside").count(), 2, "{who:?}: {out}{err}");
        assert!(err.contains(&format!("DANGER: {name} ")), "what is dangerous is loud: {err}");
        for denied in ["other.example (egress.host)  ", &format!("{name} (egress.tls)"), &format!("{name} (egress.host)")] {
            assert!(err.contains(denied), "{denied} is not told: {err}");
        }
        assert!(err.contains("--allow HOST[:PORT] lets"), "what to do about it: {err}");
        assert!(err.contains("169.254.169.254 (egress.host)  2 times"), "one by a redirect, one asked for: {err}");
        assert!(err.contains("connections to ports that are not allowed  "), "{err}");
        let asked: Vec<String> = server.heads().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect();
        assert_eq!(asked, ["GET /x HTTP/1.1", "DELETE /@scope%2fname HTTP/1.1", "GET /redirect HTTP/1.1"]);
    }
}

/// However soon it is over: the supervisor, which outlives it, hands out the counters.
#[test]
fn a_port_that_nobody_may_reach_is_told_of_the_shortest_command() {
    let project = Project::new(As::User);
    for _ in 0..10 {
        let command = ["--discard", "--", "bash", "-c", "echo > /dev/tcp/10.0.0.1/22"];
        let (code, _, err) = project.run(&command);
        assert!(code == Some(1) && err.contains("connections to ports that are not allowed  1 times"), "{err}");
    }
}

#[test]
fn this_machine_is_no_allowed_host_unless_it_is_named_as_dangerous() {
    for &who in everyone() {
        let (project, server) = (Project::new(who), Server::plain());
        let url = format!("http://{}", server.at());
        let (_, out, err) = run(&project, &server, &["--discard", "--allow", &url, "--", "curl", "-sS", &url]);
        assert!(server.heads().is_empty() && !out.contains("hello"), "{out}{err}");
        assert!(err.contains("is a loopback address (egress.address)"), "{err}");
        let flags = ["--discard", "--allow", &url, "--danger-allow-private", &server.name, "--", "curl", "-sS", &url];
        let (code, out, err) = run(&project, &server, &flags);
        assert_eq!((code, out.as_str()), (Some(0), "hello from outside"), "{err}");
        assert!(!err.contains("denied:"), "nothing was refused: {err}");
    }
}

#[test]
fn a_secret_arrives_in_its_header_and_is_nowhere_inside() {
    for &who in everyone() {
        let (project, server) = (Project::new(who), Server::tls());
        let (at, backwards) = (server.at(), SECRET.chars().rev().collect::<String>());
        let script = format!(
            "echo \"MY_KEY=$MY_KEY\"; curl -sSi -H \"Authorization: Bearer $MY_KEY\" -H 'Cookie: a=b' https://{at}/reflect; env; \
             tr '\\0' '\\n' < /proc/self/environ; cat /proc/1/environ /proc/1/cmdline 2>/dev/null | tr '\\0' '\\n'; \
             grep -rlsF \"$(echo {backwards} | rev)\" /etc /tmp /var /home . && echo a file holds it; true"
        );
        let key = format!("MY_KEY={at}:authorization:Bearer");
        let flags =
            ["--discard", "--key", &key, "--danger-allow-private", &server.name, "--allow", &at, "--", "sh", "-c", &script];
        let (code, out, err) = run(&project, &server, &flags);
        let heads = server.heads();
        let [head] = heads.as_slice() else { panic!("{who:?}: one request, not {heads:?}: {out}{err}") };
        assert_eq!(code, Some(0), "{who:?}: {out}{err}");
        let (got, cookie) = (field(head, "authorization"), field(head, "cookie"));
        assert_eq!(
            (got, cookie),
            (Some(format!("Bearer {SECRET}").as_str()), None),
            "the developer's, and nothing of the command's"
        );
        assert!(!out.contains(SECRET) && !err.contains(SECRET) && !out.contains("a file holds it"), "{out}{err}");
        let blank = format!("Bearer {}", "*".repeat(SECRET.len()));
        assert_eq!(out.matches(&blank).count(), 2, "reflected in a header and in the body: {out}");
        assert!(out.contains("MY_KEY=placeholder"), "{out}");
    }
}

#[test]
fn the_place_of_a_secret_can_be_any_header_with_or_without_a_prefix() {
    let project = Project::new(As::User);
    for (form, header, value) in [
        ("x-api-key", "x-api-key", SECRET.to_owned()),
        ("X-Api-Key: ", "x-api-key", SECRET.to_owned()),
        ("authorization: Basic ", "authorization", format!("Basic {SECRET}")),
        ("authorization:Token token=", "authorization", format!("Token token={SECRET}")),
    ] {
        let server = Server::plain();
        let (at, key) = (format!("http://{}", server.at()), format!("MY_KEY=http://{}:{form}", server.at()));
        let flags = ["--discard", "--key", &key, "--danger-allow-private", &server.name, "--", "curl", "-sS", &at];
        let (code, _, err) = run(&project, &server, &flags);
        assert_eq!(code, Some(0), "{form}: {err}");
        let heads = server.heads();
        assert_eq!(heads.first().and_then(|head| field(head, header)), Some(value.as_str()), "{form}");
    }
}

#[test]
fn what_can_t_be_meant_is_refused_before_anything_starts() {
    let (project, server) = (Project::new(As::User), Server::plain());
    let secret_in_argument = format!("X-Api-Key: {SECRET}");
    for (flags, because) in [
        (&["--allow", "*.example.com"][..], "no address, wildcard or path"),
        (&["--allow", "93.184.216.34"], "no address, wildcard or path"),
        (&["--allow", "https://a.example/path"], "no address, wildcard or path"),
        (&["--allow", "ftp://a.example"], "must be HOST"),
        (&["--allow", "a.example:99999"], "must be HOST"),
        (&["--allow", ""], "must be HOST"),
        (&["--allow", "http://a.example:443"], "always TLS"),
        (&["--allow", "https://a.example:80"], "always plain HTTP"),
        (&["--allow", "a.example:53"], "not 53"),
        (&["--allow", "model.hexward.internal"], "gateway's own"),
        (&["--allow", "a.example:8080", "--allow", "http://a.example:8080"], "must agree in scheme"),
        (&["--danger-allow-private", "a.example"], "neither --allow nor --key names"),
        (&["--danger-allow-private", "10.0.0.1", "--allow", "a.example"], "must be a host name"),
        (&["--key", "MY_KEY"], "must be NAME=HOST"),
        (&["--key", "MY_KEY=a.example"], "must be NAME=HOST"),
        (&["--key", "MY_KEY=a.example:443"], "must be NAME=HOST"),
        (&["--key", "MY KEY=a.example:x-api-key"], "must be NAME=HOST"),
        (&["--key", "MY_KEY=a.example:no header"], "can't be the header"),
        (&["--key", "MY_KEY=a.example:host"], "can't be the header"),
        (&["--key", "NOT_SET=a.example:x-api-key"], "NOT_SET is not set in your environment"),
        (&["--key", "SHORT=a.example:x-api-key"], "at least 16 characters"),
        (&["--key", "PATH=a.example:x-api-key"], "sandbox's own variable"),
        (&["--key", "MY_KEY=http://a.example:x-api-key"], "can't travel to a.example:80 without TLS"),
        (&["--key", "MY_KEY=a.example:x-api-key", "--key", "MY_KEY=a.example:authorization"], "another --key names it already"),
        (&["--key", "MY_KEY=a.example:x-api-key", "--env", "MY_KEY"], "by --env and by --key"),
        (&["--key", "MY_KEY=a.example:x-api-key", "--env", "COPY"], "is also in COPY"),
        (&["--key", "MY_KEY=a.example:x-api-key", "--", "curl", "-H", &secret_in_argument], "among the command's arguments"),
    ] {
        let rest: &[&str] = if flags.contains(&"--") { &[] } else { &["--", "echo", "started"] };
        let arguments = [&["--discard"], flags, rest].concat();
        let mut command = command(&project, &server, &arguments);
        let (code, out, err) = told(&command.env("COPY", format!("x{SECRET}")).output().expect("it runs"));
        assert_eq!((code, out.as_str()), (Some(125), ""), "{flags:?}: {err}");
        assert!(err.contains(because) && !err.contains(SECRET), "{flags:?}: {err}");
    }
    let (_, _, err) = run(&project, &server, &["--allow", "a/b", "--key", "NOT_SET=a.example:x", "--", "true"]);
    assert!(err.contains("a/b") && err.contains("NOT_SET"), "all faults at once: {err}");
}

/// Each program finds the sandbox's own authority in the way it knows.
#[test]
fn programs_believe_the_allowed_host() {
    for &who in everyone() {
        let (project, server) = (Project::new(who), Server::tls());
        let at = server.at();
        let fetched = format!("fetch('https://{at}/').then(r => r.text()).then(t => console.log(t))");
        let opened = format!("import urllib.request as r; print(r.urlopen('https://{at}/').read().decode())");
        let (cloned, index) = (format!("https://{at}/git"), format!("https://{at}/simple"));
        let versions = ["-m", "pip", "--disable-pip-version-check", "index", "versions", "--index-url", &index, "pack"];
        for (program, arguments, says) in [
            ("curl", &["-sS", &format!("https://{at}/")][..], "hello from outside"),
            ("node", &["-e", &fetched], "hello from outside"),
            ("python3", &["-c", &opened], "hello from outside"),
            ("git", &["ls-remote", &cloned], "refs/heads/main"),
            ("python3", &versions, "pack (1.0)"),
        ] {
            let flags = ["--discard", "--allow", &at, "--danger-allow-private", &server.name, "--", program];
            let (code, out, err) = run(&project, &server, &[&flags, arguments].concat());
            // What the tests' setup does not install.
            if program == "python3" && (code == Some(127) || err.contains("No module named pip")) {
                continue;
            }
            assert!(code == Some(0) && out.contains(says), "{who:?} {program}: {code:?} {out}{err}");
        }
    }
}
