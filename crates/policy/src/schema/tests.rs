use super::*;
use serde_json::{Map, json};

fn read(schema: &Value) -> ArgumentSchema {
    ArgumentSchema::read(schema).unwrap_or_else(|fault| panic!("{schema}: {fault}"))
}

fn fits(schema: &Value, value: &Value) -> bool {
    read(schema).check(value).is_ok()
}

fn faults(schema: &Value, value: &Value) -> Vec<String> {
    read(schema).check(value).expect_err("it does not fit").faults
}

/// Each schema with values that fit and values that don't, as the draft says.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_draft_is_kept_keyword_by_keyword() {
    let defs = json!({"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "value": {"type": "integer"}}, "additionalProperties": false}}, "$ref": "#/$defs/node"});
    let conditional = json!({"if": {"properties": {"by": {"const": "phone"}}, "required": ["by"]}, "then": {"required": ["phone"]}, "else": {"required": ["email"]}});
    let closed = json!({"allOf": [{"properties": {"a": true}}, {"anyOf": [{"properties": {"b": {"type": "integer"}}, "required": ["b"]}, true]}], "unevaluatedProperties": false});
    for (schema, good, bad) in [
        (
            json!({"type": "integer"}),
            vec![json!(1), json!(1.0), json!(u64::MAX)],
            vec![json!(1.5), json!("1"), json!(null), json!(true)],
        ),
        (json!({"type": ["string", "null"]}), vec![json!("a"), json!(null)], vec![json!(1), json!([])]),
        (
            json!({"enum": [1, "a", null, {"x": [1]}]}),
            vec![json!(1.0), json!("a"), json!(null), json!({"x": [1.0]})],
            vec![json!(2), json!("A"), json!({"x": [1, 1]})],
        ),
        (json!({"const": 0}), vec![json!(0), json!(0.0)], vec![json!(false), json!("0")]),
        (
            json!({"minimum": 1, "exclusiveMaximum": 3}),
            vec![json!(1), json!(2.9), json!("x")],
            vec![json!(0), json!(3), json!(0.99)],
        ),
        (
            json!({"maximum": 9_007_199_254_740_993_u64}),
            vec![json!(9_007_199_254_740_993_u64)],
            vec![json!(9_007_199_254_740_994_u64)],
        ),
        (json!({"multipleOf": 0.01}), vec![json!(4.02), json!(0), json!(1)], vec![json!(0.001), json!(1.005), json!(1e308)]),
        (json!({"multipleOf": 3}), vec![json!(9), json!(-3)], vec![json!(10), json!(4.5)]),
        (
            json!({"minLength": 2, "maxLength": 3.0}),
            vec![json!("ab"), json!("\u{1f600}\u{1f600}"), json!(1)],
            vec![json!("a"), json!("abcd")],
        ),
        (json!({"pattern": "b+"}), vec![json!("abc"), json!(7)], vec![json!("ac")]),
        (
            json!({"items": {"type": "integer"}, "minItems": 1, "maxItems": 2}),
            vec![json!([1]), json!([1, 2]), json!({})],
            vec![json!([]), json!(["a"]), json!([1, 2, 3])],
        ),
        (
            json!({"prefixItems": [{"type": "integer"}], "items": false}),
            vec![json!([]), json!([1])],
            vec![json!(["a"]), json!([1, 2])],
        ),
        (
            json!({"items": [{"type": "integer"}], "additionalItems": {"type": "string"}}),
            vec![json!([1, "a"])],
            vec![json!([1, 2]), json!(["a"])],
        ),
        (
            json!({"uniqueItems": true}),
            vec![json!([1, "1", true, [1], [2]])],
            vec![json!([1, 1.0]), json!([{"a": 1, "b": 2}, {"b": 2, "a": 1}])],
        ),
        (
            json!({"contains": {"const": 1}, "maxContains": 2}),
            vec![json!([1]), json!([1, 1, 2])],
            vec![json!([]), json!([2]), json!([1, 1, 1])],
        ),
        (json!({"contains": {"const": 1}, "minContains": 0}), vec![json!([])], vec![]),
        (
            json!({"required": ["a"], "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            vec![json!({"a": "x"})],
            vec![json!({}), json!({"a": 1}), json!({"a": "x", "b": 1})],
        ),
        (
            json!({"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": {"type": "string"}}),
            vec![json!({"n_a": 1, "b": "x"})],
            vec![json!({"n_a": "x"}), json!({"b": 1})],
        ),
        (
            json!({"propertyNames": {"maxLength": 2}, "minProperties": 1}),
            vec![json!({"ab": 1})],
            vec![json!({"abc": 1}), json!({})],
        ),
        (
            json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}}),
            vec![json!({"b": 1}), json!({"a": 1, "b": 1}), json!({"c": 1, "d": 1})],
            vec![json!({"a": 1}), json!({"c": 1})],
        ),
        (
            json!({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}),
            vec![json!({})],
            vec![json!({"a": 1}), json!({"c": 1})],
        ),
        (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), vec![json!(1), json!(2)], vec![json!(0), json!(3)]),
        (json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}), vec![json!("a"), json!(5)], vec![json!(4)]),
        (json!({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}), vec![json!(2), json!(3)], vec![json!(6), json!(5)]),
        (json!({"not": {"type": "string"}}), vec![json!(1)], vec![json!("a")]),
        (
            conditional,
            vec![json!({"by": "phone", "phone": 1}), json!({"email": 1})],
            vec![json!({"by": "phone", "email": 1}), json!({})],
        ),
        (
            defs,
            vec![json!({"next": {"next": {"value": 1}}})],
            vec![json!({"next": {"next": {"value": "x"}}}), json!({"next": {"other": 1}})],
        ),
        (
            json!({"$defs": {"a": {"$anchor": "here", "type": "integer"}}, "properties": {"x": {"$ref": "#here"}}}),
            vec![json!({"x": 1})],
            vec![json!({"x": "1"})],
        ),
        (
            json!({"$dynamicAnchor": "n", "properties": {"x": {"$dynamicRef": "#n"}}, "additionalProperties": false}),
            vec![json!({"x": {"x": {}}})],
            vec![json!({"x": {"y": {}}})],
        ),
        (
            json!({"properties": {"a": {"$ref": "#/definitions/~0a~1b"}}, "definitions": {"~a/b": {"type": "null"}}}),
            vec![json!({"a": null})],
            vec![json!({"a": 1})],
        ),
        (closed, vec![json!({"a": 1}), json!({"a": 1, "b": 1})], vec![json!({"c": 1}), json!({"b": "x"})]),
        (
            json!({"prefixItems": [true], "contains": {"type": "string"}, "unevaluatedItems": false}),
            vec![json!(["a"]), json!([1, "a"])],
            vec![json!([1, 2, "a"])],
        ),
        (json!(true), vec![json!(1)], vec![]),
        (json!(false), vec![], vec![json!(1)]),
        (
            json!({"format": "email", "x-unknown": 1, "default": {"$ref": 7}, "const": {"$ref": "#/nowhere"}}),
            vec![json!({"$ref": "#/nowhere"})],
            vec![json!({})],
        ),
    ] {
        good.iter().for_each(|value| assert!(fits(&schema, value), "{value} fits {schema}"));
        bad.iter().for_each(|value| assert!(!fits(&schema, value), "{value} does not fit {schema}"));
    }
}

