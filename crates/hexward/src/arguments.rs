//! What can be said on the command line.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Puts a Claude agent in front of strangers without losing keys, data, budget or sleep.
#[derive(Parser)]
#[command(name = "hexward", version)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs the gateway as configured.
    Serve(ServeArgs),
    /// Runs everything on loopback with a scripted model: no key, no network.
    Demo(DemoArgs),
    /// Makes the configuration and the secrets of a new installation; overwrites nothing.
    Init(crate::init::InitArgs),
    /// Checks a configuration, shows what is in force and from where, and lists every key.
    Config(crate::config_command::ConfigArgs),
    /// Runs any program in a sandbox over the current folder, with no network but what is allowed, and applies its changes only
    /// when told to.
    Run(RunArgs),
    /// Makes, lists, ends and rotates keys for remote callers, also while gateways run.
    Key(crate::key::KeyArgs),
    /// The master key by which what people wrote is sealed.
    DataKey(crate::data_key::DataKeyArgs),
    /// Takes back what agents changed, or does it again, also while no gateway runs.
    Undo(crate::undo::UndoArgs),
    /// Imports cards and rules for the Magic assistant, and says how old they are; also while gateways run.
    Cards(CardsArgs),
    /// Shows what tools' servers say of their tools, and lets an operator agree to a definition that has changed; also while
    /// gateways run.
    Tools(ToolsArgs),
    /// Shows what host applications were not told yet, and tries again what was given up; also while gateways run.
    Webhooks(crate::webhooks_command::WebhooksArgs),
    /// Installs, upgrades and checks the agent.
    Agent(AgentArgs),
    /// Assembles the fuller runtime (shell, core utilities, Node, Python, git) from this host's packages.
    #[command(name = "runtime-build")]
    Runtime(RuntimeArgs),
    /// Runs the scripted model API alone.
    Fake(FakeArgs),
    /// Shows what models cost, and checks it.
    Prices(PricesArgs),
    /// Shows the model providers, and changes their keys without a restart.
    Provider(ProviderArgs),
    /// Prints the description of the API for host applications' back ends, in the words of OpenAPI 3.1.
    #[command(name = "openapi")]
    OpenApi,
    /// Attacks a gateway of this version on this machine and says what held.
    Redteam(RedteamArgs),
}

#[derive(Args)]
pub(crate) struct Common {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the database and the gateway's own small files are.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state")]
    pub(crate) state_dir: PathBuf,
    /// The agent's executable.
    #[arg(long, value_name = "FILE")]
    pub(crate) agent: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Uses the real provider with `ANTHROPIC_API_KEY`, under caps of $1 a run and $5 a day.
    #[arg(long)]
    pub(crate) real: bool,
    /// Sends one message down the whole path without a browser, prints the run's events as NDJSON and ends.
    #[arg(long, value_name = "TEXT")]
    pub(crate) once: Option<String>,
    /// Which app, by its id; without it, the one that the configuration names for the page.
    #[arg(long, value_name = "ID")]
    pub(crate) app: Option<String>,
    /// Whether the agent may change things.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) writes: bool,
    /// Where people connect.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// A scenario of the scripted model for every request.
    #[arg(long, value_name = "NAME", conflicts_with = "real")]
    pub(crate) scenario: Option<String>,
    /// Uses the database that `DATABASE_URL` names; otherwise a demo keeps to a file of its own.
    #[arg(long)]
    pub(crate) database_from_env: bool,
    /// Lets the agent dial the provider's built-in address, to show that it is intercepted.
    #[arg(long)]
    pub(crate) no_base_url: bool,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Applies the changes to the real folder, but for dangerous ones.
    #[arg(long, conflicts_with_all = ["discard", "list"])]
    pub(crate) apply: bool,
    /// Applies all changes, also to git hooks, editor settings, CI files and the like.
    #[arg(long, conflicts_with_all = ["discard", "list"])]
    pub(crate) apply_dangerous: bool,
    /// Throws the changes away.
    #[arg(long, conflicts_with = "list")]
    pub(crate) discard: bool,
    /// Lists the changes and throws them away.
    #[arg(long)]
    pub(crate) list: bool,
    /// Passes a variable of your environment on. All others but TERM, LANG and PATH stay outside.
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Vec<String>,
    /// Lets it reach a host: HOST (TLS, port 443), HOST:80 (plain HTTP), HOST:PORT (TLS), http://HOST:PORT. All else is refused.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) allow: Vec<String>,
    /// Allows HOST and puts the secret of your variable NAME into each request's HEADER, behind PREFIX if there is one. The
    /// program sees a placeholder in NAME: GITHUB_TOKEN=api.github.com:authorization:Bearer.
    #[arg(long, value_name = "NAME=HOST[:PORT]:HEADER[:PREFIX]")]
    pub(crate) key: Vec<String>,
    /// Accepts that an allowed host's name leads to this machine or to a private network, whose services trust who comes from
    /// there. Metadata services stay refused.
    #[arg(long, value_name = "HOST")]
    pub(crate) danger_allow_private: Vec<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Args)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) command: AgentCommand,
    /// Where agents are installed.
    #[arg(long, value_name = "DIR", default_value = crate::demo::AGENT_FOLDER, global = true)]
    pub(crate) folder: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum AgentCommand {
    /// Installs the version this gateway was tested with, if it is not in use already.
    Install {
        /// Installs it also if it is in use: after an update of the host's libraries, of which an image holds copies.
        #[arg(long)]
        again: bool,
        /// A folder with the unpacked npm package, instead of npm.
        #[arg(long, value_name = "DIR")]
        package: Option<PathBuf>,
    },
    /// Installs another version; on a failed check nothing changes.
    Upgrade {
        /// Which; without it, the one this gateway was tested with.
        version: Option<String>,
        /// A folder with the unpacked npm package, instead of npm.
        #[arg(long, value_name = "DIR")]
        package: Option<PathBuf>,
    },
    /// Goes back to the version before.
    Rollback,
    /// Compares the installed agent with its lock, and tries it in a sandbox.
    Check,
}

