//! May a person call a tool of an app from its page? What the operator's manifest lists for people, and nothing else.
//!
//! A person who clicks is not an agent that was talked into something: there is no switch and no confirmation here. What is the same is
//! that nothing leaves without a permit, and none is given for what the manifest does not name.

use crate::{Denial, DenialCode, Manifest, PersonRule, UserId};

/// Permission for one tool call of a person's own, used up by `store.open_person_call`.
#[derive(Debug)]
pub struct PersonPermit {
    user: UserId,
    tool: String,
    arguments_digest: [u8; 32],
    rule: PersonRule,
}

impl PersonPermit {
    /// For whom.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }
    /// Which tool.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool
    }
    /// SHA-256 of the arguments.
    #[must_use]
    pub const fn arguments_digest(&self) -> &[u8; 32] {
        &self.arguments_digest
    }
    /// What the manifest says the tool does for people.
    #[must_use]
    pub const fn rule(&self) -> &PersonRule {
        &self.rule
    }
}

/// Decides about a person's own call.
///
/// # Errors
/// The [`Denial`] to answer with: for people it is the same as if there were no such tool.
pub fn admit_person(user: UserId, tool: &str, arguments_digest: [u8; 32], manifest: &Manifest) -> Result<PersonPermit, Denial> {
    let rule = manifest.people.get(tool).cloned().ok_or_else(|| Denial::new(DenialCode::ToolUnknown, tool))?;
    Ok(PersonPermit { user, tool: tool.to_owned(), arguments_digest, rule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToolEffect;

    #[test]
    fn people_call_what_the_manifest_lists_for_people_and_agents_do_not() {
        let manifest = Manifest::parse(
            "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n\
             [people.bring]\neffect='write'\nlarge=true\n[people.see]\neffect='read'",
        )
        .expect("a manifest");
        let user = UserId::random();
        let ask = |tool: &str| admit_person(user, tool, [7; 32], &manifest).map_err(|denial| denial.code);
        let permit = ask("bring").expect("listed for people");
        assert_eq!((permit.user(), permit.tool(), permit.arguments_digest()), (user, "bring", &[7; 32]));
        assert!(permit.rule().large && permit.rule().effect == ToolEffect::Write);
        assert!(ask("see").is_ok_and(|permit| !permit.rule().large));
        for other in ["look", "", "Bring", "bring "] {
            assert_eq!(ask(other).err(), Some(DenialCode::ToolUnknown), "{other:?}");
        }
        assert_eq!(manifest.tools_offered(true), ["look"], "an agent is offered none of them");
    }
}
