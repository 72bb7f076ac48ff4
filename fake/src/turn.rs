//! A planned assistant turn: what will be said, before anything decides how it travels.

use serde_json::Value;

use crate::request::tokens;

/// One content block of an answer. Ids are given out only when it is sent, so that planning stays a pure function.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text(String),
    /// Text cut into exactly these pieces, for benchmarks that count events.
    Pieces {
        count: usize,
        bytes: usize,
    },
    Thinking(String),
    ToolUse {
        name: String,
        input: Value,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    EndTurn,
    ToolUse,
    MaxTokens,
}

impl StopReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::ToolUse => "tool_use",
            Self::MaxTokens => "max_tokens",
        }
    }
}

impl Block {
    /// Bytes of output, the measure of its tokens.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Thinking(text) => text.len(),
            Self::Pieces { count, bytes } => count.saturating_mul(*bytes),
            Self::ToolUse { name, input } => name.len() + input.to_string().len(),
        }
    }
}

/// What is left of `max_tokens` while a turn is put together.
#[derive(Debug)]
pub struct Allowance {
    left: u64,
    stop: StopReason,
}

impl Allowance {
    #[must_use]
    pub fn new(max_tokens: u64) -> Self {
        Self { left: max_tokens, stop: StopReason::EndTurn }
    }

    /// Why the turn ends after all that was admitted.
    #[must_use]
    pub fn stop(&self) -> StopReason {
        self.stop
    }

    /// The block as far as it fits: text is shortened, a tool call that does not fit is left out, and after the
    /// first shortening nothing else is admitted.
    pub fn admit(&mut self, block: Block) -> Option<Block> {
        if self.stop == StopReason::MaxTokens {
            return None;
        }
        let cost = tokens(block.bytes());
        if cost > self.left {
            self.stop = StopReason::MaxTokens;
            return shortened(block, self.left);
        }
        self.left -= cost;
        if matches!(block, Block::ToolUse { .. }) {
            self.stop = StopReason::ToolUse;
        }
        Some(block)
    }
}

fn shortened(block: Block, tokens_left: u64) -> Option<Block> {
    let room = usize::try_from(tokens_left).unwrap_or(usize::MAX).saturating_mul(4);
    match block {
        Block::Text(text) => Some(Block::Text(head(&text, room).to_owned())),
        Block::Thinking(text) => Some(Block::Thinking(head(&text, room).to_owned())),
        Block::Pieces { bytes, .. } if bytes > 0 => Some(Block::Pieces { count: room / bytes, bytes }),
        Block::Pieces { .. } | Block::ToolUse { .. } => None,
    }
}

/// The longest start of `text` within `room` bytes that ends between characters.
#[must_use]
pub fn head(text: &str, room: usize) -> &str {
    text.get(..text.floor_char_boundary(room)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn within(blocks: Vec<Block>, max_tokens: u64) -> (Vec<Block>, StopReason) {
        let mut allowance = Allowance::new(max_tokens);
        let kept = blocks.into_iter().filter_map(|block| allowance.admit(block)).collect();
        (kept, allowance.stop())
    }

    #[test]
    fn a_turn_that_fits_stops_by_its_content() {
        let text = vec![Block::Text("hello".into())];
        assert_eq!(within(text.clone(), 10), (text, StopReason::EndTurn));
        let call = vec![Block::ToolUse { name: "addItem".into(), input: json!({}) }];
        assert_eq!(within(call.clone(), 10), (call, StopReason::ToolUse));
    }

    #[test]
    fn a_turn_that_does_not_fit_is_cut_between_characters_and_loses_later_calls() {
        let blocks = vec![Block::Text("äöüäöü".into()), Block::ToolUse { name: "t".into(), input: json!({}) }];
        assert_eq!(within(blocks, 1), (vec![Block::Text("äö".into())], StopReason::MaxTokens));
        assert_eq!(head("äöü", 3), "ä");
    }
}
