//! How many tokens the beginning of a conversation has, as the provider measured it in a call before: what makes a ceiling tight.
//!
//! A beginning is recognised by digests of everything that could change how it is counted: the headers that name a version or a beta,
//! settings, system prompt, tools and every message up to its end. Nothing is guessed: it is remembered only from a final usage, and
//! for the provider that said so. The model's answer to it counts as new until the next call has measured it. Memory is bounded, and
//! what is forgotten only makes a ceiling wider.

use super::canon::Digest;
use super::shape::{Message, Said};
use http::HeaderMap;
use parking_lot::Mutex;
use policy::{Prompt, digest_bytes};
use std::collections::{HashMap, VecDeque};

/// Beginnings that are remembered of one run, or of one principal's calls.
const REMEMBERED_MAX: usize = 512;
/// Headers by which a request may be counted otherwise.
const HEADERS: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// What was measured for one run or one principal: nobody's ceiling tells anything of another one's conversation.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    measured: HashMap<Digest, Measured>,
    /// The oldest first.
    order: VecDeque<Digest>,
}

#[derive(Debug)]
struct Measured {
    provider: Box<str>,
    prompt_tokens: u64,
}

/// A request, by all that it begins with.
#[derive(Debug, Default)]
pub(super) struct Beginnings(Vec<Beginning>);

/// What a request says up to the end of one of its messages.
#[derive(Debug)]
struct Beginning {
    digest: Digest,
    /// Thinking in it. The provider counts it in some calls and leaves it out in others, so it may not have been measured.
    thinking: u64,
    /// The rest.
    after: Prompt,
}

impl Beginnings {
    /// Of what was said; none where the provider is asked to leave something out, because then a longer prompt can have been measured
    /// with fewer tokens.
    pub(super) fn of(said: Option<&Said>, edits_context: bool, headers: &HeaderMap) -> Self {
        let Some(said) = said.filter(|_| !edits_context) else { return Self::default() };
        let (mut digest, mut thinking) = (start(said, headers), 0_u64);
        let mut beginnings = Vec::with_capacity(said.messages.len());
        for message in &said.messages {
            digest = digest_bytes(&[digest, message.digest, message.spelling].concat());
            thinking = thinking.saturating_add(message.thinking_weight);
            beginnings.push(Beginning { digest, thinking, after: Prompt::default() });
        }
        let mut after = Prompt::default();
        for (beginning, message) in beginnings.iter_mut().zip(&said.messages).rev() {
            beginning.after = after;
            add(&mut after, message);
        }
        Self(beginnings)
    }

    /// The whole request.
    pub(super) fn whole(&self) -> Option<Digest> {
        self.0.last().map(|beginning| beginning.digest)
    }
}

/// Everything before the first message.
fn start(said: &Said, headers: &HeaderMap) -> Digest {
    let mut bytes = Vec::with_capacity(64 * (said.tools.len() + 4));
    for name in HEADERS {
        for value in headers.get_all(name) {
            bytes.extend_from_slice(&digest_bytes(value.as_bytes()));
        }
        bytes.push(b'|');
    }
    bytes.extend_from_slice(&said.settings);
    if let Some(message) = &said.system {
        bytes.extend_from_slice(&[message.digest, message.spelling].concat());
    }
    bytes.push(b'|');
    for tool in &said.tools {
        bytes.extend_from_slice(&[tool.digest, tool.spelling].concat());
    }
    digest_bytes(&bytes)
}

fn add(prompt: &mut Prompt, message: &Message) {
    prompt.new_bytes = prompt.new_bytes.saturating_add(message.weight);
    prompt.new_extra_tokens = prompt.new_extra_tokens.saturating_add(message.extra_tokens);
    prompt.new_messages = prompt.new_messages.saturating_add(1);
    prompt.new_blocks = prompt.new_blocks.saturating_add(message.block_count);
}

impl Prefixes {
    /// What a request may have in tokens at this provider: as much as its longest known beginning had and what is new, unless
    /// `whole`, which is all by its bytes, is less.
    pub(super) fn prompt_of(&self, beginnings: &Beginnings, provider: &str, whole: Prompt) -> Prompt {
        if beginnings.0.is_empty() {
            return whole;
        }
        let remembered = self.0.lock();
        let known = beginnings.0.iter().rev().find_map(|beginning| {
            let measured = remembered.measured.get(&beginning.digest)?;
            let settled = (*measured.provider == *provider).then(|| measured.prompt_tokens.saturating_add(beginning.thinking))?;
            Some(Prompt { settled: Some(settled), ..beginning.after })
        });
        known.filter(|known| known.tokens_max() < whole.tokens_max()).unwrap_or(whole)
    }

    /// Remembers what this provider said in the end of a whole request. Said twice, the larger number holds.
    pub(super) fn note(&self, whole: Digest, provider: &str, prompt_tokens: u64) {
        let mut remembered = self.0.lock();
        if let Some(known) = remembered.measured.get_mut(&whole) {
            let same = *known.provider == *provider;
            let tokens = if same { known.prompt_tokens.max(prompt_tokens) } else { prompt_tokens };
            *known = Measured { provider: provider.into(), prompt_tokens: tokens };
            return;
        }
        if remembered.order.len() >= REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.measured.remove(&oldest);
        }
        remembered.order.push_back(whole);
        remembered.measured.insert(whole, Measured { provider: provider.into(), prompt_tokens });
    }
}

/// Whether a caller's body is worth its digests: it repeats an answer, and is long enough for that to matter.
pub(super) fn may_help(body: &[u8]) -> bool {
    const BYTES_MIN: usize = 8 << 10;
    body.len() >= BYTES_MIN && memchr::memmem::find(body, b"\"assistant\"").is_some()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#[path = "prefixes_tests.rs"]
mod tests;
