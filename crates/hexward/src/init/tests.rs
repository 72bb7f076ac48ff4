use super::answers::HostApp;
use super::*;
use secrecy::SecretString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn texts(answers: &Answers) -> (String, String) {
    (text::config(answers), text::secrets(answers).expect("random bytes"))
}

#[test]
fn what_is_written_passes_the_check_and_is_closed_to_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let key = || Some(SecretString::from("sk-ant-api03-of-a-test"));
    for answers in [
        Answers { api_key: key(), ..Answers::default() },
        Answers {
            production: true,
            public_url: Some("https://map.example.org".to_owned()),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 7000))),
            database: Some(SecretString::from("postgres://u:p$w@db.example/x")),
            api_key: key(),
            day_usd: Some(12.5),
            host: None,
        },
        Answers { host: Some(HostApp::named("https://www.shop.example/x").expect("an address")), ..Answers::default() },
    ] {
        let (config, secrets) = texts(&answers);
        usable(&config, &secrets).unwrap_or_else(|error| panic!("{error:#}\n{config}"));
        // What stands there to be switched on works too.
        let hooked = config.replace("# [[hosts.webhooks]]", "[[hosts.webhooks]]").replace("\n# id = \"main\"", "\nid = \"main\"");
        let hooked = ["url = \"https", "secret_env", "events"]
            .iter()
            .fold(hooked, |text, key| text.replace(&format!("\n# {key}"), &format!("\n{key}")));
        usable(&hooked, &secrets).unwrap_or_else(|error| panic!("{error:#}\n{hooked}"));
        assert!(!config.contains("sk-ant") && !config.contains("p$w"), "no secret in the configuration");
        let _ = std::fs::remove_dir_all(&dir);
        assert!(!files::write(&dir, false, &config, &secrets).expect("written"));
        assert_eq!(names(&dir), [SECRETS, CONFIG]);
        assert_eq!((mode(&dir), mode(&dir.join(CONFIG)), mode(&dir.join(SECRETS))), (0o700, 0o600, 0o600));
        assert_eq!(names(folder.path()), ["new"], "nothing is left beside it");
        let environment = config::load_environment(&dir, std::iter::empty()).expect("understood");
        let database = config::database_url(&environment, Path::new("s"));
        use secrecy::ExposeSecret;
        assert!(answers.database.as_ref().is_none_or(|said| said.expose_secret() == database.expose_secret()), "quoted");
    }
}

#[test]
fn nothing_is_overwritten_and_no_secret_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let (config, secrets) = texts(&Answers::default());
    files::write(&dir, false, &config, &secrets).expect("written");
    let other = Answers { api_key: Some(SecretString::from("sk-ant-api03-later")), day_usd: Some(9.0), ..Answers::default() };
    let (new_config, new_secrets) = texts(&other);
    let refused = files::write(&dir, false, &new_config, &new_secrets).expect_err("it is there").to_string();
    assert!(refused.contains("was not touched") && refused.contains("--force"), "{refused}");
    assert_eq!(std::fs::read_to_string(dir.join(CONFIG)).expect("there"), config);
    assert!(files::write(&dir, true, &new_config, &new_secrets).expect("forced"));
    assert_eq!(names(&dir), [SECRETS, CONFIG, "hexward.toml.old"]);
    assert_eq!(std::fs::read_to_string(dir.join("hexward.toml.old")).expect("there"), config);
    assert_eq!(std::fs::read_to_string(dir.join(CONFIG)).expect("there"), new_config);
    let kept = std::fs::read_to_string(dir.join(SECRETS)).expect("there");
    assert!(kept.starts_with(secrets.trim_end()), "AUTH_SECRET is the old one");
    assert!(
        kept.contains("ANTHROPIC_API_KEY='sk-ant-api03-later'") && kept.matches("\nAUTH_SECRET=").count() == 1,
        "and what was missing"
    );
    assert!([CONFIG, SECRETS, "hexward.toml.old"].iter().all(|name| mode(&dir.join(name)) == 0o600));
}

#[test]
fn a_folder_that_others_can_enter_and_what_is_no_folder_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("open");
    std::fs::create_dir(&open).expect("made");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).expect("set");
    assert!(files::check(&open, true).expect_err("open").to_string().contains("chmod 700"));
    assert_eq!(mode(&open), 0o755, "it is nobody's to change");
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "x").expect("written");
    std::os::unix::fs::symlink(folder.path(), &link).expect("linked");
    assert!(files::check(&file, true).is_err() && files::check(&link, true).is_err());
    let (config, secrets) = texts(&Answers::default());
    assert!(files::write(&file.join("below"), false, &config, &secrets).is_err());
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "x");
}

#[test]
fn a_host_application_has_an_id_of_its_own() {
    let id = |url: &str| HostApp::named(url).map(|host| (host.id.clone(), host.url.clone(), host.secret_env())).ok();
    let expected = ("shop".to_owned(), "https://www.shop.example".to_owned(), "HOST_SHOP_ASSERTION_SECRET".to_owned());
    assert_eq!(id("https://www.shop.example/x"), Some(expected));
    assert_eq!(id("http://127.0.0.1:3000").map(|(id, ..)| id), Some("host".to_owned()));
    assert!(id("ftp://shop.example").is_none() && id("shop.example").is_none());
}