#[test]
fn what_does_not_fit_is_said_so_that_it_can_be_corrected() {
    let coords = json!({"type": "object", "required": ["userId", "path"], "additionalProperties": false, "properties": {
        "userId": {"type": "string"}, "path": {"type": "array", "items": {"type": "integer", "minimum": -6, "maximum": 6}},
    }});
    let schema = json!({"type": "object", "required": ["coords", "title"], "properties": {
        "coords": {"anyOf": [coords, {"type": "string"}]}, "title": {"type": "string", "maxLength": 5}, "kind": {"enum": ["a", "b"]},
    }, "additionalProperties": false});
    assert_eq!(
        faults(&schema, &json!({"coords": {"userId": "u", "path": [1, 9]}, "title": "abcdef", "kind": 1, "extra": 0})),
        [
            "coords: fits none of the 2 forms: (coords.path[1]: may be at most 6) or (coords: must be text)",
            "extra: there is no such field; there are: coords, kind, title",
            "kind: must be one of \"a\", \"b\"",
            "title: may have at most 5 characters; it has 6",
        ]
    );
    assert_eq!(faults(&schema, &json!({})), ["coords: is missing", "title: is missing"]);
    assert_eq!(faults(&schema, &json!([])), ["arguments: must be an object"]);
    let misfit = read(&json!({"items": {"type": "integer"}})).check(&json!(vec!["a"; 20])).expect_err("it does not fit");
    assert_eq!((misfit.faults.len(), misfit.count), (6, 20));
    let text = misfit.text("look");
    assert!(text.starts_with("The arguments do not fit look") && text.ends_with("- and 14 more"), "{text}");
    let hostile = format!("a\n{}", "x".repeat(500));
    let told = faults(&json!({"additionalProperties": false}), &json!({hostile: 1}));
    assert!(told.iter().all(|fault| fault.chars().count() < 700 && !fault.contains('\n')), "{told:?}");
}

