//! The calls that the model asked for in one run: each is good for one call, as it was said.

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;

/// Calls remembered of one run.
const EMITTED_MAX: usize = 4096;

/// What the model asked for.
#[derive(Default)]
pub(crate) struct Emissions(Mutex<HashMap<String, Emitted>>);

/// A call the model asked for in this run.
struct Emitted {
    tool: String,
    /// As the model said them; what the agent sends only has to mean the same.
    arguments: Value,
    arguments_digest: [u8; 32],
    /// In the conversation that the gateway kept honest; otherwise something in the sandbox may have had it said.
    honest: bool,
    used: bool,
}

impl Emissions {
    /// Remembers that the model asked for this call. Invariant: called before the bytes that end the request leave for the agent.
    pub(crate) fn remember(&self, id: &str, tool: &str, arguments: &Value, arguments_digest: [u8; 32], honest: bool) {
        let mut emitted = self.0.lock();
        if emitted.len() < EMITTED_MAX {
            let call = || Emitted { tool: tool.to_owned(), arguments: arguments.clone(), arguments_digest, honest, used: false };
            emitted.entry(id.to_owned()).or_insert_with(call);
        }
    }

    /// Uses up an emission: once, and only for the same tool with the same arguments. Returns them as the model said them, and
    /// whether it said them in an honest conversation.
    pub(crate) fn use_up(&self, id: &str, tool: &str, arguments_digest: &[u8; 32]) -> Option<(Value, bool)> {
        let mut emitted = self.0.lock();
        let call = emitted.get_mut(id)?;
        if call.used || call.tool != tool || call.arguments_digest != *arguments_digest {
            return None;
        }
        call.used = true;
        Some((std::mem::take(&mut call.arguments), call.honest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emission_is_used_once_and_only_as_it_was() {
        let run = Emissions::default();
        let said = serde_json::json!({"a": 9_007_199_254_740_993_u64});
        run.remember("t1", "add", &said, [1; 32], true);
        run.remember("t1", "delete", &Value::Null, [2; 32], true);
        assert_eq!(run.use_up("t1", "delete", &[2; 32]), None, "the first word stands");
        assert_eq!((run.use_up("t1", "add", &[2; 32]), run.use_up("t2", "add", &[1; 32])), (None, None));
        assert_eq!(run.use_up("t1", "add", &[1; 32]), Some((said, true)), "as the model said it");
        assert_eq!(run.use_up("t1", "add", &[1; 32]), None);
    }
}
