//! The rules that stand in for a model when no scenario does: from a request to the assistant's next turn.
//!
//! Nothing is remembered between turns. As the real API, the rules see the whole conversation each time and find
//! their place in it by the calls and results since the person's last message.

use crate::{history::History, request::MessagesRequest, turn::Block};

/// The next turn of the assistant.
#[must_use]
pub fn plan(request: &MessagesRequest, history: &History<'_>) -> Vec<Block> {
    let asked = without_marker(&history.asked);
    vec![Block::Text(polite(&asked, request))]
}

/// The text without `[[scenario:...]]`.
fn without_marker(text: &str) -> String {
    match text.split_once("[[scenario:").and_then(|(before, after)| Some((before, after.split_once("]]")?.1))) {
        Some((before, after)) => format!("{}{}", before, after.trim_start()).trim().to_owned(),
        None => text.trim().to_owned(),
    }
}

/// Longest quotation of the person's words.
const QUOTE_BYTES_MAX: usize = 160;

fn polite(asked: &str, request: &MessagesRequest) -> String {
    let first = asked.lines().next().unwrap_or_default().trim();
    let quote = crate::turn::head(first, QUOTE_BYTES_MAX);
    let able = match request.tools.len() {
        0 => "I have no tools in this conversation, so all I can do is answer in words.".to_owned(),
        _ => format!("I can use these tools: {}.", request.tools.join(", ")),
    };
    format!("You wrote: \u{201c}{quote}\u{201d}. I am a scripted stand-in for a model, not a model. {able}")
}