#[test]
fn what_is_no_schema_or_leads_out_of_itself_is_not_used() {
    let fault = |schema: Value| ArgumentSchema::read(&schema).err().unwrap_or_else(|| panic!("{schema} was read"));
    for outside in
        ["https://example.com/schema.json", "other.json", "file:///etc/passwd", "#/nowhere", "#nowhere", "#/properties", ""]
    {
        let fault = fault(json!({"properties": {"a": {"$ref": outside}}}));
        assert_eq!(fault.place, "/properties/a/$ref", "{outside}");
    }
    for bad in [
        json!("x"),
        json!(null),
        json!({"type": "objct"}),
        json!({"type": []}),
        json!({"properties": []}),
        json!({"properties": {"a": 1}}),
        json!({"required": "a"}),
        json!({"anyOf": []}),
        json!({"enum": 1}),
        json!({"maxLength": -1}),
        json!({"minimum": "1"}),
        json!({"exclusiveMinimum": true}),
        json!({"multipleOf": 0}),
        json!({"pattern": "("}),
        json!({"patternProperties": {"[": {}}}),
        json!({"uniqueItems": 1}),
        json!({"$schema": "https://example.com/dialect"}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#"}),
        json!({"properties": {"a": {"$id": "https://example.com/a"}}}),
        json!({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}),
    ] {
        let fault = fault(bad.clone());
        assert!(!fault.what.is_empty(), "{bad}");
    }
    let text = fault(json!({"properties": {"a": {"type": "objct"}}})).to_string();
    assert_eq!(text, "at /properties/a/type: it must name types of JSON");
    assert!(fits(&json!({"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.com/a"}), &json!({})));
}

#[test]
fn size_and_depth_are_bounded() {
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"properties": {"a": deep}});
    }
    assert!(ArgumentSchema::read(&deep).is_err());
    let large = json!({"description": "x".repeat(SCHEMA_BYTES_MAX)});
    assert!(ArgumentSchema::read(&large).is_err());
}

/// Sixty definitions, each of which names the next one several times.
fn fan(last: bool, form: impl Fn(Value) -> Value) -> Value {
    let next = |number: usize| json!({"$ref": format!("#/$defs/d{}", number + 1)});
    let mut defs: Map<String, Value> = (0..60).map(|number| (format!("d{number}"), form(next(number)))).collect();
    defs.insert("d60".to_owned(), Value::Bool(last));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

/// It would not come to its end otherwise.
#[test]
fn no_schema_keeps_the_gateway_busy() {
    let mut nested = json!(1);
    for _ in 0..60 {
        nested = json!([nested]);
    }
    let twice = json!({"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [{"items": {"$ref": "#/$defs/n"}}, {"items": {"$ref": "#/$defs/n"}}]}}});
    for (schema, value) in [
        (json!({"$ref": "#"}), json!({})),
        (json!({"allOf": [{"$ref": "#"}]}), json!({})),
        (json!({"not": {"$ref": "#"}}), json!({})),
        (fan(true, |next| json!({"allOf": [next.clone(), next]})), json!({})),
        (fan(false, |next| json!({"anyOf": [next.clone(), {"not": {"oneOf": [next.clone(), next]}}]})), json!({})),
        (twice, nested),
        (json!({"items": {"uniqueItems": true}}), json!(vec![vec!["x".repeat(30_000)]; 40])),
        (json!({"items": {"pattern": "^(?:(a+)\\1?)+c"}}), json!(vec!["a".repeat(4_000); 100])),
        (json!({"items": {"pattern": "^(?!b)a*$"}}), json!(vec!["a"; 100_000])),
        (json!({"items": {"enum": (0..2_000).collect::<Vec<i32>>()}}), json!(vec![-1; 20_000])),
    ] {
        let schema = read(&schema);
        let misfit = schema.check(&value);
        let told = misfit.as_ref().map_or_else(|misfit| misfit.faults.join(" "), |()| String::new());
        // The unique items are many bytes, and no many steps.
        assert!(told.contains("takes too long") || misfit.is_ok(), "{told}");
    }
    // What people really send stays far below.
    let many = json!({"items": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]+$"}, "b": {"type": "integer"}}, "required": ["a"]}});
    assert!(fits(&many, &json!(vec![json!({"a": "abc", "b": 1}); 5_000])));
}
