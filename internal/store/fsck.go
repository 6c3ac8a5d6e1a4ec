package store

import (
	"context"
	"database/sql"
	"strings"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// PutSightings keeps what a server's newest report said of its VMs, without their
// stories.
func (t *Tx) PutSightings(ctx context.Context, serverID string, seen []vm.Sighting) error {
	kept := make([]vm.Sighting, len(seen))
	for i, s := range seen {
		kept[i] = vm.Sighting{ID: s.ID, Generation: s.Generation, Phase: s.Phase}
	}
	list, err := toJSON(kept)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO sightings (server_id, list) VALUES (?, ?)
		ON CONFLICT (server_id) DO UPDATE SET list = excluded.list WHERE sightings.list <> excluded.list`, serverID, list)
	return err
}

// EachSightings calls fn for every server that is heard with what its newest
// report said of the VMs there.
func (t *Tx) EachSightings(ctx context.Context, fn func(serverID string, seen []vm.Sighting)) error {
	return t.scan(ctx, `SELECT s.id, g.list FROM sightings g JOIN servers s ON s.id = g.server_id
		WHERE s.silent_since = 0 AND s.state <> 'removed' ORDER BY s.id`, func(list *sql.Rows) error {
		var id, text string
		var seen []vm.Sighting
		if err := list.Scan(&id, &text); err != nil {
			return err
		}
		if err := fromJSON(text, &seen); err != nil {
			return err
		}
		fn(id, seen)
		return nil
	})
}

// EachVM calls fn for every VM that there ever was, with what a check of all of
// them needs: its reserve is left out, see Reserves, and all of its Spec but what
// it takes of its server.
func (t *Tx) EachVM(ctx context.Context, fn func(vm.VM)) error {
	var r [19]any
	return t.scan(ctx, `SELECT id, account_id, server_id, provider_id, state, price, spent, epochs, settled, CASE WHEN gone THEN 1 ELSE 0 END, spec,
		goal, generation, reached, known_as, power, held, leaves, full_parts FROM vms ORDER BY id`, func(list *sql.Rows) error {
		if err := scanAll(list, r[:]); err != nil {
			return err
		}
		var takes struct {
			VCPU       int64 `json:"vcpu"`
			RAMGiB     int64 `json:"ram_gib"`
			StorageGiB int64 `json:"storage_gib"`
		}
		if err := fromJSON(text(r[10]), &takes); err != nil {
			return err
		}
		v := vm.VM{
			ID: text(r[0]), AccountID: text(r[1]), ServerID: text(r[2]), ProviderID: text(r[3]), State: vm.State(text(r[4])),
			Price: money.Amount(number(r[5])), Spent: money.Amount(number(r[6])), Epochs: number(r[7]), Settled: number(r[8]), Gone: number(r[9]) != 0,
			Spec: vm.Spec{VCPU: takes.VCPU, RAMGiB: takes.RAMGiB, StorageGiB: takes.StorageGiB},
			Goal: vm.Goal(text(r[11])), Generation: number(r[12]), Reached: number(r[13]), KnownAs: text(r[14]),
			Power: vm.Power(text(r[15])), Held: number(r[16]),
		}
		for place, column := range map[any]string{&v.Leaves: text(r[17]), &v.Full: text(r[18])} { // few VMs have them
			if column != "" {
				if err := fromJSON(column, place); err != nil {
					return err
				}
			}
		}
		fn(v)
		return nil
	})
}

// Reserves returns what the reserves of all VMs hold, by the VM's id; those that
// hold nothing are left out.
func (t *Tx) Reserves(ctx context.Context) (map[string]money.Amount, error) {
	return t.holdings(ctx, "vm:", "")
}

// Withdrawing returns what providers have asked for and were not paid by what
// their accounts hold, by the provider's id; those of nothing are left out.
func (t *Tx) Withdrawing(ctx context.Context) (map[string]money.Amount, error) {
	return t.holdings(ctx, "provider:", ":withdrawing")
}

// holdings returns what accounts hold whose names begin and end so, by what
// stands between; those that hold nothing are left out.
func (t *Tx) holdings(ctx context.Context, prefix, suffix string) (map[string]money.Amount, error) {
	held := map[string]money.Amount{}
	var r [2]any
	query := `SELECT account, amount FROM balances WHERE account LIKE '` + prefix + `%` + suffix + `' AND amount <> 0 ORDER BY account`
	err := t.scan(ctx, query, func(list *sql.Rows) error {
		err := scanAll(list, r[:])
		held[strings.TrimSuffix(strings.TrimPrefix(text(r[0]), prefix), suffix)] = money.Amount(number(r[1]))
		return err
	})
	return held, err
}

// EachWithdrawal calls fn for every withdrawal that there ever was, with its
// provider, amount and state.
func (t *Tx) EachWithdrawal(ctx context.Context, fn func(payment.Withdrawal)) error {
	return t.scan(ctx, `SELECT id, provider_id, amount, state FROM withdrawals ORDER BY id`, func(list *sql.Rows) error {
		var w payment.Withdrawal
		err := list.Scan(&w.ID, &w.ProviderID, &w.Amount, &w.State)
		fn(w)
		return err
	})
}

// EachTaken calls fn for every server that there ever was with what is taken of
// it.
func (t *Tx) EachTaken(ctx context.Context, fn func(serverID string, used capacity.Vector, simulated bool)) error {
	return t.scan(ctx, `SELECT id, used_vcpu, used_ram, used_storage, used_addresses, simulated FROM servers ORDER BY id`, func(list *sql.Rows) error {
		var id string
		var u capacity.Vector
		var simulated bool
		if err := list.Scan(&id, &u.VCPU, &u.RAMGiB, &u.StorageGiB, &u.Addresses, &simulated); err != nil {
			return err
		}
		fn(id, u, simulated)
		return nil
	})
}
