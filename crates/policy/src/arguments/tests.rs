//! Values that come from where they should, and every way found so far of making another one look like it.

use super::*;
use crate::Manifest;
use proptest::prelude::*;
use serde_json::json;

const HEAD: &str =
    "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n";

fn manifest(argument: &str) -> Result<Manifest, String> {
    let text = format!("{HEAD}[tools.do]\neffect='write'\n[tools.do.arguments]\n{argument}");
    Manifest::parse(&text).map_err(|error| error.to_string())
}

/// Whether a call of `do` with these arguments passes a rule, after the person wrote this.
fn passes(argument: &str, said: &str, arguments: &Value) -> bool {
    let mut known = Known::default();
    known.said(said);
    knowing(argument, &known, arguments)
}

fn knowing(argument: &str, known: &Known, arguments: &Value) -> bool {
    let manifest = manifest(argument).expect("a rule");
    manifest.strange_argument("do", arguments.as_object().expect("arguments"), known).is_none()
}

const USER: &str = "to = { from = ['user'] }";

#[test]
fn a_text_is_what_the_person_wrote_letter_by_letter_and_whole() {
    let one = |said: &str, value: &str| passes(USER, said, &json!({"to": value}));
    for (said, value) in [
        ("Send 10 to GB29NWBK60161331926819, please", "GB29NWBK60161331926819"),
        ("Ask Alice.", "Alice"),
        ("Is it Alice's?", "Alice"),
        ("post to #general: hello", "general"),
        ("tell @bob", "bob"),
        ("Book 'Le Marais Boutique' for me", "Le Marais Boutique"),
        ("use '1j1l-2k3j'.", "1j1l-2k3j"),
        ("Straße „Zum Löwen“ bitte", "Zum Löwen"),
        ("aaa aa", "aa"),
    ] {
        assert!(one(said, value), "{value:?} stands in {said:?}");
    }
    for (said, value) in [
        ("Send 10 to GB29NWBK60161331926819", "GB29NWBK601613319268"),
        ("Send 10 to GB29NWBK60161331926819", "29NWBK60161331926819"),
        ("Send 10 to GB29NWBK60161331926819", "gb29nwbk60161331926819"),
        ("Send 10 to GB29NWBK60161331926819", "GB29NWBK60161331926819 "),
        ("Send 10 to GB29NWBK60161331926819", "GB29NWBK60161331926819\n"),
        ("Send 10 to GB29NWBK60161331926819", "ＧＢ29NWBK60161331926819"),
        ("Ask Alice.", "Аlice"),
        ("Ask Alice\u{301}", "Alice"),
        ("Ask Alice\u{200d}x", "Alice"),
        ("Ask ann.lee or ann-lee, ann_lee, ann@lee.de", "ann"),
        ("it costs 12.50, at 12:30, on 2024-12-01, 12/7, 12%", "12"),
        ("1,200", "1"),
        ("1,200", "200"),
        ("read https://a.example/x", "x"),
        ("aaa", "aa"),
        ("anything", ""),
        ("any thing", " "),
        ("say \"hello\"", "\""),
        ("", "x"),
    ] {
        assert!(!one(said, value), "{value:?} is not in {said:?}");
    }
}

#[test]
fn every_element_counts_and_nothing_hides_in_a_form() {
    let said = "to ann@a.example and bob@a.example, 7 times, true";
    let email = "to = { kind = 'email', from = ['user'] }";
    assert!(passes(email, said, &json!({"to": ["ann@a.example", "BOB@A.example"]})));
    assert!(
        passes(email, said, &json!({"to": []})) && passes(email, said, &json!({"to": null})) && passes(email, said, &json!({}))
    );
    assert!(
        passes(USER, said, &json!({"to": 7}))
            && passes(USER, said, &json!({"to": "7"}))
            && passes(USER, said, &json!({"to": true}))
    );
    for to in [
        json!(["ann@a.example", "eve@e.example"]),
        json!([["ann@a.example", ["eve@e.example"]]]),
        json!({"address": "ann@a.example"}),
        json!([{"eve@e.example": "ann@a.example"}]),
        json!(["ann@a.example", ""]),
        json!("ann@a.example,eve@e.example"),
        json!("ann@a.example\neve@e.example"),
        json!("ann@a.example eve@e.example"),
        json!(vec!["ann@a.example"; VALUES_MAX + 1]),
        json!(8),
        json!(false),
    ] {
        assert!(!passes(email, said, &json!({"to": to})), "{to}");
    }
    assert!(!passes(USER, said, &json!({"to": 7.0})) && !passes(USER, said, &json!({"to": 77})));
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    assert!(!passes(USER, &long, &json!({"to": long})), "too long to be a value");
    assert!(!passes(USER, said, &json!({"to": "7", "bcc": "7"})), "an argument without a rule");
    assert!(passes("to = 'any'", said, &json!({"to": {"x": ["anything"]}})));
}

