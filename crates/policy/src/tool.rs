//! What a tool may do, as far as decisions go: the operator's word, made stricter by the server's own.
//!
//! Invariant: nothing that a server says of its tools makes one of them easier to use.

use crate::{ToolEffect, ToolRule};
use serde_json::Value;

/// What a tool's server says of it. What it does not say is no promise, and changes nothing that the operator said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolHints {
    /// `readOnlyHint`
    pub read_only: Option<bool>,
    /// `destructiveHint`
    pub destructive: Option<bool>,
    /// `openWorldHint`
    pub open_world: Option<bool>,
}

impl ToolHints {
    /// Those in a tool's definition as a server lists it. One of another kind than true or false is read as the strictest.
    #[must_use]
    pub fn of(definition: &Value) -> Self {
        let annotations = definition.get("annotations");
        let hint = |name: &str, strictest: bool| {
            let value = annotations.and_then(|annotations| annotations.get(name)).filter(|value| !value.is_null())?;
            Some(value.as_bool().unwrap_or(strictest))
        };
        Self {
            read_only: hint("readOnlyHint", false),
            destructive: hint("destructiveHint", true),
            open_world: hint("openWorldHint", true),
        }
    }
}

/// What the gateway knows of a tool's definition at the moment of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolListed {
    /// What the server says of the tool.
    pub hints: ToolHints,
    /// SHA-256 of the definition.
    pub definition: [u8; 32],
    /// Whether it is not the definition that was seen first, and no operator has agreed to it.
    pub held: bool,
}

/// What a tool may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolClass {
    /// Read or write.
    pub effect: ToolEffect,
    /// Whether it does what can't be undone.
    pub destructive: bool,
    /// Whether what it does can be seen or felt outside of the application.
    pub open_world: bool,
}

impl ToolClass {
    /// Whether a person has to see what exactly would happen, and agree.
    #[must_use]
    pub const fn needs_confirmation(self) -> bool {
        self.open_world || self.destructive
    }

    /// Whether it does anything but look at the application's own data.
    #[must_use]
    pub const fn acts(self) -> bool {
        self.open_world || matches!(self.effect, ToolEffect::Write)
    }

    /// A word for it, as it is kept: `write destructive`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match (self.effect, self.destructive, self.open_world) {
            (ToolEffect::Read, false, false) => "read",
            (ToolEffect::Read, true, false) => "read destructive",
            (ToolEffect::Read, false, true) => "read open",
            (ToolEffect::Read, true, true) => "read destructive open",
            (ToolEffect::Write, false, false) => "write",
            (ToolEffect::Write, true, false) => "write destructive",
            (ToolEffect::Write, false, true) => "write open",
            (ToolEffect::Write, true, true) => "write destructive open",
        }
    }
}

