-- Snapshots of VMs, and when they are made.

-- +goose Up


CREATE TABLE snapshots (
	id            TEXT PRIMARY KEY,
	vm_id         TEXT NOT NULL REFERENCES vms (id),
	account_id    TEXT NOT NULL REFERENCES accounts (id),
	server_id     TEXT NOT NULL,
	name          TEXT NOT NULL,
	operation     TEXT NOT NULL,    -- that makes it
	scheduled     BOOLEAN NOT NULL, -- by a schedule, which may delete it
	disk          BIGINT NOT NULL,  -- the number of the disk that it is of
	created_at    BIGINT NOT NULL,
	state         TEXT NOT NULL CHECK (state IN ('making', 'available', 'failed', 'deleting')),
	reason        TEXT NOT NULL,    -- why it failed, '' otherwise
	percent       BIGINT NOT NULL,  -- copied, while it is made
	held          BIGINT NOT NULL,  -- GiB of its server's storage
	at            BIGINT NOT NULL,  -- the moment; 0 until it is available
	bytes         BIGINT NOT NULL,  -- of its file
	virtual_bytes BIGINT NOT NULL,  -- of the disk
	checksum      TEXT NOT NULL,    -- 'sha256:…' of its file
	consistency   TEXT NOT NULL,    -- 'crash' or 'filesystem'; '' until it is available
	image         TEXT NOT NULL,    -- that the VM was made of
	host_keys     TEXT NOT NULL     -- of the VM then, a line each
);
CREATE INDEX snapshots_vm ON snapshots (vm_id, created_at);
CREATE INDEX snapshots_account ON snapshots (account_id, created_at);

-- A schedule has a VM's snapshots made: one every so often, of which so many are kept.
CREATE TABLE schedules (
	vm_id    TEXT PRIMARY KEY REFERENCES vms (id),
	every    BIGINT NOT NULL, -- microseconds
	keep     BIGINT NOT NULL,
	next_at  BIGINT NOT NULL, -- when the next one is due
	told     TEXT NOT NULL    -- why the last one was left out, '' when it was not
);
CREATE INDEX schedules_due ON schedules (next_at);

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
DROP TABLE schedules;
DROP TABLE snapshots;
