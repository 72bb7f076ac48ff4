-- What is owed to each rate limit: the moment, in microseconds, when it will be paid off. A row whose moment has passed says
-- the same as none. All gateways on this database share them.
CREATE TABLE rate_states (
    name TEXT NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL
);
