use super::*;

const fn at(secs: i64) -> Timestamp {
    Timestamp(1_000_000_000_000).plus_secs(secs)
}

fn config(name: &str, order: u32, keys: &[&str]) -> ProviderConfig {
    ProviderConfig {
        name: name.to_owned(),
        protocol: Protocol::Anthropic,
        address: "http://127.0.0.1:9".to_owned(),
        keys: keys.iter().map(|key| (SecretString::from(*key), 1)).collect(),
        models: Vec::new(),
        order,
        weight: 1,
    }
}

fn providers(configs: Vec<ProviderConfig>) -> Providers {
    Providers::new(configs).expect("good providers")
}

/// Which keys a call would be tried with at a moment, without ever failing.
fn ways_at(providers: &Providers, model: &str, now: Timestamp) -> Vec<String> {
    let mut attempts = providers.attempts(model);
    std::iter::from_fn(|| attempts.next(0, now)).map(|attempt| attempt.key().to_str().expect("text").to_owned()).collect()
}

fn ways(providers: &Providers, model: &str) -> Vec<String> {
    ways_at(providers, model, at(0))
}

const fn answered(status: u16, retry_after_secs: Option<u64>) -> Outcome {
    Outcome::Answered { status, retry_after_secs }
}

#[test]
fn each_way_is_tried_once_in_order() {
    let only = ProviderConfig { models: vec!["claude-x".to_owned()], ..config("only", 0, &["o"]) };
    let providers = providers(vec![config("second", 2, &["s"]), config("first", 1, &["a", "b"]), only]);
    assert_eq!(ways(&providers, "claude-y"), ["a", "b", "s"]);
    assert_eq!(ways(&providers, "claude-x-20260101"), ["o", "a", "b", "s"]);
}

#[test]
fn a_key_that_is_refused_is_left_alone_for_as_long_as_was_said() {
    let providers = providers(vec![config("p", 0, &["a", "b"])]);
    let mut attempts = providers.attempts("m");
    attempts.next(0, at(0)).expect("a").report(answered(429, Some(7)), 0, at(0));
    assert!(attempts.has_next(at(0)), "the other key may be asked");
    assert_eq!(ways(&providers, "m"), ["b"]);
    attempts.next(0, at(0)).expect("b").report(answered(429, Some(30)), 0, at(0));
    assert!(!attempts.has_next(at(0)) && attempts.next(0, at(0)).is_none());
    assert_eq!(providers.attempts("another model").retry_after_secs(at(0)), 7, "limits are the key's, not the model's");
    assert_eq!(ways_at(&providers, "m", at(7)), ["a"]);
}

#[test]
fn a_provider_that_fails_is_left_alone_for_that_model_until_a_probe_is_served() {
    let providers = providers(vec![config("p", 0, &["a"]), config("q", 1, &["b"])]);
    for _ in 0..5 {
        providers.attempts("m").next(0, at(0)).expect("p").report(Outcome::Unreachable, 0, at(0));
    }
    assert_eq!((ways(&providers, "m"), ways(&providers, "n")), (vec!["b".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    let probe = providers.attempts("m").next(0, at(5)).expect("the probe");
    assert_eq!((probe.provider(), ways_at(&providers, "m", at(5))), ("p", vec!["b".to_owned()]), "one probe at a time");
    drop(probe);
    let probe = providers.attempts("m").next(0, at(5)).expect("a probe that was dropped is no probe");
    assert_eq!(probe.provider(), "p");
    probe.report(answered(200, None), 0, at(5));
    assert_eq!(ways_at(&providers, "m", at(5)), ["a", "b"]);
}

#[test]
fn a_probe_that_is_being_answered_keeps_nobody_waiting() {
    let providers = providers(vec![config("p", 0, &["a"])]);
    for _ in 0..5 {
        providers.attempts("m").next(0, at(0)).expect("p").report(Outcome::Unreachable, 0, at(0));
    }
    let probe = providers.attempts("m").next(0, at(5)).expect("the probe");
    assert!(ways_at(&providers, "m", at(5)).is_empty(), "one probe at a time");
    probe.begins();
    let second = providers.attempts("m").next(0, at(5)).expect("another one, while the first is answered");
    second.report(Outcome::CutLate, 0, at(6));
    assert!(ways_at(&providers, "m", at(15)).is_empty(), "after the first byte, and still a failure");
    probe.report(answered(200, None), 0, at(7));
    assert!(ways_at(&providers, "m", at(15)).is_empty(), "the one before it changes nothing any more");
    assert_eq!(ways_at(&providers, "m", at(16)), ["a"], "twice as long");
}

#[test]
fn only_what_the_next_could_do_better_is_tried_again() {
    for status in [429, 500, 502, 503, 504, 529] {
        assert!(answered(status, None).may_fail_over(), "{status}");
    }
    for status in [200, 400, 401, 402, 403, 404, 413, 422, 501] {
        assert!(!answered(status, None).may_fail_over(), "{status}");
    }
    assert!(Outcome::Unreachable.may_fail_over() && Outcome::NoFirstByte.may_fail_over());
    assert!(!Outcome::CutLate.may_fail_over() && !Outcome::Left.may_fail_over());
}

#[test]
fn a_rotated_key_is_used_from_the_next_call_on_and_the_old_one_is_gone() {
    let providers = providers(vec![config("p", 0, &["old-1", "old-2"]), config("q", 1, &["other"])]);
    let under_way = providers.attempts("m").next(0, at(0)).expect("an attempt");
    providers.rotate("p", Some(SecretString::from("new-1"))).expect("rotated");
    assert_eq!(ways(&providers, "m"), ["new-1", "other"]);
    assert_eq!(under_way.key(), "old-1", "what is under way ends with what it began with");
    let held = |provider: &str| {
        let provider = providers.all.iter().find(|known| known.name == provider).expect("there");
        Arc::downgrade(provider.keys.load().first().expect("a key"))
    };
    let replaced = held("p");
    providers.rotate("p", Some(SecretString::from("new-2"))).expect("rotated");
    assert!(replaced.upgrade().is_none(), "nothing holds it any more");
    providers.rotate("p", None).expect("forgotten");
    assert_eq!(ways(&providers, "m"), ["old-1", "old-2", "other"]);
    assert!(matches!(providers.rotate("nobody", None), Err(ProviderError::Unknown(_))));
}

#[test]
fn an_admin_key_is_never_taken() {
    for bad in ["sk-ant-admin01-x", " sk-ant-admin01-x", "SK-ANT-ADMIN-x", "", "a\nb"] {
        assert!(Providers::new(vec![config("p", 0, &["good", bad])]).is_err(), "{bad:?}");
    }
    let providers = providers(vec![config("p", 0, &["good"])]);
    assert!(matches!(providers.rotate("p", Some(SecretString::from("sk-ant-admin01-x"))), Err(ProviderError::AdminKey)));
    assert_eq!(ways(&providers, "m"), ["good"], "and then everything stays as it is");
    let address = ProviderConfig { address: "http://example.com".to_owned(), ..config("p", 0, &["k"]) };
    assert!(Providers::new(vec![address]).is_err(), "in clear only on loopback");
}

#[test]
fn a_key_is_not_printed() {
    let providers = providers(vec![config("p", 0, &["sk-ant-api03-secret"])]);
    let attempt = providers.attempts("m").next(0, at(0)).expect("an attempt");
    assert!(!format!("{:?}", attempt.key()).contains("secret"));
}
