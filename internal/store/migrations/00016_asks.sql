-- What is asked of agents is one thing.

-- +goose Up

-- asks is what is asked of a VM's agent beside its spec, as JSON; '' for nothing.
ALTER TABLE vms ADD COLUMN asks TEXT NOT NULL DEFAULT '';
UPDATE vms SET asks = '{"cut":' || cut || ',"restart":' || restart || ',"abrupt":' || CASE WHEN abrupt THEN 'true' ELSE 'false' END || '}'
	WHERE cut > 0 OR restart > 0;
ALTER TABLE vms DROP COLUMN cut;
ALTER TABLE vms DROP COLUMN restart;
ALTER TABLE vms DROP COLUMN abrupt;

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
ALTER TABLE vms ADD COLUMN cut BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN restart BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN abrupt BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE vms DROP COLUMN asks;
