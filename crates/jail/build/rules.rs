//! Reads `profiles/syscalls.toml` and says everything that is wrong with it. For the build script, which turns the rules
//! into tables, and for the tests, which spoil them.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    pub allow: Vec<Group>,
    pub judge: Vec<Group>,
    pub refuse: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub level: Option<Level>,
    /// The only architecture that has these calls, as Rust names it.
    pub only: Option<Architecture>,
    /// The trace that has all these calls.
    pub seen: Option<String>,
    pub reason: Option<String>,
    pub calls: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Agent,
    Code,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Architecture {
    #[serde(rename = "x86_64")]
    X86,
}

impl Rules {
    /// Parses rules. `trace` gives the text of a trace by its name.
    ///
    /// # Errors
    /// Every fault, in words for whoever edits the rules.
    pub fn parse(text: &str, trace: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<String>> {
        let rules: Self = toml::from_str(text).map_err(|error| vec![error.to_string()])?;
        let mut faults = Vec::new();
        let mut known = BTreeSet::new();
        for (groups, has_level) in [(&rules.allow, true), (&rules.judge, false), (&rules.refuse, false)] {
            for group in groups {
                if group.level.is_some() != has_level {
                    faults.push(format!("{:?}: a level belongs to what is allowed, and to nothing else", group.calls));
                }
                faults.extend(group.unfounded(&trace));
                faults.extend(group.calls.iter().filter(|call| !known.insert(*call)).map(|call| format!("{call} stands twice")));
            }
        }
        if faults.is_empty() { Ok(rules) } else { Err(faults) }
    }

    /// Tables of numbers in Rust. Names are left to the compiler, so that one that does not exist stops the build.
    pub fn tables(&self, x86_64: bool) -> String {
        let at = |level| self.allow.iter().filter(move |group| group.level == Some(level));
        let mut text = String::new();
        for (name, groups) in [
            ("ALLOWED", at(Level::Agent).collect::<Vec<_>>()),
            ("ALLOWED_TO_CODE", at(Level::Code).collect()),
            ("JUDGED", self.judge.iter().collect()),
            ("REFUSED", self.refuse.iter().collect()),
        ] {
            let here = groups.into_iter().filter(|group| x86_64 || group.only.is_none());
            let calls: String = here.flat_map(|group| &group.calls).fold(String::new(), |mut list, call| {
                // Writing to a string does not fail.
                let _written = write!(list, "libc::SYS_{call}, ");
                list
            });
            let _written = writeln!(text, "pub const {name}: &[libc::c_long] = &[{calls}];");
        }
        text
    }
}

impl Group {
    /// Why this group may not be here: nobody saw its calls, and nobody says what they are for.
    fn unfounded(&self, trace: impl Fn(&str) -> Option<String>) -> Vec<String> {
        let Some(seen) = &self.seen else {
            let has_reason = self.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
            return if has_reason { Vec::new() } else { vec![format!("{:?}: neither a reason nor a trace", self.calls)] };
        };
        let Some(text) = trace(seen) else { return vec![format!("{:?}: there is no trace {seen}", self.calls)] };
        let made: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let unseen = self.calls.iter().filter(|call| !made.contains(call.as_str()));
        unseen.map(|call| format!("{call} is not in the trace {seen}")).collect()
    }
}
