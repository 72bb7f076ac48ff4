-- Calls that wait for their owner's yes, and what became of them. What is confirmed is exactly what stands here.
CREATE TABLE confirmations (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- The run, or the window of a remote caller.
    run_id TEXT NOT NULL,
    app TEXT NOT NULL,
    tool TEXT NOT NULL,
    tool_use_id TEXT NOT NULL,
    -- The name of the client that asks, where it is not an agent of ours.
    asked_by TEXT,
    arguments TEXT NOT NULL,
    arguments_digest BYTEA NOT NULL,
    -- What the tool was when it was asked: its class, and the digest of its definition.
    class TEXT NOT NULL,
    definition BYTEA NOT NULL,
    writes BIGINT NOT NULL,
    -- What the application said that it would do; the digest has to hold when it is done.
    summary TEXT,
    effect_digest TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'executing', 'done', 'failed', 'uncertain')),
    -- Which gateway asked, and which makes the call.
    gateway TEXT NOT NULL,
    executor TEXT,
    -- The journal's entry.
    call_id TEXT,
    result TEXT,
    -- Whether what was done can be undone.
    reversible BIGINT NOT NULL,
    -- Whether who asked was told that it waits: what becomes of it is then told to the conversation.
    late BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    shown_at BIGINT,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    UNIQUE (run_id, tool_use_id)
);
CREATE INDEX confirmations_by_user ON confirmations (user_id, state);
CREATE INDEX confirmations_by_gateway ON confirmations (gateway, state);

-- Definitions of tools as their servers list them: the one that is used, and one that waits for an operator.
CREATE TABLE tool_definitions (
    app TEXT NOT NULL,
    tool TEXT NOT NULL,
    digest BYTEA NOT NULL,
    definition TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    reviewed_at BIGINT,
    held_digest BYTEA,
    held_definition TEXT,
    held_at BIGINT,
    PRIMARY KEY (app, tool)
);
