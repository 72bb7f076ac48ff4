//! The rules that stand in for a model when no scenario does: from a request to the assistant's next turn.
//!
//! Nothing is remembered between turns. As the real API, the rules see the whole conversation each time and find
//! their place in it by the calls and results since the person's last message.

mod direction;
mod hexmap;
mod intent;
mod magic;
mod sentence;
mod tiles;
mod words;

pub(crate) use tiles::json_in;

use crate::{
    history::History,
    request::MessagesRequest,
    turn::{Block, head},
};

/// Longest quotation of the person's words.
const QUOTE_BYTES_MAX: usize = 160;

/// The next turn of the assistant.
#[must_use]
pub fn plan(request: &MessagesRequest, history: &History<'_>) -> Vec<Block> {
    let asked = without_marker(&history.asked);
    let map = hexmap::offered(request).then(|| intent::intent(&asked)).flatten();
    map.map(|intent| hexmap::plan(request, history, &intent))
        .or_else(|| magic::plan(request, history, &asked))
        .unwrap_or_else(|| vec![Block::Text(polite(&asked, request))])
}

/// The text without `[[scenario:...]]`.
fn without_marker(text: &str) -> String {
    match text.split_once("[[scenario:").and_then(|(before, after)| Some((before, after.split_once("]]")?.1))) {
        Some((before, after)) => format!("{}{}", before, after.trim_start()).trim().to_owned(),
        None => text.trim().to_owned(),
    }
}

/// The answer to everything that is not understood.
fn polite(asked: &str, request: &MessagesRequest) -> String {
    let first = asked.lines().next().unwrap_or_default().trim();
    let quote = head(first, QUOTE_BYTES_MAX);
    let able = if hexmap::offered(request) {
        "I can show your map and create, rename, describe, move and delete its tiles. Try: create a tile called \
         \u{201c}Aurora\u{201d} to the north-east."
    } else if request.tools.is_empty() {
        "I have no tools in this conversation, so all I can do is answer."
    } else {
        "I can use the tools of this conversation when you ask for what they do, such as: find red instants that cost one."
    };
    format!(
        "You asked: \u{201c}{quote}\u{201d}. I am the demo's scripted stand-in for a model and know only a few requests. {able}"
    )
}
