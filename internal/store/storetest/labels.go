package storetest

import (
	"context"
	"slices"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// labelled are sets of labels, some of which begin or end like others.
var labelled = []vm.Labels{
	nil,
	{"env": "prod"},
	{"env": "prod", "tier": "web"},
	{"env": "Prod", "tier": "web-1"},
	{"env": "pro", "tier": "we"},
	{"env": "", "owner": "env"},
	{"example.com/env": "prod", "nv": "prod"},
	{"env2": "prod", "a": "b", "z": "_%"},
}

// selectors are looked for among them.
var selectors = []string{
	"", "env", "!env", "env=prod", "env!=prod", "env=", "env!=", "env=Prod", "env=pro", "env in (prod,pro)", "env notin (prod,pro,)", "tier=web", "tier=we",
	"tier!=web,env=prod", "env,tier", "env,!tier", "owner=env", "nv=prod", "example.com/env", "example.com/env=prod", "com/env", "a=b,env2=prod", "env2,!env",
	"env=prod,env=pro", "env in (prod,Prod),env!=prod", "none", "!none", "none!=x", "none in (a,b)",
}

var labels = map[string]func(*db){
	"filters choose what the selector matches": func(d *db) {
		d.furnish()
		var all []vm.VM
		for i, l := range labelled {
			v := machine(i + 1)
			v.Labels = l
			all = append(all, v)
		}
		foreign := machine(len(all) + 1)
		foreign.AccountID, foreign.Labels = bert, vm.Labels{"env": "prod", "tier": "web", "owner": "env"}
		d.insert(append(slices.Clone(all), foreign)...)
		for _, text := range selectors {
			chosen, err := vm.ParseSelector(text)
			if err != nil {
				d.t.Fatal(err)
			}
			want := []string{}
			for _, v := range all {
				if chosen.Matches(v.Labels) {
					want = append(want, v.Name)
				}
			}
			got := look(d, func(ctx context.Context, tx *store.Tx) ([]vm.VM, error) {
				return tx.VMs(ctx, store.Filter{AccountID: anna, Labels: chosen})
			})
			d.same("VMs of "+text, names(got), want)
		}
	},
	"labels change as a whole, and alone": func(d *db) {
		d.furnish()
		v, other := machine(1), machine(2)
		d.insert(v, other)
		for _, l := range []vm.Labels{{"tier": "web"}, {"tier": "web", "a": "", "example.com/b": "c"}, nil} {
			d.write(func(ctx context.Context, tx *store.Tx) error { return tx.SetLabels(ctx, v.ID, l) })
			v.Labels = l
			d.same("VM", d.vm(v.ID), stored(v))
		}
		d.same("the other VM", d.vm(other.ID), stored(other))
		stale := other
		stale.Labels = nil
		d.write(func(ctx context.Context, tx *store.Tx) error { return tx.UpdateVM(ctx, stale) })
		d.same("labels after a change of something else", d.vm(other.ID), stored(other))
	},
	"entries of VMs with labels": func(d *db) {
		d.spent()
		second := machine(3)
		second.Labels = vm.Labels{"tier": "db"}
		d.insert(second)
		d.post(ledger.Credit(now, anna, 50, "", "3"))
		d.post(ledger.Entry{Kind: ledger.Hold, At: now, From: ledger.Customer(anna), To: ledger.Reserve(second.ID), Amount: 50, VM: second.ID, Key: "hold:" + second.ID})
		d.post(ledger.Rent(now, anna, second.ID, prov, 50, 1))
		for text, want := range map[string]struct{ entries, charged int64 }{
			"": {9, 150}, "env=prod": {4, 100}, "tier=db": {2, 50}, "tier": {2, 50}, "tier!=db": {4, 100}, "env,tier": {0, 0}, "env notin (x)": {6, 150},
		} {
			chosen, err := vm.ParseSelector(text)
			if err != nil {
				d.t.Fatal(err)
			}
			h := store.History{AccountID: anna, Labels: chosen}
			d.same("entries of "+text, int64(len(d.history(h, 20))), want.entries)
			spend := look(d, func(ctx context.Context, tx *store.Tx) (ledger.Spend, error) { return tx.Spend(ctx, h) })
			d.same("spend of "+text, spend.Charged, amount(want.charged))
			byVM := look(d, func(ctx context.Context, tx *store.Tx) ([]store.SpendRow, error) { return tx.SpendByVM(ctx, h, 10) })
			if (want.charged > 0) != (len(byVM) > 0) {
				d.t.Errorf("spend by VM of %q: %v", text, byVM)
			}
		}
	},
}
