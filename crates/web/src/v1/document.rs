//! The document of this API, in the words of OpenAPI 3.1: what stands at each function, and for each route what a request must show and
//! how it may be refused. It says nothing of an installation.
//!
//! A new route needs its row in the router, `#[utoipa::path]` at its function, the function's name below, and its refusals in
//! [`super::refusals`]. A test says which of them is missing.

use super::message::Message;
use super::refusals;
use super::routes::{Door, Route};
use crate::answer::Refused;
use crate::hosts::{confirm, tickets};
use crate::{apps, conversations, host_users, person_tools, run_events, undo, user_data};
use axum::http::{HeaderName, Method, header};
use serde_json::json;
use std::sync::LazyLock;
use utoipa::OpenApi;
use utoipa::openapi::extensions::{Extensions, ExtensionsBuilder};
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{RefOr, Required, Response};

/// An id as it stands in an address: in lower case, and in no other form.
const ID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = document().to_pretty_json().expect("a document is JSON");
    text.push('\n');
    text
});

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hexward for host applications",
        version = "1",
        description = "What the back end of an application asks for its users, at the callers' listener. JSON in UTF-8; times in \
                       milliseconds since 1970, money in micro-dollars, ids as UUIDs in lower case. What belongs to somebody else is \
                       answered like what exists nowhere. A body has at most 64 KiB, unless its operation says otherwise, and no \
                       unknown keys; an answer may have more keys than stand here. `x-hexward-action` is what a key must be for.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        conversations::create,
        conversations::list,
        conversations::show,
        conversations::send,
        conversations::forget,
        host_users::run,
        host_users::user,
        user_data::erase,
        user_data::export,
        run_events::stream,
        run_events::stop,
        run_events::answer_challenge,
        tickets::issue,
        tickets::preflight,
        confirm::listed,
        confirm::link,
        undo::undo,
        apps::resource,
        person_tools::call,
        show,
    ),
    components(schemas(Refused, Message, runs::Event))
)]
struct Described;

/// The document as it is served and kept in `docs/openapi.json`.
#[must_use]
pub fn text() -> &'static str {
    &TEXT
}

/// `GET /v1/openapi.json`
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "describe",
    tag = "api",
    summary = "Reads this document",
    description = "Any service key will do; it needs no assertion.",
    responses((status = 200, description = "This document.", body = Value)),
)]
pub(crate) async fn show() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], text())
}

fn document() -> utoipa::openapi::OpenApi {
    let mut document = Described::openapi();
    for Route { method, path, door, .. } in super::routes().0 {
        if let Some(operation) = document.paths.paths.get_mut(path).and_then(|item| operation_of(item, &method)) {
            complete(operation, door);
        }
    }
    if let Some(components) = document.components.as_mut() {
        components.security_schemes.extend(schemes().map(|(name, scheme)| (name.to_owned(), scheme)));
        components.schemas.insert("StreamedEvent".to_owned(), RefOr::T(streamed()));
        components.responses.extend(refusals::usual());
    }
    document
}

fn operation_of<'a>(item: &'a mut PathItem, method: &Method) -> Option<&'a mut Operation> {
    match method.as_str() {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "DELETE" => item.delete.as_mut(),
        "OPTIONS" => item.options.as_mut(),
        _ => None,
    }
}

/// What a route's row says of it, beside what stands at its function.
fn complete(operation: &mut Operation, door: Door) {
    let named = |names: &[&str]| names.iter().fold(SecurityRequirement::default(), |all, name| all.add(*name, [""; 0]));
    operation.security = Some(match door {
        Door::Host(_) => vec![named(&["serviceKey", "assertion"])],
        Door::Ticket => vec![named(&["serviceKey", "assertion"]), named(&["ticket"])],
        Door::Key => vec![named(&["serviceKey"])],
        Door::Preflight => vec![SecurityRequirement::default()],
    });
    if let Some(action) = door.action() {
        operation.extensions = Some(ExtensionsBuilder::new().add("x-hexward-action", action.as_str()).build());
    }
    operation.parameters.iter_mut().flatten().for_each(complete_parameter);
    operation.responses.responses.values_mut().for_each(name_links);
    let id = operation.operation_id.clone().unwrap_or_default();
    operation.responses.responses.extend(refusals::responses(door, &id));
}

