package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/market"
)

var errNoMarket = errors.New("the database has no marketplace")

// MarketRevision returns the revision of the marketplace.
func (t *Tx) MarketRevision(ctx context.Context) (int64, error) {
	if t.base != 0 {
		return max(t.base, t.revision), nil
	}
	r, err := row[struct{ Revision int64 }](ctx, t, "no marketplace", `SELECT revision FROM market WHERE id = 1`)
	return r.Revision, err
}

// revise returns the revision that this transaction makes. It is written at the
// end.
func (t *Tx) revise() int64 {
	t.revision = t.base + 1
	return t.revision
}

// sold notes that what a server sells has changed.
func (t *Tx) sold(serverID string) {
	t.revise()
	if t.changed == nil {
		t.changed = map[string]bool{}
	}
	t.changed[serverID] = true
}

// noteRevision writes what was noted.
func (t *Tx) noteRevision() {
	if t.revision == 0 {
		return
	}
	s := &t.pending
	s.over([][]any{{t.revision}}, func(table string) string {
		return `UPDATE market SET revision = t.column1 FROM ` + table + ` WHERE id = 1`
	})
	lines := make([][]any, 0, len(t.changed))
	for _, serverID := range slices.Sorted(maps.Keys(t.changed)) {
		lines = append(lines, []any{serverID, t.revision})
	}
	s.over(lines, func(table string) string {
		return `INSERT INTO market_changes (revision, server) SELECT t.column2, s.number FROM ` + table + `
			JOIN servers s ON s.id = t.column1 WHERE true ON CONFLICT DO NOTHING`
	})
}

// PruneMarket forgets which servers the revisions changed that are older than so
// many, and returns how many notes there were.
func (t *Tx) PruneMarket(ctx context.Context, keep int64) (int, error) {
	n, err := t.exec(ctx, `DELETE FROM market_changes WHERE revision <= (SELECT revision - ? FROM market WHERE id = 1)`, keep)
	if err != nil || n == 0 {
		return 0, err
	}
	_, err = t.exec(ctx, `UPDATE market SET pruned = revision - ? WHERE id = 1`, keep)
	return int(n), err
}

// MarketNotes returns over how many revisions there are notes of what they
// changed.
func (t *Tx) MarketNotes(ctx context.Context) (int64, error) {
	r, err := row[struct{ N int64 }](ctx, t, "no marketplace",
		`SELECT revision - COALESCE((SELECT MIN(revision) FROM market_changes), revision) AS n FROM market WHERE id = 1`)
	return r.N, err
}

// Revised returns the revision of the marketplace that this transaction makes,
// 0 when it changes nothing there.
func (t *Tx) Revised() int64 { return t.revision }

// MarketChanges returns what changed in the marketplace behind a revision, as it
// is now; behind 0 it is all that is there, and behind one that is forgotten, or
// negative, all that ever was. Servers come in any order.
func (t *Tx) MarketChanges(ctx context.Context, since int64) (market.Changes, error) {
	c := market.Changes{}
	var err error
	if c.Revision, err = t.MarketRevision(ctx); err != nil || c.Revision == since {
		return c, err
	}
	if c.Offers, err = t.offers(ctx, `o.changed > ?`, since); err != nil {
		return c, err
	}
	c.Servers, err = t.marketServers(ctx, since)
	return c, err
}

// marketServers reads the servers column by column: a hundred thousand of them
// are read at every start.
func (t *Tx) marketServers(ctx context.Context, since int64) ([]market.Server, error) {
	query := `SELECT number, offer_id, hardware, vcpu, ram, storage, addresses, used_vcpu, used_ram, used_storage, used_addresses,
		vcpu_per_thread, state, silent_since = 0 AND problem = '', measured FROM servers`
	pruned, err := row[struct{ Pruned int64 }](ctx, t, "no marketplace", `SELECT pruned FROM market WHERE id = 1`)
	if err != nil {
		return nil, err
	}
	switch {
	case since == 0:
		query += ` WHERE state <> 'removed'`
	case since >= pruned.Pruned:
		query += ` WHERE number IN (SELECT server FROM market_changes WHERE revision > ?)`
	}
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	list, err := t.db.QueryContext(ctx, query, since)
	if err != nil {
		return nil, fmt.Errorf("read servers of the marketplace: %w", err)
	}
	defer list.Close() //nolint:errcheck // its error is that of Err
	var out []market.Server
	kinds := map[string]capacity.Hardware{}
	var offer, hardware, state, measured sql.RawBytes
	offers := map[string]string{}
	for list.Next() {
		var s market.Server
		c, u := &s.Capacity, &s.Used
		var well bool
		if err := list.Scan(&s.Number, &offer, &hardware, &c.VCPU, &c.RAMGiB, &c.StorageGiB, &c.Addresses, &u.VCPU, &u.RAMGiB, &u.StorageGiB,
			&u.Addresses, &s.VCPUPerThread, &state, &well, &measured); err != nil {
			return nil, fmt.Errorf("read a server of the marketplace: %w", err)
		}
		if s.OfferID = offers[string(offer)]; s.OfferID == "" {
			s.OfferID = string(offer)
			offers[s.OfferID] = s.OfferID
		}
		kind, known := kinds[string(hardware)]
		if !known {
			if err := fromJSON(string(hardware), &kind); err != nil {
				return nil, err
			}
			kinds[string(hardware)] = kind
		}
		s.Hardware, s.Open, s.Removed = kind, well && string(state) == string(market.ServerOpen), string(state) == string(market.ServerRemoved)
		if len(measured) > 0 {
			if err := fromJSON(string(measured), &s.Measured); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("read servers of the marketplace: %w", err)
	}
	return out, nil
}