impl ToolRule {
    /// The operator's word with the server's, whichever is stricter. A write of which the operator does not say otherwise is
    /// destructive and open to the world; one without an inverse is destructive whatever is said.
    #[must_use]
    pub fn class(&self, hints: ToolHints) -> ToolClass {
        let changes = hints.read_only == Some(false) || hints.destructive == Some(true);
        let effect = if changes { ToolEffect::Write } else { self.effect };
        let write = effect == ToolEffect::Write;
        let said = |word: Option<bool>| word.unwrap_or(self.effect == ToolEffect::Write);
        let destructive = said(self.destructive) || hints.destructive == Some(true) || (write && self.inverse.is_none());
        let open_world = said(self.open_world) || hints.open_world == Some(true);
        ToolClass { effect, destructive, open_world }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn rule(text: &str) -> ToolRule {
        toml::from_str(text).expect("a rule")
    }

    fn hints(read_only: Option<bool>, destructive: Option<bool>, open_world: Option<bool>) -> ToolHints {
        ToolHints { read_only, destructive, open_world }
    }

    #[test]
    fn the_operators_word_counts_and_what_is_unknown_is_the_worst() {
        let word = |text: &str| rule(text).class(ToolHints::default()).word();
        assert_eq!(word("effect = 'read'"), "read", "a tool without annotations is what the operator says");
        assert_eq!(word("effect = 'read'\nopen_world = true"), "read open");
        assert_eq!(word("effect = 'write'"), "write destructive open", "nothing more is known of it");
        assert_eq!(word("effect = 'write'\ndestructive = false\nopen_world = false"), "write destructive", "no way back");
        assert_eq!(word("effect = 'write'\ninverse = 'undo'\nopen_world = false"), "write destructive", "nobody says it is not");
        assert_eq!(word("effect = 'write'\ninverse = 'undo'\ndestructive = false"), "write open");
        assert_eq!(word("effect = 'write'\ninverse = 'undo'\ndestructive = false\nopen_world = false"), "write");
        assert_eq!(word("effect = 'write'\ninverse = 'undo'\ndestructive = true\nopen_world = false"), "write destructive");
    }

    #[test]
    fn a_servers_word_only_tightens() {
        let (read, write) =
            (rule("effect = 'read'"), rule("effect = 'write'\ninverse = 'u'\ndestructive = false\nopen_world = false"));
        let word = |rule: &ToolRule, hints| rule.class(hints).word();
        assert_eq!(word(&read, hints(Some(true), Some(false), Some(false))), "read");
        assert_eq!(word(&read, hints(Some(false), None, None)), "write destructive");
        assert_eq!(word(&read, hints(None, Some(true), None)), "write destructive");
        assert_eq!(word(&read, hints(Some(true), Some(true), None)), "write destructive", "a contradiction is not trusted");
        assert_eq!(word(&read, hints(None, None, Some(true))), "read open");
        assert_eq!(word(&write, hints(Some(true), Some(false), Some(false))), "write", "no server makes a read of it");
        assert_eq!(word(&write, hints(None, Some(true), None)), "write destructive");
        assert_eq!(word(&write, hints(None, None, Some(true))), "write open");
    }

    #[test]
    fn hints_of_another_kind_are_the_strictest() {
        let of = |annotations: Value| ToolHints::of(&json!({"name": "a", "annotations": annotations}));
        assert_eq!(of(json!({})), ToolHints::default());
        assert_eq!(of(json!("none")), ToolHints::default());
        assert_eq!(of(json!({"readOnlyHint": true, "openWorldHint": null})), hints(Some(true), None, None));
        let odd = json!({"readOnlyHint": "yes", "destructiveHint": "no", "openWorldHint": 0});
        assert_eq!(of(odd), hints(Some(false), Some(true), Some(true)));
        assert_eq!(ToolHints::of(&json!({"name": "a"})), ToolHints::default());
    }

    fn word() -> impl Strategy<Value = Option<bool>> {
        proptest::option::of(any::<bool>())
    }

    proptest! {
        /// With any hints a tool is at least as strict as without, and whatever needed a confirmation still does.
        #[test]
        fn no_hint_loosens(write: bool, destructive in word(), open in word(), inverse: bool, dry_run: bool,
                           read_only in word(), breaks in word(), reaches in word()) {
            let effect = if write { ToolEffect::Write } else { ToolEffect::Read };
            let rule = ToolRule { effect, destructive, open_world: open, inverse: inverse.then(|| "u".to_owned()), dry_run, arguments: None };
            let (alone, with) = (rule.class(ToolHints::default()), rule.class(hints(read_only, breaks, reaches)));
            prop_assert!(with.acts() || !alone.acts());
            prop_assert!(with.destructive || !alone.destructive);
            prop_assert!(with.open_world || !alone.open_world);
            prop_assert!(with.needs_confirmation() || !alone.needs_confirmation());
            // A write without a way back is never done unasked.
            prop_assert!(with.effect == ToolEffect::Read || inverse || with.needs_confirmation());
        }
    }
}