#[derive(Args)]
pub(crate) struct RuntimeArgs {
    /// The image's folder.
    #[arg(long, value_name = "DIR", default_value = crate::demo::RUNTIME_FOLDER)]
    pub(crate) folder: PathBuf,
}

#[derive(Args)]
pub(crate) struct FakeArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:7413")]
    pub(crate) listen: SocketAddr,
    /// Folders with further scenarios.
    #[arg(long, value_name = "DIR")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// The scenario of every request that does not name one itself.
    #[arg(long)]
    pub(crate) scenario: Option<String>,
    /// Pause before each piece of streamed content, in milliseconds.
    #[arg(long, default_value_t = 12)]
    pub(crate) event_delay_ms: u64,
}

#[derive(Args)]
pub(crate) struct PricesArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The UTC day, like 2026-10-07; without it, today.
    #[arg(long, value_name = "DATE")]
    pub(crate) at: Option<String>,
    /// Fails if a configured app's model has no price, and names what is old or odd.
    #[arg(long)]
    pub(crate) check: bool,
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct CardsArgs {
    #[command(subcommand)]
    pub(crate) command: CardsCommand,
    /// Where the database is, unless `DATABASE_URL` names one.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum CardsCommand {
    /// Takes Scryfall's bulk files (oracle_cards, default_cards, rulings), MTGJSON's AtomicCards or the text of the Comprehensive
    /// Rules in place of what was there; which it is, the file says. One that is cut or wrong changes nothing.
    Import {
        /// The files; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Shows what there is, where it comes from and how old it is.
    Status,
    /// Forgets what was imported, so that the invented cards or rules are back.
    Forget {
        /// What to forget.
        #[arg(value_enum)]
        kind: CardsKind,
    },
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CardsKind {
    Cards,
    Rulings,
    Rules,
}

#[derive(Args)]
pub(crate) struct ProviderArgs {
    #[command(subcommand)]
    pub(crate) command: ProviderCommand,
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where the gateway's own small files are.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum ProviderCommand {
    /// Lists names, addresses and the last four digits of the keys' digests; no key.
    List,
    /// Reads a new key from standard input and uses it from the next call on; a running gateway notices within a second.
    Rotate {
        /// The provider's name.
        name: String,
        /// Reads the key from a file instead.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Goes back to the keys of the environment.
    Forget {
        /// The provider's name.
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct ToolsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ToolsCommand>,
    /// Where the database is, unless `DATABASE_URL` names one.
    #[arg(long, value_name = "DIR", default_value = ".hexward/state", global = true)]
    pub(crate) state_dir: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum ToolsCommand {
    /// Lists every tool that was ever seen; the same as no command.
    List,
    /// Shows what has changed in the definitions that are held.
    Review {
        /// The app.
        app: String,
        /// One of its tools; without it, all that are held.
        tool: Option<String>,
        /// Agrees to the new definition of this tool: the digest that the review shows, so that nothing unseen is agreed to.
        #[arg(long, value_name = "DIGEST", requires = "tool")]
        agree: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct RedteamArgs {
    #[command(subcommand)]
    pub(crate) suite: RedteamSuite,
}

#[derive(Subcommand)]
pub(crate) enum RedteamSuite {
    /// What an agent gone bad would try, carried out in real sandboxes. Needs no key and no network.
    Sandbox(SandboxSuiteArgs),
    /// What an agent would do whose model was fooled, or that does without its model: the tasks of AgentDojo, replayed through a
    /// gateway. Needs Python and, once, the index that it has packages from; no key and no model.
    Tools(ToolsSuiteArgs),
}

#[derive(Args)]
pub(crate) struct ToolsSuiteArgs {
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// One policy only.
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// One suite only: banking, slack, travel or workspace.
    #[arg(long, value_name = "NAME")]
    pub(crate) suite: Option<String>,
    /// Each attack with so many of a suite's tasks only.
    #[arg(long, value_name = "COUNT")]
    pub(crate) pairs: Option<usize>,
    /// The program that attacks, where it does not stand beside this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) probe: Option<PathBuf>,
    /// The program that confines, where it does not stand beside this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) jail: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SandboxSuiteArgs {
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// What confines the attacks; another sandbox than our own gets those from inside only.
    #[arg(long, value_enum, default_value_t = Under::Native)]
    pub(crate) under: Under,
    /// The command-line program of sandbox-runtime, for `--under srt`; `scripts/setup.sh peers` puts it there.
    #[arg(long, value_name = "FILE", default_value = crate::SANDBOX_RUNTIME)]
    pub(crate) srt: PathBuf,
    /// One group of attacks only.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// The program that attacks, where it does not stand beside this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) probe: Option<PathBuf>,
    /// The program that confines, where it does not stand beside this one.
    #[arg(long, value_name = "FILE")]
    pub(crate) jail: Option<PathBuf>,
}

/// What confines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Under {
    /// Our own sandbox, with a whole gateway around it.
    Native,
    /// Bubblewrap with everything unshared and the same files.
    Bwrap,
    /// Anthropic's sandbox-runtime with the strictest settings that it works with.
    Srt,
}
