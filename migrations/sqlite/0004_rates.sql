-- What is owed to each rate limit: the moment, in microseconds, when it will be paid off. A row whose moment has passed says
-- the same as none. With this engine the gateway keeps them in memory, and this is the copy that outlives it.
CREATE TABLE rate_states (
    name TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL
) STRICT;
