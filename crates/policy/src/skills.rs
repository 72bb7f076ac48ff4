//! Skills: ways of working that an operator has written down. A person chooses one for a conversation; it tells the agent more and
//! leaves it fewer tools. Nothing in a skill can add a tool, lift a limit or change what a tool may do: it has no field for that.

use crate::{Manifest, Standing};
use serde::Deserialize;

const TITLE_CHARS_MAX: usize = 60;
const INSTRUCTIONS_CHARS_MAX: usize = 20_000;
/// Skills of one app.
const SKILLS_MAX: usize = 32;

/// `[skills.NAME]` of a manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// Shown to people.
    pub title: String,
    /// Said to the agent after the app's own prompt.
    pub instructions: String,
    /// The only tools that the agent gets, of those that the app has.
    pub tools: Vec<String>,
    /// For whom it is; everybody by default.
    #[serde(default = "everybody")]
    pub tiers: Vec<Standing>,
}

fn everybody() -> Vec<Standing> {
    vec![Standing::Anonymous, Standing::SignedIn]
}

impl Skill {
    /// Whether people of a standing may choose it.
    #[must_use]
    pub fn is_for(&self, standing: Standing) -> bool {
        self.tiers.contains(&standing)
    }
}

impl Manifest {
    /// The app as it is with a skill: the same with fewer tools. None where there is no such skill.
    #[must_use]
    pub fn narrowed(&self, name: &str) -> Option<Self> {
        let skill = self.skills.get(name)?;
        let mut narrowed = self.clone();
        narrowed.tools.retain(|tool, _| skill.tools.contains(tool));
        narrowed.skill = Some(name.to_owned());
        Some(narrowed)
    }

    /// What tells the app, and with which skill, from all others: its id, and the skill after a slash.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.skill {
            Some(skill) => Self::key_of(&self.id, Some(skill)),
            None => self.id.clone(),
        }
    }

    /// The same of an app's id and a skill's name.
    #[must_use]
    pub fn key_of(id: &str, skill: Option<&str>) -> String {
        skill.map_or_else(|| id.to_owned(), |skill| format!("{id}/{skill}"))
    }

    /// What can't be of its skills.
    pub(crate) fn skills_fault(&self) -> Option<&'static str> {
        let name = |text: &str| {
            (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if self.skills.len() > SKILLS_MAX {
            return Some("an app has at most 32 skills");
        }
        for (id, skill) in &self.skills {
            let within = |text: &str, max: usize| !text.trim().is_empty() && text.chars().count() <= max;
            if !name(id) {
                return Some("names of skills must be lower-case letters, digits and hyphens, at most 32");
            } else if !within(&skill.title, TITLE_CHARS_MAX) || skill.title.chars().any(char::is_control) {
                return Some("a skill's title must have 1 to 60 characters on one line");
            } else if !within(&skill.instructions, INSTRUCTIONS_CHARS_MAX) {
                return Some("a skill's instructions must have 1 to 20,000 characters");
            } else if !skill.tools.iter().all(|tool| self.tools.contains_key(tool)) {
                return Some("a skill names a tool that the app does not have; skills narrow, they never widen");
            } else if skill.tiers.is_empty() {
                return Some("a skill that is for no tier can't be chosen; leave tiers out for everybody");
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n[tools.change]\neffect='write'\n";

    fn parse(skills: &str) -> Result<Manifest, crate::ManifestError> {
        Manifest::parse(&format!("{APP}{skills}"))
    }

    #[test]
    fn a_skill_leaves_fewer_tools_and_changes_nothing_else() {
        let manifest = parse("[skills.reader]\ntitle='Read'\ninstructions='Only read.'\ntools=['look']\n").expect("a skill");
        let narrowed = manifest.narrowed("reader").expect("it is there");
        assert_eq!(narrowed.tools_offered(true), ["look"], "whatever the person switched on");
        assert_eq!((narrowed.key(), manifest.key()), ("a/reader".to_owned(), "a".to_owned()));
        assert_eq!((narrowed.id, narrowed.agent.turns_max), (manifest.id.clone(), manifest.agent.turns_max));
        assert!(manifest.narrowed("other").is_none());
    }

    #[test]
    fn a_skill_can_t_widen() {
        let fault = |skill: &str| parse(skill).expect_err(skill).to_string();
        assert!(fault("[skills.x]\ntitle='T'\ninstructions='i'\ntools=['drop']\n").contains("never widen"));
        for field in ["effect='read'", "model='m'", "turns_max=9", "danger_induced_writes=true", "resources=[]"] {
            let text = fault(&format!("[skills.x]\ntitle='T'\ninstructions='i'\ntools=[]\n{field}\n"));
            assert!(text.contains("unknown field"), "{text}");
        }
        assert!(fault("[skills.'A B']\ntitle='T'\ninstructions='i'\ntools=[]\n").contains("names of skills"));
        assert!(fault("[skills.x]\ntitle=''\ninstructions='i'\ntools=[]\n").contains("title"));
        assert!(fault("[skills.x]\ntitle='T'\ninstructions=' '\ntools=[]\n").contains("instructions"));
        assert!(fault("[skills.x]\ntitle='T'\ninstructions='i'\ntools=[]\ntiers=['root']\n").contains("unknown variant"));
        assert!(fault("[skills.x]\ntitle='T'\ninstructions='i'\ntools=[]\ntiers=[]\n").contains("no tier"));
        assert!(parse("skill='x'\n").is_err(), "no manifest says of itself that it is narrowed");
    }

    #[test]
    fn a_skill_is_for_whom_it_says() {
        let manifest =
            parse("[skills.x]\ntitle='T'\ninstructions='i'\ntools=[]\ntiers=['signed-in']\n[skills.y]\ntitle='T'\ninstructions='i'\ntools=[]\n")
                .expect("skills");
        let is_for = |name: &str, standing| manifest.skills.get(name).is_some_and(|skill| skill.is_for(standing));
        assert!(!is_for("x", Standing::Anonymous) && is_for("x", Standing::SignedIn));
        assert!(is_for("y", Standing::Anonymous) && is_for("y", Standing::SignedIn));
    }
}
