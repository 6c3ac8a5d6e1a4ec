package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cpucloud/cpucloud/bench/internal/database"
)

// books is what a database holds of a marketplace, read past the code that wrote
// it: the audit is to find what that code does wrong.
type books struct {
	servers []keptServer
	vms     []keptVM
}

type keptServer struct {
	number      int // in the fleet
	total, used room
}

type keptVM struct {
	id      string
	server  int // number in the fleet, 0 for none of it
	address string
	price   int64
	takes   room
}

// readBooks reads the database of a control plane that may be running.
func readBooks(ctx context.Context, engine, name string) (b books, err error) {
	db, err := database.Open(engine, name)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	numbers, err := b.readServers(ctx, db)
	if err != nil {
		return b, fmt.Errorf("read the servers: %w", err)
	}
	if err := b.readVMs(ctx, db, numbers); err != nil {
		return b, fmt.Errorf("read the VMs: %w", err)
	}
	return b, nil
}

func (b *books) readServers(ctx context.Context, db *sql.DB) (numbers map[string]int, err error) {
	list, err := db.QueryContext(ctx, `SELECT id, name, vcpu, ram, storage, addresses, used_vcpu, used_ram, used_storage, used_addresses FROM servers ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer list.Close() //nolint:errcheck // its error is that of Err
	numbers = map[string]int{}
	for list.Next() {
		var id, name string
		var s keptServer
		t, u := &s.total, &s.used
		if err := list.Scan(&id, &name, &t[0], &t[1], &t[2], &t[3], &u[0], &u[1], &u[2], &u[3]); err != nil {
			return nil, err
		}
		if s.number, err = strconv.Atoi(strings.TrimPrefix(name, "sim-")); err != nil {
			return nil, err
		}
		numbers[id] = s.number
		b.servers = append(b.servers, s)
	}
	return numbers, list.Err()
}

func (b *books) readVMs(ctx context.Context, db *sql.DB, numbers map[string]int) error {
	list, err := db.QueryContext(ctx, `SELECT id, server_id, address, price, spec FROM vms WHERE NOT gone ORDER BY id`)
	if err != nil {
		return err
	}
	defer list.Close() //nolint:errcheck // its error is that of Err
	for list.Next() {
		var v keptVM
		var server string
		var text []byte
		if err := list.Scan(&v.id, &server, &v.address, &v.price, &text); err != nil {
			return err
		}
		var spec struct {
			VCPU    int32 `json:"vcpu"`
			RAM     int32 `json:"ram_gib"`
			Storage int32 `json:"storage_gib"`
		}
		if err := json.Unmarshal(text, &spec); err != nil {
			return err
		}
		v.server, v.takes = numbers[server], room{spec.VCPU, spec.RAM, spec.Storage, 1}
		b.vms = append(b.vms, v)
	}
	return list.Err()
}

// audit returns an error unless each server of the fleet is as large as it was,
// has what it had taken and what its VMs take, and no more than there is; no
// address is used twice on a server; and each of the ids is a VM.
func (b *books) audit(fleet []machine, ids []string) error {
	if len(b.servers) != len(fleet) {
		return fmt.Errorf("audit: there are %d servers, not %d", len(b.servers), len(fleet))
	}
	expected := make([]room, len(fleet)+1)
	for i := range fleet {
		expected[fleet[i].number] = fleet[i].used
	}
	there := make(map[string]bool, len(b.vms))
	type spot struct {
		server  int
		address string
	}
	spots := make(map[spot]string, len(b.vms))
	for _, v := range b.vms {
		if v.server < 1 || v.server > len(fleet) {
			return fmt.Errorf("audit: VM %s is on no server of the fleet", v.id)
		}
		there[v.id] = true
		at := spot{v.server, v.address}
		if other, taken := spots[at]; taken {
			return fmt.Errorf("audit: VMs %s and %s both have %s on server %d", v.id, other, v.address, v.server)
		}
		spots[at] = v.id
		for k, n := range v.takes {
			expected[v.server][k] += n
		}
	}
	for _, s := range b.servers {
		if s.number < 1 || s.number > len(fleet) || s.total != fleet[s.number-1].total {
			return fmt.Errorf("audit: server %d has %v", s.number, s.total)
		}
		if s.used != expected[s.number] {
			return fmt.Errorf("audit: of server %d %v is taken, not %v", s.number, s.used, expected[s.number])
		}
		for k := range s.used {
			if s.used[k] > s.total[k] {
				return fmt.Errorf("audit: server %d is oversold: %v of %v", s.number, s.used, s.total)
			}
		}
	}
	for _, id := range ids {
		if !there[id] {
			return fmt.Errorf("audit: VM %s was acknowledged and is not there", id)
		}
	}
	return nil
}

// audit audits what the control plane's database holds now.
func (p *plane) audit(ctx context.Context) (books, error) {
	b, err := readBooks(ctx, p.engine, p.database)
	if err != nil {
		return b, err
	}
	return b, b.audit(p.fleet, p.ids)
}
