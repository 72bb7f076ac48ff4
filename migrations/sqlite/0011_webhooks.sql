-- Where host applications are told of things, as the configuration of the gateway says that started last. No secret is here.
CREATE TABLE webhook_endpoints (
    host TEXT NOT NULL,
    id TEXT NOT NULL,
    -- Kinds of events between commas: ,run.finished,anomaly,
    events TEXT NOT NULL,
    -- The gateway that delivers to it, and until when nobody else may.
    holder TEXT,
    held_until INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (host, id)
) STRICT;

-- What they are told. A row is written in the commit of what it tells of, and waits here until it was taken.
CREATE TABLE webhook_deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT,
    subject TEXT,
    data TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    last_error TEXT,
    ended_at INTEGER
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (host, endpoint, state, next_at);
CREATE INDEX webhook_deliveries_by_user ON webhook_deliveries (user_id);
