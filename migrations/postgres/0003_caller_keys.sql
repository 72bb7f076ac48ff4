-- Keys of remote callers. Only the digest of a token is kept. A key belongs to a service principal, a user of the issuer
-- hexward:callers, whose budget all its keys share.
CREATE TABLE caller_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_digest BYTEA NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('made', 'environment')),
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    -- In the future while a rotation's grace lasts.
    revoked_at BIGINT,
    used_at BIGINT
);
CREATE INDEX caller_keys_by_user ON caller_keys (user_id);

-- One row: goes up with every change that gateways must know of, so that asking for news is cheap.
CREATE TABLE caller_keys_version (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO caller_keys_version (id, version) VALUES (1, 1);
