//! How each operation may be refused: the codes by status, on one screen.

use super::routes::Door;
use policy::DenialCode as Denial;
use std::collections::BTreeMap;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

type Codes = &'static [(u16, &'static str)];

/// Of whoever shows a key.
const KEY: Codes = &[(401, "key"), (500, "internal"), (503, "store.unavailable")];
/// Of whoever speaks for a user.
const ASSERTION: Codes = &[
    (401, Denial::AssertionMissing.as_str()),
    (401, Denial::AssertionMalformed.as_str()),
    (401, Denial::AssertionAlgorithm.as_str()),
    (401, Denial::AssertionKey.as_str()),
    (401, Denial::AssertionSignature.as_str()),
    (401, Denial::AssertionIssuer.as_str()),
    (401, Denial::AssertionAudience.as_str()),
    (401, Denial::AssertionTime.as_str()),
    (401, Denial::AssertionReplayed.as_str()),
    (403, Denial::HostAction.as_str()),
    (503, Denial::AssertionKeys.as_str()),
];
const TICKET: Codes = &[(401, Denial::TicketInvalid.as_str()), (403, "origin"), (409, Denial::TicketInUse.as_str())];
/// Of what has a body.
const BODY: Codes = &[
    (400, "body.utf8"),
    (400, "body.json"),
    (400, "body.cut"),
    (408, "body.slow"),
    (413, "body.too_large"),
    (415, "body.content_type"),
];
const NOT_FOUND: Codes = &[(404, "not_found")];
const USUAL: [Codes; 4] = [KEY, ASSERTION, BODY, NOT_FOUND];
/// Of what names an app in its body or query.
const APP: Codes = &[(400, "app.which"), (403, Denial::HostApp.as_str()), (404, "not_found")];

/// What an operation may be refused with beside what its door says; none for an operation that is not known here.
pub(super) fn of(operation: &str) -> Option<Vec<Codes>> {
    Some(match operation {
        "createConversation" => vec![BODY, APP, &[(400, "skill.unknown")]],
        "listConversations" => vec![APP],
        "showConversation" | "showRun" => vec![NOT_FOUND],
        "deleteConversation" => vec![NOT_FOUND, &[(409, "run.active"), (409, "confirmation.pending")]],
        "beginRun" => vec![BODY, NOT_FOUND, BEGIN],
        "readRunEvents" => vec![NOT_FOUND, &[(409, "run.elsewhere"), (429, "streams.too_many")]],
        "askForRunEvents" => vec![&[(403, "origin")]],
        "issueTicket" | "stopRun" => vec![BODY, NOT_FOUND],
        "answerChallenge" => vec![BODY, NOT_FOUND, &[(409, "challenge.too_soon"), (422, "challenge.no_work")]],
        "listConfirmations" | "showUser" | "describe" => vec![],
        "createConfirmationLink" => vec![BODY, NOT_FOUND, &[(400, "confirm.return_to"), (503, "confirm.origin")]],
        "eraseUser" => vec![NOT_FOUND, &[(409, "run.elsewhere")]],
        "exportUser" => vec![NOT_FOUND, &[(503, "document.busy")]],
        "undo" => vec![BODY, NOT_FOUND, UNDO],
        "readResource" => vec![NOT_FOUND, &[(502, "app.unavailable")]],
        "callTool" => vec![BODY, NOT_FOUND, TOOL],
        _ => return None,
    })
}

const BEGIN: Codes = &[
    (400, "message.empty"),
    (400, "message.too_long"),
    (400, "message.control"),
    (400, "idempotency.key"),
    (403, "skill.tier"),
    (409, "run.active"),
    (422, "idempotency.other"),
    (429, "run.waiting"),
    (429, Denial::RateUser.as_str()),
    (429, Denial::RateHost.as_str()),
    (429, Denial::RateGlobal.as_str()),
    (503, "run.busy"),
    (503, "gateway.stopping"),
    (503, "agent.missing"),
    (503, "sandbox.unavailable"),
];
const UNDO: Codes = &[
    (400, "undo.what"),
    (409, Denial::UndoActive.as_str()),
    (409, Denial::UndoBusy.as_str()),
    (429, Denial::UndoRate.as_str()),
    (503, "gateway.stopping"),
];
const TOOL: Codes = &[
    (429, Denial::RateEdits.as_str()),
    (429, Denial::RateLookups.as_str()),
    (502, "app.unavailable"),
    (502, "app.uncertain"),
    (503, "document.busy"),
];

/// The refusals of an operation behind a door, by status.
pub(super) fn responses(door: Door, operation: &str) -> Vec<(String, RefOr<Response>)> {
    let at_door: &[Codes] = match door {
        Door::Host(_) => &[KEY, ASSERTION],
        Door::Ticket => &[KEY, ASSERTION, TICKET],
        Door::Key => &[KEY],
        Door::Preflight => &[],
    };
    let usual = by_status(&USUAL);
    let groups: Vec<Codes> = at_door.iter().copied().chain(of(operation).unwrap_or_default()).collect();
    let own = |(status, codes): (u16, Vec<&'static str>)| {
        let is_usual = usual.get(&status) == Some(&codes);
        let named = || RefOr::Ref(Ref::from_response_name(name(status)));
        (status.to_string(), if is_usual { named() } else { RefOr::T(response(status, codes)) })
    };
    by_status(&groups).into_iter().map(own).collect()
}

/// What most operations have in common, which stands in the document once.
pub(super) fn usual() -> Vec<(String, RefOr<Response>)> {
    by_status(&USUAL).into_iter().map(|(status, codes)| (name(status), RefOr::T(response(status, codes)))).collect()
}

fn name(status: u16) -> String {
    format!("Refused{status}")
}

fn by_status(groups: &[Codes]) -> BTreeMap<u16, Vec<&'static str>> {
    let mut codes: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for (status, code) in groups.iter().copied().flatten() {
        codes.entry(*status).or_default().push(code);
    }
    codes
}

fn response(status: u16, codes: Vec<&str>) -> Response {
    let listed: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes));
    let narrowed = ObjectBuilder::new().property("error", ObjectBuilder::new().property("code", code));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Error")).item(narrowed).build();
    let content = ContentBuilder::new().schema(Some(Schema::AllOf(schema))).build();
    let response =
        ResponseBuilder::new().description(format!("Refused: {}.", listed.join(", "))).content("application/json", content);
    if status != 429 && status != 503 {
        return response.build();
    }
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let after = HeaderBuilder::new()
        .schema(seconds)
        .description(Some("After how many seconds it is worth asking again, where that is known."));
    response.header("retry-after", after.build()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_in_the_documents() {
        let page = include_str!("../../../../docs/api.md");
        let all = [KEY, ASSERTION, TICKET, BODY, NOT_FOUND, APP, BEGIN, UNDO, TOOL];
        let more = ["createConversation", "deleteConversation", "readRunEvents", "answerChallenge", "createConfirmationLink"];
        for (status, code) in all.into_iter().chain(more.iter().filter_map(|operation| of(operation)).flatten()).flatten() {
            let denial = policy::DenialCode::ALL.iter().any(|known| known.as_str() == *code);
            assert!(denial || page.contains(&format!("`{code}`")), "{status} {code}: say in docs/api.md when");
        }
    }
}
