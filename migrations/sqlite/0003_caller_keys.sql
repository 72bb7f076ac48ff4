-- Keys of remote callers. Only the digest of a token is kept. A key belongs to a service principal, a user of the issuer
-- hexward:callers, whose budget all its keys share.
CREATE TABLE caller_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('made', 'environment')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    -- In the future while a rotation's grace lasts.
    revoked_at INTEGER,
    used_at INTEGER
) STRICT;
CREATE INDEX caller_keys_by_user ON caller_keys (user_id);

-- One row: goes up with every change that gateways must know of, so that asking for news is cheap.
CREATE TABLE caller_keys_version (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO caller_keys_version (id, version) VALUES (1, 1);