fn complete_parameter(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    if schema.format == Some(SchemaFormat::Custom("uuid".to_owned())) {
        schema.pattern = Some(ID.to_owned());
    }
    // What may be left out is not there; an address and a header have no null.
    if parameter.required == Required::False && matches!(schema.schema_type, SchemaType::Array(_)) {
        schema.schema_type = SchemaType::Type(Type::String);
    }
}

/// The library writes this one name otherwise than the specification has it.
fn name_links(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    for link in response.links.values_mut() {
        if let RefOr::T(link) = link {
            let id = std::mem::take(&mut link.operation_id);
            link.extensions = Some(Extensions::from_iter([("operationId", id)]));
        }
    }
}

fn schemes() -> [(&'static str, SecurityScheme); 3] {
    let bearer = |told: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(told.to_owned())).build())
    };
    let assertion = ApiKeyValue::with_description(
        "x-hexward-user",
        "A JSON Web Token (RFC 7519) in the compact form, at most 8 KiB, that the host signed: `iss`, `aud`, `sub` and `jti` (1 to 200 \
         characters each), `iat` and `exp` at most 300 seconds apart. The same key may show it again to read; a request that changes \
         something needs one that changed nothing before.",
    );
    [
        ("serviceKey", bearer("A service key of the host: `hxw_...`.")),
        ("assertion", SecurityScheme::ApiKey(ApiKey::Header(assertion))),
        ("ticket", bearer("What `issueTicket` answers: `hxt_...`. It opens the events of its run and nothing else.")),
    ]
}

/// One event of a stream, as readers of server-sent events take it apart.
fn streamed() -> Schema {
    let plain = |told: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(told));
    let data = plain("An `Event`.").content_media_type("application/json");
    // A keyword of JSON Schema that has no method of its own.
    let data = data.extensions(Some(Extensions::from_iter([("contentSchema", json!({"$ref": "#/components/schemas/Event"}))])));
    let event = ObjectBuilder::new().property("id", plain("Its number in the run: `seq`.")).property("data", data);
    Schema::Object(event.required("id").required("data").description(Some("A server-sent event.")).build())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn operations() -> Vec<(String, String, Value)> {
        let document: Value = serde_json::from_str(text()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let of = |(path, item): (&String, &Value)| {
            let item = item.as_object().expect("an item").clone();
            item.into_iter().map(|(method, operation)| (method.to_uppercase(), path.clone(), operation)).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }

    #[test]
    fn the_document_has_the_router_s_routes_and_no_others() {
        let described: BTreeSet<(String, String)> = operations().into_iter().map(|(method, path, _)| (method, path)).collect();
        let routes: BTreeSet<(String, String)> =
            crate::v1::routes().0.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
        let missing: Vec<_> = routes.difference(&described).collect();
        let invented: Vec<_> = described.difference(&routes).collect();
        assert!(missing.is_empty() && invented.is_empty(), "not described: {missing:?}; not there: {invented:?}");
    }

    #[test]
    fn every_operation_is_told_in_full() {
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations() {
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            assert!(ids.insert(id.clone()), "{id} is there twice");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            assert!(!operation["security"].as_array().expect("security").is_empty(), "{method} {path}");
            assert!(refusals::of(&id).is_some(), "{id}: say in v1/refusals.rs how it may be refused");
            let named: Vec<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
            let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
            let told: Vec<&str> =
                parameters.iter().filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
            assert_eq!(told, named, "{method} {path}");
        }
    }

    #[test]
    fn what_is_meant_is_there() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    found.extend(
                        fields
                            .get("operationId")
                            .filter(|_| fields.contains_key("parameters"))
                            .and_then(Value::as_str)
                            .map(str::to_owned),
                    );
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document: Value = serde_json::from_str(text()).expect("JSON");
        let ids: BTreeSet<String> = operations()
            .into_iter()
            .filter_map(|(_, _, operation)| operation["operationId"].as_str().map(str::to_owned))
            .collect();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for name in found {
            let there = name.strip_prefix('#').map_or(ids.contains(&name), |pointer| document.pointer(pointer).is_some());
            assert!(there, "{name} is nowhere");
        }
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn the_file_is_as_the_code_says() {
        let file = include_str!("../../../../docs/openapi.json");
        assert!(file == text(), "docs/openapi.json: write it anew with `hexward openapi > docs/openapi.json`");
    }
}
