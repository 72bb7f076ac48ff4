-- Titles, contents, previews and links are sealed. What is counted is what they hold: a sealed text of n bytes is one character and
-- then n + 28 bytes as base64url, so it holds (length - 1) * 3 / 4 - 28. No text counts as less than nothing: a plain one of an older version
-- may be shorter than any sealed one.
CREATE OR REPLACE FUNCTION hexmap_bytes(title TEXT, content TEXT, preview TEXT, link TEXT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE AS $$
    SELECT CAST((CASE WHEN OCTET_LENGTH(title) > 38 THEN (OCTET_LENGTH(title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(content) > 38 THEN (OCTET_LENGTH(content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(preview) > 38 THEN (OCTET_LENGTH(preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(link) > 38 THEN (OCTET_LENGTH(link) - 1) * 3 / 4 - 28 ELSE 0 END)
                AS BIGINT)
$$;

-- One row, as soon as nothing is left that an older version wrote unsealed. A new database has nothing.
CREATE TABLE hexmap_sealed (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1)
);
INSERT INTO hexmap_sealed (id) SELECT 1
WHERE NOT EXISTS (SELECT 1 FROM hexmap_tiles) AND NOT EXISTS (SELECT 1 FROM hexmap_images) AND NOT EXISTS (SELECT 1 FROM hexmap_versions);

-- As long as older texts are being sealed they have not changed.
CREATE OR REPLACE FUNCTION hexmap_tiles_versioned() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM hexmap_sealed) THEN
        RETURN NULL;
    END IF;
    INSERT INTO hexmap_versions
        (owner, tile_id, number, item_type, title, content, preview, link, visibility, written_by, replaced_at)
    SELECT OLD.owner, OLD.id, COALESCE(MAX(v.number), 0) + 1, OLD.item_type, OLD.title, OLD.content, OLD.preview, OLD.link,
           OLD.visibility, OLD.written_by, NEW.updated_at
    FROM hexmap_versions v WHERE v.owner = OLD.owner AND v.tile_id = OLD.id;
    DELETE FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id
        AND number <= (SELECT MAX(number) FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id) - 20;
    RETURN NULL;
END $$;
