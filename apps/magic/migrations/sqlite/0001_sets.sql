-- What was imported: at most one row for each kind of data, and its pieces. Pieces of a generation that no row names belong to
-- an import that is under way, or that was broken off.
CREATE TABLE magic_sets (
    kind        TEXT    NOT NULL PRIMARY KEY CHECK (kind IN ('cards', 'rulings', 'rules')),
    generation  TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    as_of       TEXT    NOT NULL,
    items       INTEGER NOT NULL CHECK (items > 0),
    pieces      INTEGER NOT NULL CHECK (pieces > 0),
    imported_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE magic_pieces (
    generation TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    begun_at   INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (generation, number)
) STRICT;