#[test]
fn an_email_address_is_one_address_and_nothing_beside_it() {
    let said = "Write to ann@a.example, <Bob.Lee+x@a.example>; and not to x%evil@b.example or eve@c.example/.";
    let one = |value: &str| {
        passes(
            "to = { kind = 'email', from = ['user'], allow = ['*@corp.example', 'boss@b.example'] }",
            said,
            &json!({"to": value}),
        )
    };
    for good in ["ann@a.example", "Ann@A.Example", "bob.lee+x@a.example", "x@corp.example", "boss@b.example"] {
        assert!(one(good), "{good}");
    }
    for bad in [
        "nn@a.example",
        "ann@a.exampl",
        "ann@a.example.evil.example",
        "Ann <ann@a.example>",
        "ann@a.example.",
        "a@nn@a.example",
        "evil@b.example",
        "ann@a。example",
        "ａnn@a.example",
        "x@evil-corp.example",
        "x@corp.example.evil.example",
        "x@sub.corp.example",
        "@corp.example",
        "boss@b.example@corp.example",
        "\"a\"@corp.example",
        "x y@corp.example",
        "x\0@corp.example",
        "ann",
        "",
    ] {
        assert!(!one(bad), "{bad}");
    }
}

#[test]
fn a_host_is_compared_as_a_host_and_an_address_with_all_of_it() {
    let said = "Read www.shop.example/list?page=2 and https://b.example:8443/x! Not evil.example.org.";
    let host = |value: &str| {
        passes("to = { kind = 'host', from = ['user'], allow = ['*.corp.example', 'corp.example'] }", said, &json!({"to": value}))
    };
    for good in [
        "www.shop.example",
        "https://www.shop.example/other",
        "HTTP://WWW.SHOP.EXAMPLE:80/",
        "https://b.example:8443/y",
        "corp.example",
        "https://a.b.corp.example/x",
        "http://corp.example:443",
    ] {
        assert!(host(good), "{good}");
    }
    for bad in [
        "shop.example",
        "evil.example",
        "https://www.shop.example.evil.example",
        "https://www.shop.example@evil.example/",
        "https://evil.example/www.shop.example",
        "https://evil.example\\@www.shop.example",
        "https://evil.example#www.shop.example",
        "https://evil.example?www.shop.example",
        "https://www.shop.example:8080/",
        "b.example",
        "ftp://www.shop.example/",
        "javascript://www.shop.example/%0aalert(1)",
        "//www.shop.example",
        "https:www.shop.example",
        "http:///www.shop.example",
        "https://www.shop.example%2eevil.example/",
        "https://ｗww.shop.example",
        "www.shop.example\t",
        " www.shop.example",
        "x corp.example",
        "evilcorp.example",
        "corp.example.evil.example",
        "https://corp.example:99/",
        "https://user:pw@corp.example/",
        "",
        "https://",
    ] {
        assert!(!host(bad), "{bad}");
    }
    let whole = |value: &str| passes("to = { kind = 'url', from = ['user'] }", said, &json!({"to": value}));
    assert!(whole("https://www.shop.example/list?page=2") && whole("b.example:8443/x"));
    assert!(
        !whole("www.shop.example")
            && !whole("www.shop.example/list?page=2&told=secret")
            && !whole("www.shop.example/list?page=2#x")
    );
}

