-- What VMs use, over time.

-- +goose Up

-- What agents told lately, a row for each minute and server: its key is the minute
-- since 1970, shifted by 32 bits, and the server's number. What comes together is
-- together, is read together, and goes together.
CREATE TABLE usage_recent (
	id
	-- SQLITE: INTEGER
	-- POSTGRES: BIGINT
	     NOT NULL PRIMARY KEY,
	body BYTEA NOT NULL -- a batch of all its VMs; bytes are bytes to SQLite, whatever the type
);

-- What is kept of it: a row for each VM, length of points and stretch of time.
CREATE TABLE usage_kept (
	vm_id  TEXT NOT NULL,
	width  BIGINT NOT NULL, -- of its points, in slots of 15 s
	begins BIGINT NOT NULL, -- the slot with which the stretch begins
	body   BYTEA NOT NULL,  -- a series
	PRIMARY KEY (vm_id, width, begins)
)
-- SQLITE: WITHOUT ROWID
;
CREATE INDEX usage_kept_age ON usage_kept (width, begins);

-- Texts are compared byte by byte, see 00009.
-- +goose StatementBegin
-- SQLITE: SELECT 1;
-- POSTGRES: DO $$
-- POSTGRES: DECLARE c RECORD;
-- POSTGRES: BEGIN
-- POSTGRES:     FOR c IN SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
-- POSTGRES:     LOOP
-- POSTGRES:         EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', c.table_name, c.column_name);
-- POSTGRES:     END LOOP;
-- POSTGRES: END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE usage_kept;
DROP TABLE usage_recent;
