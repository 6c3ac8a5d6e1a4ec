-- What the network of VMs needs to be told, and to remember.

-- +goose Up

-- cut is the generation of a VM at which its customer last asked that connections
-- through closed ports be cut; gone_at is when nothing of it was left on its
-- server, since when its address rests.
ALTER TABLE vms ADD COLUMN cut BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN gone_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX vms_rest ON vms (server_id, gone_at) WHERE gone_at > 0;

-- +goose Down
DROP INDEX vms_rest;
ALTER TABLE vms DROP COLUMN gone_at;
ALTER TABLE vms DROP COLUMN cut;