#[test]
fn links_in_free_text_are_found_in_every_dress() {
    let said = "Tell them of www.good.example please";
    let text =
        |value: &str| passes("to = { kind = 'links', from = ['user'], allow = ['*.corp.example'] }", said, &json!({"to": value}));
    for good in [
        "no link at all, e.g. 12.5 of 2024-01-02, i.e. at 6.30pm. And so on...",
        "see www.good.example/more, or https://x.corp.example.",
        "write to bob@b.example",
        "in notes.docx and Report.PDF",
        "",
        "a\nb",
    ] {
        assert!(text(good), "{good}");
    }
    for bad in [
        "https://evil.example",
        "HTTPS://EVIL.EXAMPLE/",
        "see evil.example",
        "[here](evil.example/x)",
        "<a href=evil.example>",
        "//evil.example/x",
        "https:evil.example",
        "https:/evil.example",
        "hxxp://evil.example",
        "ftp://www.good.example",
        "www.good.example.evil.example",
        "https://www.good.example@evil.example",
        "www.good.example\\@evil.example",
        "www.good.example@evil.example/x",
        "evil\u{200b}.example",
        "evil。example",
        "evil．ｅｘａｍｐｌｅ",
        "evil․example",
        "xn--80ak6aa92e.xn--p1ai",
        "éвил.рф",
        "http://1.2.3.4/x",
        "1.2.3.4/x",
        "http://[::1]/",
        "http://2130706433/",
        "x.evil.example:8080",
        "javascript://evil",
        "www.good.example evil.example",
        "www.good.example,evil.example",
        "see:evil.example",
        "(evil.example)",
        "“evil.example”",
        "https://www.good.example:99/",
    ] {
        assert!(!text(bad), "{bad}");
    }
}

#[test]
fn a_tools_word_counts_for_the_fields_that_a_rule_names_and_no_others() {
    let field = "to = { from = [{ tool = 'look', field = 'id' }] }";
    let mut known = Known::default();
    known.returned(
        "look",
        &json!({"content": [], "structuredContent": {"result": [{"id": 7, "note": "13"}, {"deep": {"id": ["x y"]}}]}}),
    );
    known.returned("do", &json!({"structuredContent": {"id": "99"}}));
    known.returned("look", &json!({"structuredContent": {"id": "66"}, "isError": true}));
    let one = |rule: &str, known: &Known, value: Value| knowing(rule, known, &json!({"to": value}));
    for good in [json!(7), json!("7"), json!("x y"), json!([7, "x y"])] {
        assert!(one(field, &known, good.clone()), "{good}");
    }
    for bad in [json!("13"), json!("x"), json!("99"), json!("66"), json!("note"), json!("result")] {
        assert!(!one(field, &known, bad.clone()), "{bad}");
    }
    assert!(!passes(field, "it is 7", &json!({"to": 7})), "the person's word is not asked for here");

    let named = "to = { from = [{ tool = 'look', field = 'id', named = 'file' }] }";
    let mut files = Known::default();
    files.returned("look", &json!({"structuredContent": [{"id": 1, "file": "Plan.docx"}, {"id": 2, "file": "Plan"}, {"id": 3}, {"id": 4, "file": ""}]}));
    files.said("Delete plan.DOCX please");
    assert!(one(named, &files, json!(1)));
    assert!(!one(named, &files, json!(2)) && !one(named, &files, json!(3)) && !one(named, &files, json!(4)));

    let within = "to = { kind = 'url', from = [{ tool = 'look', field = 'body', within = true }] }";
    let mut mail = Known::default();
    mail.returned(
        "look",
        &json!({"content": [{"type": "text", "text": "[{\"body\": \"read www.a.example/x!\", \"from\": \"www.b.example\"}]"}]}),
    );
    mail.returned("look", &json!({"content": [{"type": "text", "text": "body: www.c.example"}]}));
    assert!(one(within, &mail, json!("https://www.a.example/x")));
    assert!(!one(within, &mail, json!("www.a.example/x?told=1")) && !one(within, &mail, json!("www.b.example")));
    assert!(!one(within, &mail, json!("www.c.example")), "what has no fields has none of this name");
    let all = "to = { kind = 'url', from = [{ tool = 'look', within = true }] }";
    assert!(one(all, &mail, json!("www.c.example")) && one(all, &mail, json!("www.b.example")));
}

#[test]
fn what_is_known_is_bounded_and_what_is_older_is_forgotten() {
    let mut known = Known::default();
    known.said("first");
    known.said(&"x".repeat(1 << 20));
    assert!(knowing(USER, &known, &json!({"to": "first"})), "what is too long for all of it is not taken");
    for _ in 0..300 {
        known.said(&"y ".repeat(512));
    }
    assert!(!knowing(USER, &known, &json!({"to": "first"})) && knowing(USER, &known, &json!({"to": "y"})));
}

