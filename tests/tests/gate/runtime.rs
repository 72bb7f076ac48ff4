//! The fuller runtime: what an agent that executes code finds in its sandbox, and that none of it is the host's own.

use gate_tests::{agent, hexward, jail};
use policy::SandboxId;
use sandbox::{AgentSpec, CodeRuntime, Driver, JailedDriver, JailedPaths, Mode, Profile};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Each line is a program that an agent starts with the shell; all must succeed.
const ORDERS: &str = r#"
const { execSync } = require("node:child_process");
const fs = require("node:fs");
for (const order of [
  "echo from-a-shell", "bash -c 'echo $((6*7))'", "python3 -c 'import json, hashlib, ssl, sqlite3; print(json.dumps([1,2]))'",
  "node -p '1+1'", "git --version", "cd /work && git init -q . && echo x > a && git add a && git -c user.name=a -c user.email=a@b commit -qm one && git log --format=%s",
  "printf 'b\na\n' | sort | head -n 1 | sed s/a/sorted/ | grep sorted", "cd /work && find . -name a | xargs wc -c",
]) console.log(order.slice(0, 14) + " => " + execSync(order, { encoding: "utf8" }).trim());
const writable = (path) => { try { fs.writeFileSync(path + "/x", ""); return true; } catch { return false; } };
console.log("writable: " + ["/usr", "/usr/bin", "/etc", "/", "/opt", "/work", "/tmp"].filter(writable).join(" "));
console.log("root: " + fs.readdirSync("/").join(" "));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn code_runs_in_the_fuller_runtime_and_none_of_it_is_the_host_s() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("code");
    let built = Command::new(hexward()).args(["runtime-build", "--folder"]).arg(&image).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let paths = JailedPaths { agent: agent(), jail: jail(), scratch: folder.path().join("scratch") };
    let node = vec!["/usr/bin/node".to_owned()];
    let runtime = CodeRuntime::shipped().unwrap().runtime(&image, None, node, None).unwrap();
    let driver = JailedDriver::new(Mode::Native, paths, Profile::agent().unwrap()).with("code".to_owned(), runtime);
    let spec = AgentSpec {
        runtime: "code".to_owned(),
        extra_ports: Vec::new(),
        id: SandboxId::random(),
        arguments: vec!["-e".to_owned(), ORDERS.to_owned()],
        environment: BTreeMap::new(),
        trusted_pem: String::new(),
        past: Vec::new(),
        model: String::new(),
    };
    let mut sandbox = driver.start(spec).await.unwrap();
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(60), sandbox.stdout.read_to_string(&mut text)).await;
    let exit = sandbox.life.ending().exited().await;
    assert!(read.is_ok(), "{text}");
    for seen in ["=> from-a-shell", "=> 42", "=> [1, 2]", "=> 2\n", "=> git version", "=> one", "=> sorted", "=> 2 ./a"] {
        assert!(text.contains(seen), "{seen}: {text} {exit:?}");
    }
    assert!(text.contains("writable: /work /tmp\n"), "{text}");
    assert!(text.contains("root: agent bin dev etc lib lib64 opt proc tmp usr work\n"), "{text}");
    sandbox.life.destroy().await;
}
