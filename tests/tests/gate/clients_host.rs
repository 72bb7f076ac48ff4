//! Host applications' back ends as they are written: with the TypeScript client, and with nothing but a shell.

use gate_tests::{BackEnd, HOST_SECRET, Setup, TestGate, clients, host, repository};
use serde_json::{Value, json};

fn setup() -> Setup {
    Setup { callers: true, hosts: vec![host("shop")], public_url: Some("http://localhost:7410".to_owned()), ..Setup::default() }
}

/// What a back end has in its environment.
fn environment(shop: &BackEnd) -> [(&'static str, &str); 4] {
    [
        ("HEXWARD_KEY", &shop.token),
        ("HOST_SECRET", HOST_SECRET),
        ("HOST_ISSUER", &shop.issuer),
        ("HOST_ORIGIN", "https://shop.example"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_back_end_with_the_typescript_client_does_all_of_it() {
    let mut gate = TestGate::start(setup()).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let client = repository().join("clients/typescript/dist");
    assert!(client.join("index.js").is_file(), "the client is not built; run scripts/client.sh");
    let (client, base) = (client.display().to_string(), format!("http://{}", shop.address));
    let seen = clients::back_end("host.mjs", &[&client, &base], &environment(&shop), gate.folder.path()).await;
    assert_eq!(seen["failed"], json!([]), "{seen:#}");
    assert!(seen["done"].as_array().is_some_and(|done| done.len() >= 12), "{seen:#}");
    gate.finish().await;
}

/// Every command of the page prints what the page says it prints.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_documents_do_with_curl_works_as_they_say() {
    let mut gate = TestGate::start(setup()).await;
    let shop = BackEnd::new(&mut gate, "shop", &[]).await;
    let page = repository().join("docs/in-front-of-any-app.md").display().to_string();
    let base = format!("http://{}", shop.address);
    let environment = [environment(&shop).as_slice(), &[("HEXWARD_URL", &base)]].concat();
    let walked = clients::back_end("walk.mjs", &[&page], &environment, gate.folder.path()).await;
    assert_eq!((&walked["status"], walked["blocks"].as_u64() >= Some(10)), (&Value::from(0), true), "{walked:#}");
    assert_eq!(walked["differences"], json!([]), "{walked:#}");
    gate.finish().await;
}