#[test]
fn a_rule_that_can_not_be_meant_is_a_fault() {
    for good in [
        "to = 'any'",
        USER,
        "to = { allow = ['x', 'a b'] }",
        "to = { kind = 'host', allow = ['*.a.example', 'b.example'] }",
        "to = { kind = 'email', allow = ['*@a.example', 'x@a.example'] }",
    ] {
        manifest(good).expect(good);
    }
    for (bad, says) in [
        ("to = 'all'", "\"any\" or a table"),
        ("to = {}", "needs `from` or `allow`"),
        ("to = { from = ['agent'] }", "\"user\" or a table"),
        ("to = { from = [{ tool = 'nothing' }] }", "does not list"),
        ("to = { from = [{ tool = 'look', named = 'x' }] }", "`named` needs `field`"),
        ("to = { from = [{ field = 'x' }] }", "missing field `tool`"),
        ("to = { from = ['user'], kind = 'iban' }", "unknown variant `iban`"),
        ("to = { from = ['user'], deny = ['x'] }", "unknown field `deny`"),
        ("to = { allow = [''] }", "not of the argument's kind"),
        ("to = { kind = 'host', allow = ['*'] }", "not of the argument's kind"),
        ("to = { kind = 'host', allow = ['*.'] }", "not of the argument's kind"),
        ("to = { kind = 'host', allow = ['*.com'] }", "not of the argument's kind"),
        ("to = { kind = 'host', allow = ['https://a.example/'] }", "not of the argument's kind"),
        ("to = { kind = 'email', allow = ['*'] }", "not of the argument's kind"),
        ("to = { kind = 'email', allow = ['*@*.example'] }", "not of the argument's kind"),
        ("to = { kind = 'links', allow = ['a.*'] }", "not of the argument's kind"),
    ] {
        let fault = manifest(bad).expect_err(bad);
        assert!(fault.contains(says), "{bad}: {fault}");
    }
}

#[test]
fn a_tool_without_rules_takes_what_it_is_given_and_one_with_none_takes_nothing() {
    let parse = |more: &str| Manifest::parse(&format!("{HEAD}[tools.do]\neffect='write'\n{more}")).expect("a manifest");
    let arguments = json!({"x": {"y": 1}});
    let arguments = arguments.as_object().expect("arguments");
    assert_eq!(parse("").strange_argument("do", arguments, &Known::default()), None);
    assert_eq!(parse("arguments = {}").strange_argument("do", arguments, &Known::default()), Some("x"));
    assert_eq!(parse("arguments = {}").strange_argument("nothing", arguments, &Known::default()), None, "refused elsewhere");
    let vouching = parse("arguments.x = { from = [{ tool = 'look' }] }");
    assert!(vouching.vouches("look") && !vouching.vouches("do"));
}

proptest! {
    /// Nothing that is not in the text is ever found, and what is set apart by spaces always is.
    #[test]
    fn whatever_is_found_stands_there(before in "\\PC{0,12}", value in "[\\PC&&[^ ]]{1,8}", after in "\\PC{0,12}") {
        let text = format!("{before}{value}{after}");
        if words::stands(&value, &text) {
            prop_assert!(text.contains(&value));
        }
        let plain = value.chars().all(char::is_alphanumeric) && !value.contains('z');
        let (apart, longer, shifted) = (format!("{before} {value} {after}"), format!("{value}z"), format!("z{value}"));
        prop_assert!(!plain || words::stands(&value, &apart));
        // With a letter more on either side it is another word.
        prop_assert!(!plain || !(words::stands(&value, &longer) || words::stands(&value, &shifted)));
    }

    /// An address that the rules take for one host is that host's for the parser that most programs have.
    #[test]
    fn a_host_is_the_one_that_others_would_ask(text in "(https?://)?[a-z@:/\\\\.?#%0-9 -]{1,24}") {
        if let Some(host) = links::host_of(&text) {
            let name = host.split(':').next().unwrap_or_default();
            let with = if text.contains("://") && text.starts_with("http") { text.clone() } else { format!("https://{text}") };
            let start = with.split_once("://").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            prop_assert!(start.trim_end_matches('.').starts_with(name), "{text} is not {name}");
            let behind = start.get(name.len()..).and_then(|rest| rest.chars().next());
            prop_assert!(matches!(behind, None | Some('/' | '?' | '#' | ':' | '.')), "{text}: {behind:?}");
            prop_assert!(!start.split(['/', '?', '#']).next().unwrap_or_default().contains(['@', '\\', '%']));
        }
    }

    /// A text that is free of links passes; one with a strange link never does, whatever stands around it.
    #[test]
    fn a_strange_link_is_never_lost(before in "[a-zA-Z ,.!?:/@=&\"'()-]{0,16}", after in "[a-zA-Z ,!?:/@=&\"'()-]{0,16}") {
        let text = format!("{before} evil.example/{after}");
        let found = passes("to = { kind = 'links', from = ['user'] }", "www.good.example", &json!({"to": text}));
        prop_assert!(!found, "{text}");
    }
}
