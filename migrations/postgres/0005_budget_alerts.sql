-- Which shares of a budget were used up already. A row is made once, so that somebody is told once in a period.
CREATE TABLE budget_alerts (
    scope TEXT NOT NULL,
    period BIGINT NOT NULL,
    percent BIGINT NOT NULL CHECK (percent > 0 AND percent <= 100),
    at BIGINT NOT NULL,
    PRIMARY KEY (scope, period, percent)
);
