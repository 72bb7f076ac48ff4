-- What was imported: at most one row for each kind of data, and its pieces. Pieces of a generation that no row names belong to
-- an import that is under way, or that was broken off.
CREATE TABLE magic_sets (
    kind        TEXT   NOT NULL PRIMARY KEY CHECK (kind IN ('cards', 'rulings', 'rules')),
    generation  TEXT   NOT NULL,
    format      TEXT   NOT NULL,
    as_of       TEXT   NOT NULL,
    items       BIGINT NOT NULL CHECK (items > 0),
    pieces      BIGINT NOT NULL CHECK (pieces > 0),
    imported_at BIGINT NOT NULL
);

CREATE TABLE magic_pieces (
    generation TEXT   NOT NULL,
    number     BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    begun_at   BIGINT NOT NULL,
    body       TEXT   NOT NULL,
    PRIMARY KEY (generation, number)
);
