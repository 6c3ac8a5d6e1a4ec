-- Snapshots that are kept outside of every server.

-- +goose Up

-- A VM, a snapshot or a server may be gone long before its export.
CREATE TABLE exports (
	id          TEXT PRIMARY KEY,
	account_id  TEXT NOT NULL REFERENCES accounts (id),
	vm_id       TEXT NOT NULL,
	vm_name     TEXT NOT NULL,
	snapshot_id TEXT NOT NULL,
	request_id  TEXT NOT NULL,   -- of the request that asked for it, '' for none
	state       TEXT NOT NULL CHECK (state IN ('uploading', 'done', 'failed', 'deleting')),
	reason      TEXT NOT NULL,   -- why it failed, '' otherwise
	image       TEXT NOT NULL,
	storage_gib BIGINT NOT NULL, -- of the disk
	bytes       BIGINT NOT NULL, -- of the snapshot's file
	sha256      TEXT NOT NULL,   -- of the snapshot's file
	through     BIGINT NOT NULL, -- bytes of it that are seen to
	recipient   TEXT NOT NULL,   -- what its objects are encrypted to
	identity    TEXT NOT NULL,   -- what they are decrypted with, in base64, sealed with its account's key
	manifest    TEXT NOT NULL,   -- checksum of its manifest, '' before its agent has stored all of it
	sealed      BIGINT NOT NULL, -- bytes in the store, 0 before it is done
	begun_at    BIGINT NOT NULL,
	deadline    BIGINT NOT NULL, -- when it is given up
	ended_at    BIGINT NOT NULL, -- when it was done or failed, 0 before
	link_until  BIGINT NOT NULL, -- until when an object of it may still be stored
	links       BIGINT NOT NULL DEFAULT 0, -- how many objects its agent was let store
	CHECK (bytes > 0 AND through >= 0 AND sealed >= 0)
);
CREATE UNIQUE INDEX exports_request ON exports (account_id, request_id) WHERE request_id <> '';
CREATE INDEX exports_account ON exports (account_id, begun_at);
CREATE INDEX exports_snapshot ON exports (snapshot_id);
CREATE INDEX exports_vm ON exports (vm_id);
CREATE INDEX exports_work ON exports (state) WHERE state <> 'done';

-- An account's key seals those of its exports; it is itself sealed with the
-- control plane's key, in base64.
CREATE TABLE account_keys (
	account_id TEXT PRIMARY KEY REFERENCES accounts (id),
	sealed     TEXT NOT NULL
);

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
DROP TABLE account_keys;
DROP TABLE exports;
