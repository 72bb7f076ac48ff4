//! An app: a folder with a manifest. Data only; every key is known or it is an error.

use crate::McpManifest;
use crate::arguments::{self, ArgumentRule, Known};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `app.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// A short name, `[a-z][a-z0-9-]*`.
    pub id: String,
    /// Shown to people.
    pub title: String,
    /// The first thing a person reads.
    pub greeting: String,
    /// Messages to start with.
    #[serde(default)]
    pub suggestions: Vec<String>,
    /// The agent.
    pub agent: AgentManifest,
    /// Its tools' server. An app without one has an agent that talks, or that does what it does inside its sandbox.
    pub mcp: Option<McpManifest>,
    /// What each tool may do. A tool that is not listed does not exist for the agent.
    #[serde(default)]
    pub tools: BTreeMap<String, ToolRule>,
    /// Resource addresses (or prefixes ending in `/`) that the app's pages and the agent may read.
    #[serde(default)]
    pub resources: Vec<String>,
    /// What people may call from the app's pages, each tool by name. It says nothing about agents: these have `tools` alone.
    #[serde(default)]
    pub people: BTreeMap<String, PersonRule>,
    /// Ways of working with fewer tools, for people to choose.
    #[serde(default)]
    pub skills: BTreeMap<String, crate::Skill>,
    /// The skill that this one was narrowed to. Never said by a file.
    #[serde(skip)]
    pub skill: Option<String>,
    /// Prompts of its server that people's own clients may use; agents in sandboxes get none.
    #[serde(default)]
    pub prompts: Vec<String>,
}

/// How the agent is run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentManifest {
    /// The model it asks for.
    pub model: String,
    /// Model calls of one run at most.
    #[serde(default = "turns_default")]
    pub turns_max: u32,
    /// Output tokens of one model call at most.
    #[serde(default = "output_default")]
    pub output_tokens_max: u32,
    /// What its sandbox holds.
    #[serde(default)]
    pub runtime: RuntimeKind,
    /// The program of the code runtime and its arguments: a name in `/usr/bin`, or a path below `/app` or `/usr/bin`.
    #[serde(default)]
    pub command: Vec<String>,
    /// The folder of the app's own files, beside the manifest: read-only at `/app` inside.
    pub files: Option<String>,
    /// Whether what runs in the sandbox may ask the model whatever it likes. What the model says then is *induced*: it changes
    /// nothing through the app's tools. Always so where code runs.
    #[serde(default)]
    pub free_model_use: bool,
    /// Whether what the model says outside of the conversation may change things all the same (where people switched changes on).
    /// Whoever gets code to run in the sandbox, by a text that the agent reads for example, can then change what the person can.
    #[serde(default)]
    pub danger_induced_writes: bool,
    /// Whether each person's prompts begin differently, so that what one has asked can't be found out from the provider's prompt
    /// cache by another.
    #[serde(default)]
    pub isolate_prompt_cache: bool,
}

/// What an agent's sandbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// The agent's executable and its libraries; it has the app's tools only.
    #[default]
    Agent,
    /// Shell, Node, Python and git beside it, and a command of the app's own that starts the agent.
    Code,
}

const fn turns_default() -> u32 {
    50
}

const fn output_default() -> u32 {
    4000
}

/// What a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolEffect {
    /// Changes nothing.
    Read,
    /// Changes the user's data: only when the user switched changes on.
    Write,
}

/// The operator's word about a tool; what the tool's server says of itself is not believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolRule {
    /// Read or write.
    pub effect: ToolEffect,
    /// Whether it does what can't be undone; a write of which nothing is said does.
    pub destructive: Option<bool>,
    /// Whether it reaches others than the application: sends, publishes, fetches. A write of which nothing is said does.
    pub open_world: Option<bool>,
    /// The hidden tool that undoes it.
    pub inverse: Option<String>,
    /// Whether its server can say what a call would do without doing it.
    #[serde(default)]
    pub dry_run: bool,
    /// Where the values of its arguments have to come from. With any of them, an argument that is not named here is refused.
    pub arguments: Option<BTreeMap<String, ArgumentRule>>,
}

/// The operator's word about a tool that people call themselves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonRule {
    /// Read or write.
    pub effect: ToolEffect,
    /// Whether it takes documents: up to 32 MiB instead of 256 KiB, few at a time.
    #[serde(default)]
    pub large: bool,
    /// The tool that undoes what this one did, where it is no tool of agents that has one already.
    #[serde(default)]
    pub inverse: Option<String>,
}

/// Why a manifest was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the expected form; the text has line and column.
    #[error("app manifest: {0}")]
    Form(#[from] toml::de::Error),
    /// A value that can't be.
    #[error("app manifest {id}: {reason}")]
    Value {
        /// Which app.
        id: String,
        /// What is wrong.
        reason: String,
    },
}

impl Manifest {
    /// Parses and checks a manifest as a whole.
    ///
    /// # Errors
    /// [`ManifestError`] with the place and the reason.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        let name = |text: &str| {
            text.len() <= 32
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let tool = |text: &String| {
            !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        let fault = manifest.tools.iter().find_map(|(tool, rule)| {
            let fault = |argument: &ArgumentRule| argument.fault(|name| manifest.tools.contains_key(name));
            let (name, fault) = rule.arguments.iter().flatten().find_map(|(name, rule)| Some((name, fault(rule)?)))?;
            Some(format!("tools.{tool}.arguments.{name}: {fault}"))
        });
        if let Some(reason) = fault {
            return Err(ManifestError::Value { id: manifest.id, reason });
        }
        let reason = if !name(&manifest.id) {
            "id must be lower-case letters, digits and hyphens, at most 32"
        } else if manifest.mcp.as_ref().is_some_and(|mcp| !name(&mcp.name)) {
            "mcp.name must be lower-case letters, digits and hyphens, at most 32"
        } else if !manifest.tools.keys().chain(manifest.people.keys()).all(tool) {
            "tool names must be letters, digits, _ and -"
        } else if manifest.agent.turns_max == 0 || manifest.agent.output_tokens_max == 0 {
            "agent.turns_max and agent.output_tokens_max must be at least 1"
        } else if manifest.mcp.is_none() && manifest.needs_server() {
            "tools, resources, people and prompts need an [mcp] server that has them"
        } else if manifest.tools.values().any(|rule| rule.effect == ToolEffect::Read && rule.destructive == Some(true)) {
            "a tool that reads can't be destructive: its effect is \"write\""
        } else if let Some(reason) =
            manifest.fault_of_inverses(tool).or_else(|| manifest.agent.fault()).or_else(|| manifest.skills_fault())
        {
            reason
        } else if let Some(reason) = manifest.mcp.as_ref().and_then(McpManifest::fault) {
            reason
        } else {
            return Ok(manifest);
        };
        Err(ManifestError::Value { id: manifest.id, reason: reason.to_owned() })
    }

    /// What of the ways back can't be. Invariant: an inverse is none of the tools that an agent may call.
    fn fault_of_inverses(&self, is_name: impl Fn(&String) -> bool) -> Option<&'static str> {
        let of_people = || self.people.values().filter_map(|rule| rule.inverse.as_ref());
        let inverses = || self.tools.values().filter_map(|rule| rule.inverse.as_ref()).chain(of_people());
        if !inverses().all(is_name) {
            Some("the names of inverses must be letters, digits, _ and -")
        } else if inverses().any(|inverse| self.tools.contains_key(inverse)) {
            Some("an inverse must not be listed under [tools]: it is for the gateway alone, and no agent may call it")
        } else if self.tools.values().any(|rule| rule.inverse.is_some() && rule.effect == ToolEffect::Read)
            || self.people.values().any(|rule| rule.inverse.is_some() && rule.effect == ToolEffect::Read)
        {
            Some("a tool with effect = \"read\" changes nothing, so it has no inverse")
        } else {
            None
        }
    }

    /// The tool that undoes what another one did, as the operator paired them.
    #[must_use]
    pub fn inverse_of(&self, tool: &str) -> Option<&str> {
        let of_agents = self.tools.get(tool).and_then(|rule| rule.inverse.as_deref());
        of_agents.or_else(|| self.people.get(tool)?.inverse.as_deref())
    }

    /// The runtime its agents are started in, as drivers know it: each app that brings a command has one of its own.
    #[must_use]
    pub fn runtime(&self) -> String {
        match self.agent.runtime {
            RuntimeKind::Agent => "agent".to_owned(),
            RuntimeKind::Code => format!("code-{}", self.id),
        }
    }

    /// Whether what is asked of the model need not be the conversation with the person.
    #[must_use]
    pub fn uses_model_freely(&self) -> bool {
        self.agent.free_model_use || self.runs_code()
    }

    /// Whether its sandbox has programs that run code.
    #[must_use]
    pub fn runs_code(&self) -> bool {
        self.agent.runtime == RuntimeKind::Code
    }

    /// What the model sees before the name of each of the app's tools.
    #[must_use]
    pub fn tool_prefix(&self) -> Option<String> {
        self.mcp.as_ref().map(|mcp| format!("mcp__{}__", mcp.name))
    }

    /// The tools an agent gets: reads always, writes when the user switched them on.
    #[must_use]
    pub fn tools_offered(&self, writes: bool) -> Vec<&str> {
        self.tools.iter().filter(|(_, rule)| writes || rule.effect == ToolEffect::Read).map(|(name, _)| name.as_str()).collect()
    }

    /// The first argument of a call whose value does not come from where the tool's rules say.
    #[must_use]
    pub fn strange_argument<'a>(&self, tool: &str, arguments: &'a Map<String, Value>, known: &Known) -> Option<&'a str> {
        self.tools.get(tool).and_then(|rule| arguments::strange(rule, arguments, known))
    }

    /// Whether an argument's rule believes what this tool returns, so that it has to be remembered.
    #[must_use]
    pub fn vouches(&self, tool: &str) -> bool {
        self.tools.values().flat_map(|rule| rule.arguments.iter().flatten()).any(|(_, rule)| rule.needs(tool))
    }

    /// Whether it names anything that only a server can have.
    fn needs_server(&self) -> bool {
        !(self.tools.is_empty() && self.resources.is_empty() && self.people.is_empty() && self.prompts.is_empty())
    }

    /// Whether a channel without a credential or a model's word may lead to it: it is a fixture.
    #[must_use]
    pub fn is_fixture(&self) -> bool {
        self.mcp.as_ref().is_some_and(|mcp| mcp.danger_without_provenance)
    }

    /// Whether a resource address is on the list.
    #[must_use]
    pub fn allows_resource(&self, uri: &str) -> bool {
        self.resources.iter().any(|allowed| uri == allowed || (allowed.ends_with('/') && uri.starts_with(allowed.as_str())))
    }
}

/// A path below something that leads nowhere else.
pub(crate) fn is_plain(text: &str) -> bool {
    text.split('/').all(|part| !matches!(part, "" | "." | "..")) && !text.contains(['\0', '\\'])
}

/// What a command of an app's own may begin with: a name in `/usr/bin`, or a path below it or `/app`.
pub(crate) fn is_program(text: &str) -> bool {
    let below = |folder| text.strip_prefix(folder).is_some_and(is_plain);
    below("/app/") || below("/usr/bin/") || is_plain(text) && !text.contains('/')
}

impl AgentManifest {
    /// What of runtime, command and files can't be, or can't be together.
    fn fault(&self) -> Option<&'static str> {
        match (self.runtime, self.command.first()) {
            (RuntimeKind::Agent, Some(_)) => Some("agent.command needs agent.runtime = \"code\""),
            (RuntimeKind::Agent, None) if self.files.is_some() => Some("agent.files needs agent.runtime = \"code\""),
            (RuntimeKind::Code, None) => Some("agent.command must say what agent.runtime = \"code\" starts"),
            (RuntimeKind::Code, Some(first)) if !is_program(first) => {
                Some("agent.command must begin with a program's name, or a path below /app/ or /usr/bin/ without . and ..")
            }
            (RuntimeKind::Code, Some(_)) if self.files.as_ref().is_some_and(|files| !is_plain(files)) => {
                Some("agent.files must be a folder beside app.toml, without . and ..")
            }
            (RuntimeKind::Code, Some(_)) if self.command.iter().any(|word| word.contains('\0')) => {
                Some("agent.command must not contain NUL")
            }
            (RuntimeKind::Agent, None) | (RuntimeKind::Code, Some(_)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        id = "demo"
        title = "Demo"
        greeting = "Hello"
        resources = ["map://items", "map://item/"]
        [agent]
        model = "claude-sonnet-5-5"
        [mcp]
        name = "demo"
        server = "builtin"
        [tools.look]
        effect = "read"
        [tools.change]
        effect = "write"
    "#;

    #[test]
    fn writes_are_offered_only_when_switched_on() {
        let manifest = Manifest::parse(GOOD).expect("a good manifest");
        assert_eq!(manifest.tools_offered(false), ["look"]);
        assert_eq!(manifest.tools_offered(true), ["change", "look"]);
        assert!(
            manifest.allows_resource("map://item/7")
                && !manifest.allows_resource("map://items/7")
                && !manifest.allows_resource("file:///etc")
        );
    }

    #[test]
    fn faults_are_named() {
        let fault = |from: &str, to: &str| Manifest::parse(&GOOD.replace(from, to)).expect_err("must be refused").to_string();
        assert!(fault("title", "titel").contains("unknown field `titel`"));
        assert!(fault("\"write\"", "\"admin\"").contains("unknown variant `admin`"));
        assert!(fault("\"builtin\"", "\"stdio: sh\"").contains("builtin"));
        assert!(fault("\"builtin\"", "\"http://tools.example/mcp\"").contains("loopback"));
        assert!(fault("id = \"demo\"", "id = \"../x\"").contains("id must be"));
        assert!(fault("effect = \"read\"", "effect = \"read\"\ndestructive = true").contains("can't be destructive"));
        assert!(fault("effect = \"read\"", "effect = \"read\"\ninverse = \"undo\"").contains("no inverse"));
    }

    #[test]
    fn an_inverse_is_for_the_gateway_alone() {
        let with = |more: &str| Manifest::parse(&format!("{GOOD}{more}"));
        let manifest = with("inverse = \"undo\"\n").expect("a good manifest");
        assert_eq!(
            (manifest.inverse_of("change"), manifest.inverse_of("look"), manifest.inverse_of("undo")),
            (Some("undo"), None, None)
        );
        assert_eq!(manifest.tools_offered(true), ["change", "look"], "it is offered to nobody");
        let fault = |more: &str| with(more).expect_err("must be refused").to_string();
        assert!(fault("inverse = \"look\"\n").contains("no agent may call it"));
        assert!(fault("inverse = \"change\"\n").contains("no agent may call it"), "nor its own");
        assert!(fault("inverse = \"un do\"\n").contains("names of inverses"));
        assert!(fault("[tools.peek]\neffect = \"read\"\ninverse = \"undo\"\n").contains("changes nothing"));
        let people = with("[people.bring]\neffect = \"write\"\ninverse = \"undo\"\n").expect("a good manifest");
        assert_eq!((people.inverse_of("bring"), people.inverse_of("change")), (Some("undo"), None));
        assert!(fault("[people.bring]\neffect = \"write\"\ninverse = \"look\"\n").contains("no agent may call it"));
        assert!(fault("[people.see]\neffect = \"read\"\ninverse = \"undo\"\n").contains("changes nothing"));
    }

    #[test]
    fn a_command_and_files_belong_to_the_code_runtime() {
        let text = |agent: &str| {
            format!("id = 'demo'\ntitle = 'D'\ngreeting = 'g'\n[agent]\nmodel = 'claude-sonnet-5-5'\nruntime = 'code'\n{agent}")
        };
        let good = Manifest::parse(&text("command = ['node', '/app/agent.mjs']\nfiles = 'agent/dist'")).expect("good");
        assert_eq!((good.runtime().as_str(), good.tool_prefix()), ("code-demo", None));
        assert!(good.tools_offered(true).is_empty());
        Manifest::parse(&text("command = ['/app/bin/start']")).expect("a program of the app's own");
        let fault = |agent: &str| Manifest::parse(&text(agent)).expect_err(agent).to_string();
        assert!(fault("").contains("agent.command must say"));
        for program in ["", "/bin/sh", "../sh", "a/b", "/app/../usr/bin/node", "/app//x", "/app/", "/usr/bin/./node", "/etc/x"] {
            assert!(fault(&format!("command = ['{program}']")).contains("agent.command must begin"), "{program}");
        }
        for files in ["", ".", "..", "../x", "/etc", "a/../b", "a//b", "a/"] {
            assert!(fault(&format!("command = ['node']\nfiles = '{files}'")).contains("agent.files must be"), "{files}");
        }
        assert!(fault("command = ['node', \"a\\u0000\"]").contains("NUL"));
        assert!(fault("command = ['node']\n[tools.x]\neffect = 'read'").contains("need an [mcp] server"));
        assert!(fault("command = ['node']\n[people.x]\neffect = 'read'").contains("need an [mcp] server"));
        let agent = |more: &str| text(more).replace("runtime = 'code'", "");
        assert!(Manifest::parse(&agent("command = ['node']")).is_err() && Manifest::parse(&agent("files = 'x'")).is_err());
        Manifest::parse(&agent("")).expect("an app without tools");
    }
}
