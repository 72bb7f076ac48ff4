//! Decides. Pure: ids, money, prices, limits, permits, denials, tool and egress rules, audit events.
//!
//! No I/O, no clock, no async, no SQL, no HTTP: everything a decision needs comes in as an argument, so every decision can
//! be tested as a table. What it returns is used up by the rooms above: a [`ModelPermit`] or [`ToolPermit`] has no other
//! constructor than its `admit` function, and forwarding needs one.

mod admit;
mod admit_tool;
mod arguments;
mod audit;
mod audit_told;
mod behaviour;
mod breaker;
mod budget;
mod canonical;
mod ceiling;
mod confirmation;
mod denial;
mod egress;
mod host;
mod ids;
mod key;
mod labels;
mod manifest;
mod mcp_manifest;
mod message;
mod money;
mod person;
mod prices;
mod rate;
mod rate_rules;
mod rest;
mod route;
mod schema;
mod skills;
mod time;
mod tool;
mod undo;
mod usage;
mod webhook;

pub use admit::{BudgetLine, ModelPath, ModelPermit, ModelRequest, RequestBody, RunView, admit_model, ceiling_of};
pub use admit_tool::{ClientView, ToolPermit, ToolRequest, ToolVerdict, admit_client_tool, admit_tool};
pub use arguments::{ArgumentFault, ArgumentKind, ArgumentRule, ArgumentSource, Known, Origin, ResultField};
pub use audit::AuditEvent;
pub use behaviour::{Act, Behaviour, BehaviourRules, Conduct, Judged};
pub use breaker::{Breaker, BreakerRules, CallOutcome, PACE_SECS_MAX, Pace, Passage};
pub use budget::{
    ALERT_PERCENTS, Budgets, OUTPUT_TOKENS_MIN, Payer, Throttle, TierLimits, affordable_output, thresholds_crossed, throttle,
};
pub use canonical::{canonical_digest, digest_bytes};
pub use ceiling::{BLOCK_TOKENS, CacheWrites, MESSAGE_TOKENS, PROMPT_OVERHEAD_TOKENS, Prompt};
pub use confirmation::{
    CONFIRMATION_SECS, CONFIRMATION_UNREAD_MICROS, CONFIRMATIONS_PENDING_MAX, ConfirmationFault, ConfirmationState,
    ConfirmationStep, ConfirmationTimes, ConfirmedCall, ConfirmedPermit, ToolQuestion, admit_confirmed, answer_confirmation,
};
pub use denial::{Denial, DenialCode, Fault};
pub use egress::{
    AddressFault, CredentialSlot, Destination, EgressRequest, EgressRule, EgressRules, Endpoint, HostName, HostNameError,
    PathPattern, RuleError, Scheme, classify, is_plain_path, vet_address,
};
pub use host::{
    ASSERTION_LEEWAY_SECS, ASSERTION_LIFE_SECS_MAX, Asserted, AssertionAlgorithm, AssertionClaims, AssertionFault, HOST_ISSUER,
    HostAccount, HostAction, HostKey, HostRules, ShownKey, TICKET_PREFIX, judge_assertion,
};
pub use ids::{CallId, ChallengeId, ConfirmationId, ConversationId, IdError, KeyId, RunId, SandboxId, SliceId, UserId};
pub use key::{
    KEY_PREFIX, KeyFault, KeyPath, KeyPurpose, KeyScope, KeyUse, Network, NetworkError, is_key_name, judge_key, key_digest,
    key_token,
};
pub use labels::Labels;
pub use manifest::{AgentManifest, Manifest, ManifestError, PersonRule, RuntimeKind, ToolEffect, ToolRule};
pub use mcp_manifest::{CredentialManifest, McpManifest, McpServer, ProcessKind, SecretKind};
pub use message::{MESSAGE_CHARS_MAX, MessageError, UserMessage};
pub use money::Microusd;
pub use person::{PersonPermit, admit_person};
pub use prices::{
    ModelPrice, PRICES_REVIEWED_DAY, PriceError, Prices, RATE_MAX, RateError, Rates, Tier, is_version_of, parse_rate, price_of,
    rate_text,
};
pub use rate::{
    Admitted, RateCheck, RateDecision, RateLimit, RateRefusal, RateStanding, UNIT_MILLIS, decide as decide_rate,
    decide_all as decide_rates,
};
pub use rate_rules::{RateRules, TierRules, call_weight_millis};
pub use rest::{Standing, first_to_go};
pub use route::{Candidate, choose, free_again};
pub use schema::{ArgumentSchema, Misfit, SCHEMA_BYTES_MAX, SchemaFault};
pub use skills::Skill;
pub use time::{Clock, Timestamp, date_of_day, day_of_date};
pub use tool::{ToolClass, ToolHints, ToolListed};
pub use undo::{Direction, UndoPermit, UndoneBy, WayBack, admit_undo};
pub use usage::{Extras, Usage};
pub use webhook::{WEBHOOK_WAITS, WebhookEvent};
