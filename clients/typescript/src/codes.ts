// Written by scripts/codes.mjs from docs/denials.md and docs/api.md; do not edit.

/** What a run or a call was refused for: docs/denials.md. */
export type DenialCode =
  | "run.none"
  | "run.deadline"
  | "run.turns"
  | "budget.run"
  | "budget.day"
  | "budget.user"
  | "budget.tier"
  | "budget.app"
  | "budget.host"
  | "model.context"
  | "model.name"
  | "model.path"
  | "model.feature"
  | "model.conversation"
  | "model.output"
  | "key.scope"
  | "key.tool"
  | "key.read_only"
  | "key.requests"
  | "model.busy"
  | "upstream.unavailable"
  | "tool.unknown"
  | "tool.not_emitted"
  | "tool.induced"
  | "tool.argument"
  | "tool.input"
  | "tool.schema"
  | "tool.write_off"
  | "undo.inverse"
  | "undo.active"
  | "undo.busy"
  | "undo.rate"
  | "tool.held"
  | "confirmation.full"
  | "confirmation.denied"
  | "confirmation.expired"
  | "confirmation.stale"
  | "confirmation.unknown"
  | "tool.unconfirmed"
  | "egress.host"
  | "egress.tls"
  | "egress.rule"
  | "egress.address"
  | "egress.protocol"
  | "egress.busy"
  | "run.idle"
  | "agent.output"
  | "agent.memory"
  | "agent.cpu"
  | "agent.processes"
  | "agent.disk"
  | "agent.connections"
  | "agent.requests"
  | "rate.address"
  | "rate.user"
  | "rate.edits"
  | "rate.lookups"
  | "rate.tools"
  | "behaviour.unconfirmed"
  | "behaviour.hostile"
  | "behaviour.client"
  | "rate.global"
  | "rate.host"
  | "rate.key"
  | "run.queue_expired"
  | "host.action"
  | "host.app"
  | "host.unknown"
  | "assertion.missing"
  | "assertion.malformed"
  | "assertion.algorithm"
  | "assertion.key"
  | "assertion.signature"
  | "assertion.issuer"
  | "assertion.audience"
  | "assertion.time"
  | "assertion.replayed"
  | "assertion.keys"
  | "ticket.invalid"
  | "ticket.in_use";

/** What else a request is answered with: docs/api.md. */
export type ApiCode =
  | "agent.ended"
  | "agent.missing"
  | "app.unavailable"
  | "app.uncertain"
  | "app.which"
  | "body.content_type"
  | "body.cut"
  | "body.json"
  | "body.slow"
  | "body.too_large"
  | "body.utf8"
  | "challenge.no_work"
  | "challenge.too_soon"
  | "confirm.origin"
  | "confirm.return_to"
  | "confirmation.decided"
  | "confirmation.early"
  | "direct.forwarded"
  | "document.busy"
  | "gateway.restarted"
  | "gateway.stopping"
  | "host"
  | "idempotency.key"
  | "idempotency.other"
  | "internal"
  | "key"
  | "key.app"
  | "key.expires_days"
  | "key.name"
  | "key.too_many"
  | "key.tools"
  | "message.control"
  | "message.empty"
  | "message.too_long"
  | "method"
  | "model.failed"
  | "not_found"
  | "origin"
  | "run.active"
  | "run.busy"
  | "run.elsewhere"
  | "run.waiting"
  | "sandbox.unavailable"
  | "session.none"
  | "skill.tier"
  | "skill.unknown"
  | "store.unavailable"
  | "streams.too_many"
  | "undo.what";

export type KnownCode = DenialCode | ApiCode;

/** Every code that this version's gateway has. */
export const CODES: readonly KnownCode[] = [
  "run.none",
  "run.deadline",
  "run.turns",
  "budget.run",
  "budget.day",
  "budget.user",
  "budget.tier",
  "budget.app",
  "budget.host",
  "model.context",
  "model.name",
  "model.path",
  "model.feature",
  "model.conversation",
  "model.output",
  "key.scope",
  "key.tool",
  "key.read_only",
  "key.requests",
  "model.busy",
  "upstream.unavailable",
  "tool.unknown",
  "tool.not_emitted",
  "tool.induced",
  "tool.argument",
  "tool.input",
  "tool.schema",
  "tool.write_off",
  "undo.inverse",
  "undo.active",
  "undo.busy",
  "undo.rate",
  "tool.held",
  "confirmation.full",
  "confirmation.denied",
  "confirmation.expired",
  "confirmation.stale",
  "confirmation.unknown",
  "tool.unconfirmed",
  "egress.host",
  "egress.tls",
  "egress.rule",
  "egress.address",
  "egress.protocol",
  "egress.busy",
  "run.idle",
  "agent.output",
  "agent.memory",
  "agent.cpu",
  "agent.processes",
  "agent.disk",
  "agent.connections",
  "agent.requests",
  "rate.address",
  "rate.user",
  "rate.edits",
  "rate.lookups",
  "rate.tools",
  "behaviour.unconfirmed",
  "behaviour.hostile",
  "behaviour.client",
  "rate.global",
  "rate.host",
  "rate.key",
  "run.queue_expired",
  "host.action",
  "host.app",
  "host.unknown",
  "assertion.missing",
  "assertion.malformed",
  "assertion.algorithm",
  "assertion.key",
  "assertion.signature",
  "assertion.issuer",
  "assertion.audience",
  "assertion.time",
  "assertion.replayed",
  "assertion.keys",
  "ticket.invalid",
  "ticket.in_use",
  "agent.ended",
  "agent.missing",
  "app.unavailable",
  "app.uncertain",
  "app.which",
  "body.content_type",
  "body.cut",
  "body.json",
  "body.slow",
  "body.too_large",
  "body.utf8",
  "challenge.no_work",
  "challenge.too_soon",
  "confirm.origin",
  "confirm.return_to",
  "confirmation.decided",
  "confirmation.early",
  "direct.forwarded",
  "document.busy",
  "gateway.restarted",
  "gateway.stopping",
  "host",
  "idempotency.key",
  "idempotency.other",
  "internal",
  "key",
  "key.app",
  "key.expires_days",
  "key.name",
  "key.too_many",
  "key.tools",
  "message.control",
  "message.empty",
  "message.too_long",
  "method",
  "model.failed",
  "not_found",
  "origin",
  "run.active",
  "run.busy",
  "run.elsewhere",
  "run.waiting",
  "sandbox.unavailable",
  "session.none",
  "skill.tier",
  "skill.unknown",
  "store.unavailable",
  "streams.too_many",
  "undo.what",
];
