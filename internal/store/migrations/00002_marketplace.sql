-- Providers list servers by offers of their own, which name the hardware that
-- they are for: hardware holds the members that must match, "" is anything.

-- +goose Up
ALTER TABLE offers ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE offers ADD COLUMN withdrawn_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE offers ADD COLUMN changed BIGINT NOT NULL DEFAULT 1;
UPDATE offers SET name = id;
CREATE UNIQUE INDEX offers_name ON offers (provider_id, name);
CREATE INDEX offers_changed ON offers (changed);

-- number is a server in few bytes. hardware and vcpu_per_thread repeat the
-- inventory, to be read without it. A server sells while its state is open, its
-- agent is heard (silent_since is 0) and there is no problem with it.
ALTER TABLE servers ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN hardware TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN vcpu_per_thread BIGINT NOT NULL DEFAULT 1;
ALTER TABLE servers ADD COLUMN measured TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN measure_wanted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'cordoned', 'draining', 'removed'));
ALTER TABLE servers ADD COLUMN drain_deadline BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN silent_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN problem TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN instances TEXT NOT NULL DEFAULT '[]';
ALTER TABLE servers ADD COLUMN list_epoch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE servers ADD COLUMN simulated BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE servers SET hardware = (SELECT o.hardware FROM offers o WHERE o.id = servers.offer_id),
    number = (SELECT COUNT(*) FROM servers s WHERE s.id <= servers.id);
CREATE UNIQUE INDEX servers_number ON servers (number);
CREATE INDEX servers_heard ON servers (seen_at) WHERE silent_since = 0 AND state <> 'removed' AND NOT simulated;
CREATE INDEX servers_drain ON servers (drain_deadline) WHERE drain_deadline > 0;

-- The revision of the marketplace rises with every transaction that changes
-- what is for sale. An offer carries the one that changed it last; servers, which
-- change with every VM, are noted in a list that grows at its end, and would have
-- all of their indexes written anew otherwise. What is older than pruned is
-- forgotten: whoever knows less reads everything.
CREATE TABLE market (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL,
    pruned   BIGINT NOT NULL
);
INSERT INTO market (id, revision, pruned) VALUES (1, 1, 1);
CREATE TABLE market_changes (
    revision BIGINT NOT NULL,
    server   BIGINT NOT NULL,
    PRIMARY KEY (revision, server)
);
-- POSTGRES: ALTER TABLE servers SET (fillfactor = 70);

CREATE TABLE server_events (
    id        IDENTITY,
    server_id TEXT NOT NULL REFERENCES servers (id),
    key       TEXT NOT NULL,
    at        BIGINT NOT NULL,
    text      TEXT NOT NULL,
    UNIQUE (server_id, key)
);

ALTER TABLE vms ADD COLUMN affinity_group TEXT NOT NULL DEFAULT '';
CREATE INDEX vms_affinity ON vms (account_id, affinity_group) WHERE affinity_group <> '' AND NOT gone;
DROP INDEX vms_server; -- vms_address begins with the server, too

-- PostgreSQL looks each reference of a new row up by a query of its own. A VM's
-- offer, provider and datacenter are those of its server, whose reference stays.
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_offer_id_fkey;
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_provider_id_fkey;
-- POSTGRES: ALTER TABLE vms DROP CONSTRAINT vms_datacenter_id_fkey;

-- A quote holds price and capacity until it is used or expires; its places are
-- taken out of the servers' capacity like those of VMs.
CREATE TABLE quotes (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    places     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX quotes_open ON quotes (expires_at, id) WHERE ended_at = 0;
CREATE INDEX quotes_account ON quotes (account_id) WHERE ended_at = 0;

-- +goose Down
DROP TABLE quotes;
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_offer_id_fkey FOREIGN KEY (offer_id) REFERENCES offers (id);
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_provider_id_fkey FOREIGN KEY (provider_id) REFERENCES providers (id);
-- POSTGRES: ALTER TABLE vms ADD CONSTRAINT vms_datacenter_id_fkey FOREIGN KEY (datacenter_id) REFERENCES datacenters (id);
CREATE INDEX vms_server ON vms (server_id, id) WHERE NOT gone;
DROP INDEX vms_affinity;
ALTER TABLE vms DROP COLUMN affinity_group;
DROP TABLE server_events;
DROP TABLE market_changes;
DROP TABLE market;
-- POSTGRES: ALTER TABLE servers RESET (fillfactor);
DROP INDEX servers_drain;
DROP INDEX servers_heard;
DROP INDEX servers_number;
ALTER TABLE servers DROP COLUMN simulated;
ALTER TABLE servers DROP COLUMN list_epoch;
ALTER TABLE servers DROP COLUMN instances;
ALTER TABLE servers DROP COLUMN problem;
ALTER TABLE servers DROP COLUMN silent_since;
ALTER TABLE servers DROP COLUMN drain_deadline;
ALTER TABLE servers DROP COLUMN state;
ALTER TABLE servers DROP COLUMN measure_wanted;
ALTER TABLE servers DROP COLUMN measured;
ALTER TABLE servers DROP COLUMN vcpu_per_thread;
ALTER TABLE servers DROP COLUMN hardware;
ALTER TABLE servers DROP COLUMN name;
ALTER TABLE servers DROP COLUMN number;
DROP INDEX offers_changed;
DROP INDEX offers_name;
ALTER TABLE offers DROP COLUMN changed;
ALTER TABLE offers DROP COLUMN withdrawn_at;
ALTER TABLE offers DROP COLUMN name;
