-- What customers do to VMs that takes its time.

-- +goose Up

-- before are the ports of a VM that are open again at revert_at, unless that is 0;
-- protected is whether its customer has to unprotect a VM before it can be deleted;
-- operation is what goes on, '' for nothing; restart is the generation at which a
-- VM was last to be started anew, abrupt whether its guest is not asked.
ALTER TABLE vms ADD COLUMN before TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN revert_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vms_revert ON vms (revert_at) WHERE revert_at > 0;
ALTER TABLE vms ADD COLUMN protected BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE vms ADD COLUMN operation TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN restart BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN abrupt BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE operations (
	id         TEXT PRIMARY KEY,
	vm_id      TEXT NOT NULL REFERENCES vms (id),
	account_id TEXT NOT NULL REFERENCES accounts (id),
	request_id TEXT NOT NULL,   -- of the request that asked for it, '' for none
	action     TEXT NOT NULL,
	generation BIGINT NOT NULL, -- of the VM at which it is fulfilled
	begun_at   BIGINT NOT NULL,
	deadline   BIGINT NOT NULL,
	ended_at   BIGINT NOT NULL, -- 0 while it goes on
	error      TEXT NOT NULL    -- why it failed, '' otherwise
);
CREATE UNIQUE INDEX operations_request ON operations (account_id, request_id) WHERE request_id <> '';
CREATE UNIQUE INDEX operations_open ON operations (vm_id) WHERE ended_at = 0;
CREATE INDEX operations_vm ON operations (vm_id, begun_at);
CREATE INDEX operations_deadline ON operations (deadline) WHERE ended_at = 0;

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
DROP TABLE operations;
ALTER TABLE vms DROP COLUMN abrupt;
ALTER TABLE vms DROP COLUMN restart;
ALTER TABLE vms DROP COLUMN operation;
ALTER TABLE vms DROP COLUMN protected;
DROP INDEX vms_revert;
ALTER TABLE vms DROP COLUMN revert_at;
ALTER TABLE vms DROP COLUMN before;
