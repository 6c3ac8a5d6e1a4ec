-- Times are microseconds since 1970 (0: never), money is micro-USDC, lists are JSON.
-- IDENTITY is replaced by what the engine calls a growing integer key.

-- +goose Up
CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE accounts (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    hash       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('customer', 'operator')),
    created_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE TABLE ssh_keys (
    account_id  TEXT NOT NULL REFERENCES accounts (id),
    fingerprint TEXT NOT NULL,
    name        TEXT NOT NULL,
    algorithm   TEXT NOT NULL,
    comment     TEXT NOT NULL,
    public_key  TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (account_id, fingerprint)
);

CREATE TABLE providers (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE datacenters (
    id             TEXT PRIMARY KEY,
    provider_id    TEXT NOT NULL REFERENCES providers (id),
    country        TEXT NOT NULL,
    city           TEXT NOT NULL,
    city_index     BIGINT NOT NULL,
    tier           BIGINT NOT NULL CHECK (tier BETWEEN 1 AND 4),
    certifications TEXT NOT NULL,
    slug           TEXT NOT NULL UNIQUE
);

CREATE TABLE offers (
    id                 TEXT PRIMARY KEY,
    provider_id        TEXT NOT NULL REFERENCES providers (id),
    datacenter_id      TEXT NOT NULL REFERENCES datacenters (id),
    hardware           TEXT NOT NULL,
    price_vcpu         BIGINT NOT NULL CHECK (price_vcpu >= 0),
    price_ram          BIGINT NOT NULL CHECK (price_ram >= 0),
    price_storage      BIGINT NOT NULL CHECK (price_storage >= 0),
    price_address      BIGINT NOT NULL CHECK (price_address >= 0),
    max_extra_storage  BIGINT NOT NULL CHECK (max_extra_storage >= 0),
    created_at         BIGINT NOT NULL
);

-- Capacity is taken by adding to used_*; the checks are the last line of
-- defence against selling the same thing twice.
CREATE TABLE servers (
    id                TEXT PRIMARY KEY,
    offer_id          TEXT NOT NULL REFERENCES offers (id),
    agent_key         TEXT NOT NULL UNIQUE,
    vcpu              BIGINT NOT NULL,
    ram               BIGINT NOT NULL,
    storage           BIGINT NOT NULL,
    addresses         BIGINT NOT NULL,
    used_vcpu         BIGINT NOT NULL DEFAULT 0 CHECK (used_vcpu >= 0),
    used_ram          BIGINT NOT NULL DEFAULT 0 CHECK (used_ram >= 0),
    used_storage      BIGINT NOT NULL DEFAULT 0 CHECK (used_storage >= 0),
    used_addresses    BIGINT NOT NULL DEFAULT 0 CHECK (used_addresses >= 0),
    inventory         TEXT NOT NULL,
    last_address      TEXT NOT NULL DEFAULT '',
    revision          BIGINT NOT NULL DEFAULT 1,
    report_sequence   BIGINT NOT NULL DEFAULT 0,
    seen_at           BIGINT NOT NULL,
    created_at        BIGINT NOT NULL
);
CREATE INDEX servers_offer ON servers (offer_id);

-- A token lets one server join; terms are where it stands and what it costs.
CREATE TABLE join_tokens (
    hash       TEXT PRIMARY KEY,
    terms      TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL
);

CREATE TABLE vms (
    id            TEXT PRIMARY KEY,
    account_id    TEXT NOT NULL REFERENCES accounts (id),
    server_id     TEXT NOT NULL REFERENCES servers (id),
    offer_id      TEXT NOT NULL REFERENCES offers (id),
    provider_id   TEXT NOT NULL REFERENCES providers (id),
    datacenter_id TEXT NOT NULL REFERENCES datacenters (id),
    name          TEXT NOT NULL,
    spec          TEXT NOT NULL,
    goal          TEXT NOT NULL CHECK (goal IN ('run', 'remove')),
    generation    BIGINT NOT NULL,
    reached       BIGINT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN
        ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds', 'Terminated', 'Stopped', 'Failed')),
    since         BIGINT NOT NULL,
    reason        TEXT NOT NULL,
    deadline      BIGINT NOT NULL,
    address       TEXT NOT NULL,
    price         BIGINT NOT NULL CHECK (price >= 0),
    spent         BIGINT NOT NULL CHECK (spent >= 0),
    epoch         BIGINT NOT NULL CHECK (epoch > 0),
    created_at    BIGINT NOT NULL,
    activated_at  BIGINT NOT NULL,
    next_billing  BIGINT NOT NULL,
    ended_at      BIGINT NOT NULL,
    gone          BOOLEAN NOT NULL
);
CREATE INDEX vms_account ON vms (account_id, created_at, id);
CREATE INDEX vms_server ON vms (server_id, id) WHERE NOT gone;
CREATE INDEX vms_deadline ON vms (deadline, id) WHERE deadline > 0;
CREATE UNIQUE INDEX vms_address ON vms (server_id, address) WHERE NOT gone;

CREATE TABLE vm_events (
    id    IDENTITY,
    vm_id TEXT NOT NULL REFERENCES vms (id),
    key   TEXT NOT NULL,
    at    BIGINT NOT NULL,
    text  TEXT NOT NULL,
    UNIQUE (vm_id, key)
);

CREATE TABLE entries (
    id           IDENTITY,
    key          TEXT NOT NULL UNIQUE,
    at           BIGINT NOT NULL,
    kind         TEXT NOT NULL,
    from_account TEXT NOT NULL,
    to_account   TEXT NOT NULL CHECK (to_account <> from_account),
    amount       BIGINT NOT NULL CHECK (amount > 0),
    vm_id        TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    reason       TEXT NOT NULL
);
CREATE INDEX entries_from ON entries (from_account, id);
CREATE INDEX entries_to ON entries (to_account, id);

-- The sums of the entries, kept so that they need not be added up. SQLite would
-- go on with floating point where an integer ends; the bounds end it before.
CREATE TABLE balances (
    account TEXT PRIMARY KEY,
    amount  BIGINT NOT NULL CHECK (amount BETWEEN -9000000000000000000 AND 9000000000000000000),
    CHECK (amount >= 0 OR account = 'external')
);

CREATE TABLE answers (
    account_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    TEXT NOT NULL,
    answer     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, key)
);

-- +goose Down
DROP TABLE answers;
DROP TABLE balances;
DROP TABLE entries;
DROP TABLE vm_events;
DROP TABLE vms;
DROP TABLE join_tokens;
DROP TABLE servers;
DROP TABLE offers;
DROP TABLE datacenters;
DROP TABLE providers;
DROP TABLE ssh_keys;
DROP TABLE api_keys;
DROP TABLE accounts;
DROP TABLE settings;
