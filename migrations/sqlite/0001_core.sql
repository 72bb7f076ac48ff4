-- People. A host application's users and our own are alike: (issuer, subject) names them.
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (issuer, subject)
) STRICT;

-- Only the digest of a session's token is kept.
CREATE TABLE sessions (
    token_digest BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE conversations (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    app TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX conversations_by_user ON conversations (user_id, updated_at);

-- One user message from its arrival to its end. At most one is active in a conversation.
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL,
    app TEXT NOT NULL,
    gateway TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'finished', 'failed', 'stopped')),
    writes INTEGER NOT NULL,
    code TEXT,
    message TEXT,
    turns INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX runs_active ON runs (conversation_id) WHERE state = 'active';
CREATE INDEX runs_by_gateway ON runs (gateway, state);

-- What was said and done, in order, as the gateway saw it.
CREATE TABLE messages (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'tool')),
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, seq)
) STRICT;

-- The ledger. Invariant: settled + reserved never exceeds limit at the moment of a reservation.
CREATE TABLE ledger_accounts (
    scope TEXT NOT NULL,
    period INTEGER NOT NULL,
    settled_microusd INTEGER NOT NULL CHECK (settled_microusd >= 0),
    reserved_microusd INTEGER NOT NULL CHECK (reserved_microusd >= 0),
    PRIMARY KEY (scope, period)
) STRICT;

CREATE TABLE model_calls (
    id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    gateway TEXT NOT NULL,
    path TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'settled')),
    reserved_microusd INTEGER NOT NULL CHECK (reserved_microusd >= 0),
    cost_microusd INTEGER,
    outcome TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    settled_at INTEGER
) STRICT;
CREATE INDEX model_calls_by_run ON model_calls (run_id);
CREATE INDEX model_calls_open ON model_calls (gateway, expires_at) WHERE state = 'open';

-- To which accounts a call's reservation belongs.
CREATE TABLE model_call_accounts (
    call_id TEXT NOT NULL REFERENCES model_calls (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    period INTEGER NOT NULL,
    PRIMARY KEY (call_id, scope, period)
) STRICT;

-- The tool journal: written before the call leaves and after it came back.
CREATE TABLE tool_calls (
    id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    app TEXT NOT NULL,
    tool TEXT NOT NULL,
    tool_use_id TEXT NOT NULL,
    effect TEXT NOT NULL CHECK (effect IN ('read', 'write')),
    arguments TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'done', 'failed', 'uncertain')),
    result TEXT,
    opened_at INTEGER NOT NULL,
    settled_at INTEGER,
    UNIQUE (run_id, tool_use_id)
) STRICT;
CREATE INDEX tool_calls_by_user ON tool_calls (user_id, opened_at);

CREATE TABLE audit_log (
    id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    run_id TEXT,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX audit_log_by_run ON audit_log (run_id);
