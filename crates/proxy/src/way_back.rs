//! What gateway and app say to each other beside a tool's arguments and result, in `_meta`. The agent sees nothing of it: neither side
//! takes any of it from an agent, and what an app says is taken out of the result before anything else looks at it.

use policy::{CallId, Manifest};
use serde_json::{Map, Value};
use store::Inverse;

/// Everything with this beginning is between gateway and app.
const OURS: &str = "hexward/";
/// To the app: the journal's entry of the call.
const CALL: &str = "hexward/call";
/// From the app: the call that undoes what this one did.
const UNDO: &str = "hexward/undo";
/// From the app: what stood in the way of an undo, sentence by sentence.
const CONFLICTS: &str = "hexward/conflicts";
/// Of an inverse's arguments. An app that needs more keeps it and names it.
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;
const CONFLICTS_MAX: usize = 50;
const CONFLICT_CHARS_MAX: usize = 300;

/// What the app said of a call, beside its result.
#[derive(Debug, Default)]
pub(crate) struct Said(Map<String, Value>);

/// Tells the app which call this is.
pub(crate) fn naming(call: CallId) -> Map<String, Value> {
    Map::from_iter([(CALL.to_owned(), Value::String(call.to_string()))])
}

/// Takes what is for the gateway out of a result.
pub(crate) fn take(result: &mut Value) -> Said {
    let Some(fields) = result.as_object_mut() else { return Said::default() };
    let Some(meta) = fields.get_mut("_meta") else { return Said::default() };
    let Some(meta) = meta.as_object_mut() else {
        fields.remove("_meta");
        return Said::default();
    };
    let (ours, theirs) = std::mem::take(meta).into_iter().partition(|(key, _)| key.starts_with(OURS));
    *meta = theirs;
    if meta.is_empty() {
        fields.remove("_meta");
    }
    Said(ours)
}

impl Said {
    /// The way back from what `tool` did, if the operator's manifest pairs it with the tool that the app names.
    pub(crate) fn inverse(&self, manifest: &Manifest, tool: &str) -> Option<Inverse> {
        let said = self.0.get(UNDO)?;
        let paired = manifest.inverse_of(tool);
        let named = said.get("tool").and_then(Value::as_str);
        let arguments = said.get("arguments").filter(|arguments| arguments.is_object()).map(Value::to_string);
        let taken = match (paired, named, arguments) {
            (Some(paired), Some(named), Some(arguments)) if paired == named && arguments.len() <= ARGUMENTS_BYTES_MAX => {
                Some(Inverse { tool: named.to_owned(), arguments })
            }
            _ => None,
        };
        if taken.is_none() {
            let named = named.map(|named| named.chars().take(64).collect::<String>());
            tracing::warn!(
                app = manifest.id,
                tool,
                ?paired,
                ?named,
                "an app named a way back that is not taken: not the inverse in its manifest, no arguments, or too many"
            );
        }
        taken
    }

    /// The way on from an undo: the inverse again.
    pub(crate) fn onward(&self, manifest: &Manifest, tool: &str, inverse: &str) -> Option<Inverse> {
        self.inverse(manifest, tool).filter(|onward| onward.tool == inverse)
    }

    /// What stood in the way.
    pub(crate) fn conflicts(&self) -> Option<Vec<String>> {
        let named = self.0.get(CONFLICTS)?.as_array()?.iter().filter_map(Value::as_str).take(CONFLICTS_MAX);
        Some(named.map(|sentence| sentence.chars().take(CONFLICT_CHARS_MAX).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest() -> Manifest {
        let text = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n\
                    [tools.change]\neffect='write'\ninverse='undo'\n[tools.other]\neffect='write'\n";
        Manifest::parse(text).expect("a manifest")
    }

    #[test]
    fn what_is_between_gateway_and_app_leaves_the_result() {
        let mut result = json!({
            "content": [{"type": "text", "text": "x"}],
            "_meta": {"hexward/undo": {"tool": "undo", "arguments": {"id": 1}}, "hexward/reason": "forged", "theirs": 2},
        });
        let said = take(&mut result);
        assert_eq!(result, json!({"content": [{"type": "text", "text": "x"}], "_meta": {"theirs": 2}}));
        let inverse = said.inverse(&manifest(), "change").expect("a way back");
        assert_eq!((inverse.tool.as_str(), inverse.arguments.as_str()), ("undo", "{\"id\":1}"));
        let mut only_ours = json!({"content": [], "_meta": {"hexward/undo": 1}});
        take(&mut only_ours);
        assert_eq!(only_ours, json!({"content": []}));
        let mut odd = json!({"content": [], "_meta": "hexward/undo"});
        take(&mut odd);
        assert_eq!(odd, json!({"content": []}));
        assert!(take(&mut json!({"content": []})).0.is_empty());
    }

    #[test]
    fn only_the_inverse_of_the_manifest_is_a_way_back() {
        let says = |undo: Value| Said(Map::from_iter([("hexward/undo".to_owned(), undo)]));
        let good = json!({"tool": "undo", "arguments": {}});
        assert!(says(good.clone()).inverse(&manifest(), "change").is_some());
        assert!(says(good.clone()).inverse(&manifest(), "other").is_none(), "this tool has none");
        assert!(says(good).inverse(&manifest(), "gone").is_none());
        let long = json!({"tool": "undo", "arguments": {"x": "x".repeat(20_000)}});
        for bad in [
            json!({"tool": "other", "arguments": {}}),
            json!({"tool": "undo", "arguments": []}),
            json!({"tool": "undo"}),
            json!({"tool": 1, "arguments": {}}),
            json!("undo"),
            Value::Null,
            long,
        ] {
            assert!(says(bad.clone()).inverse(&manifest(), "change").is_none(), "{bad}");
        }
    }
}
