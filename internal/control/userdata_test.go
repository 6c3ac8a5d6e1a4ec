package control_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
	"github.com/cpucloud/cpucloud/internal/userdata"
	"github.com/cpucloud/cpucloud/internal/vm"
)

const (
	given   = userdata.Text("#!/bin/sh\necho hunter2\n")
	hostKey = hostkey.Key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
	nextKey = hostkey.Key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBwVyhJAwCHMVJxhLPUZOuyFZQKNdgGWqI2ahVZO9wQ2")
)

// giving is a request for one small VM with user data.
func giving(text userdata.Text) control.Deployment {
	w := wish(1)
	w.UserData = text
	return w
}

// User data is ordered until the VM was Active, and forgotten then: its agent gets a
// list without it.
func TestUserDataIsForgottenOnceActive(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 8*price)
		plain := c.deploy(anna)
		d := giving(given)
		d.RequestID = "once"
		made, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy", err)
		id := made[0].ID
		ordered := func() map[string]userdata.Text {
			out := map[string]userdata.Text{}
			for _, o := range a.orders() {
				out[o.ID] = o.UserData
			}
			return out
		}
		want(t, "ordered", ordered(), map[string]userdata.Text{plain: "", id: given})
		want(t, "kept", c.stored(id).UserData, given)
		a.reports(vm.Booting, plain, id)
		want(t, "ordered while it boots", ordered()[id], given)

		before, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		a.reports(vm.Ready, plain, id)
		after, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "the list is a new one", after.Revision > before.Revision, true)
		want(t, "ordered once it is active", ordered(), map[string]userdata.Text{plain: "", id: ""})
		want(t, "kept", c.stored(id).UserData, userdata.Text(""))
		a.reports(vm.Ready, plain, id)
		again, err := c.Orders(t.Context(), a.id)
		c.must("Orders", err)
		want(t, "and stays as it is", again.Revision, after.Revision)

		// The same request is answered again; one with other user data is another request.
		repeated, err := c.Deploy(t.Context(), anna, d)
		c.must("Deploy again", err)
		want(t, "repeated", repeated, made)
		for _, other := range []userdata.Text{"", given + "#"} {
			d.UserData = other
			_, err = c.Deploy(t.Context(), anna, d)
			wantFault(t, "other user data", err, fault.Conflict)
		}
		c.sound()
	})
}

// User data of a VM that will never run is forgotten as well, however that ends.
func TestUserDataOfAVMThatEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *cloud, a *agent, who account.Actor, id string){
		"deleted": func(c *cloud, _ *agent, who account.Actor, id string) { c.remove(who, id) },
		"failed":  func(_ *cloud, a *agent, _ account.Actor, id string) { a.reports(vm.Broken, id) },
		"overdue": func(c *cloud, _ *agent, _ account.Actor, _ string) {
			c.clock.advance(2 * launch)
			_, err := c.Sweep(c.t.Context())
			c.must("Sweep", err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, c *cloud) {
				a := c.join(room(1))
				anna := c.account("Anna", 8*price)
				made, err := c.Deploy(t.Context(), anna, giving(given))
				c.must("Deploy", err)
				end(c, a, anna, made[0].ID)
				want(t, "goal", c.stored(made[0].ID).Goal, vm.Remove)
				want(t, "kept", c.stored(made[0].ID).UserData, userdata.Text(""))
				want(t, "ordered", a.orders()[0].UserData, userdata.Text(""))
				c.sound()
			})
		})
	}
}

// A VM that is placed on another server takes its user data there, and leaves none
// behind.
func TestUserDataGoesToAnotherServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		agents := []*agent{c.join(room(1)), c.join(room(1))}
		anna := c.account("Anna", 8*price)
		made, err := c.Deploy(t.Context(), anna, giving(given))
		c.must("Deploy", err)
		first := on(c.stored(made[0].ID), agents)
		c.must("Observe", first.sees(vm.Sighting{ID: made[0].ID, Generation: 1, Phase: vm.Preparing, HostKeys: []hostkey.Key{hostKey}}))
		first.fails(made[0].ID)
		second := on(c.stored(made[0].ID), agents)
		want(t, "moved", first != second, true)
		want(t, "ordered", second.orders()[0].UserData, given)
		want(t, "left behind", first.orders()[0].UserData, userdata.Text(""))
		want(t, "keys of the first server", len(c.stored(made[0].ID).HostKeys), 0)
		c.sound()
	})
}

// What a guest would not understand is refused before anything is taken, in a dry run
// as well, and is not quoted.
func TestUserDataIsChecked(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		c.join(room(2))
		anna := c.account("Anna", 8*price)
		for _, bad := range []userdata.Text{"hunter2", "#cloud-config\nhunter2: [", "#!hunter2", given + userdata.Text(strings.Repeat("#", userdata.Most))} {
			_, err := c.Deploy(t.Context(), anna, giving(bad))
			wantFault(t, "Deploy", err, fault.Invalid)
			_, planned := c.PlanDeploy(t.Context(), anna, giving(bad))
			wantFault(t, "PlanDeploy", planned, fault.Invalid)
			if strings.Contains(err.Error()+planned.Error(), "hunter2") {
				t.Errorf("quoted: %v, %v", err, planned)
			}
		}
		c.untouched("refused", anna, 8*price)
	})
}

// The first keys that a VM is ready with are its keys: neither those of a VM that is
// not ready count, nor others later on, nor what is none.
func TestHostKeysAreSetOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cloud) {
		a := c.join(room(2))
		anna := c.account("Anna", 8*price)
		id := c.deploy(anna)
		for n, step := range []struct {
			phase vm.Phase
			keys  []hostkey.Key
			want  []hostkey.Key
		}{
			{vm.Preparing, []hostkey.Key{nextKey}, nil},
			{vm.Booting, []hostkey.Key{nextKey}, nil},
			{vm.Ready, nil, nil},
			{vm.Ready, []hostkey.Key{"rubbish"}, nil},
			{vm.Ready, []hostkey.Key{hostKey, nextKey}, nil},
			{vm.Ready, []hostkey.Key{hostKey}, []hostkey.Key{hostKey}},
			{vm.Ready, []hostkey.Key{nextKey}, []hostkey.Key{hostKey}},
			{vm.Ready, nil, []hostkey.Key{hostKey}},
		} {
			c.must("Observe", a.sees(vm.Sighting{ID: id, Generation: 1, Phase: step.phase, HostKeys: step.keys, Reason: fmt.Sprint("step ", n)}))
			if got := c.stored(id).HostKeys; len(got) != len(step.want) || len(got) > 0 && got[0] != step.want[0] {
				t.Errorf("step %d: keys %q, want %q", n, got, step.want)
			}
		}
		v, err := c.VM(t.Context(), anna, id)
		c.must("VM", err)
		want(t, "shown", v.HostKeys, []hostkey.Key{hostKey})

		second := c.deploy(anna) // another VM, on the same server
		c.must("Observe", a.sees(
			vm.Sighting{ID: id, Generation: 1, Phase: vm.Ready},
			vm.Sighting{ID: second, Generation: 1, Phase: vm.Ready, HostKeys: []hostkey.Key{nextKey}}))
		want(t, "of another one", c.stored(second).HostKeys, []hostkey.Key{nextKey})
		want(t, "and of the first", c.stored(id).HostKeys, []hostkey.Key{hostKey})
		c.sound()
	})
}

// What is kept of a request to know it again tells nobody its user data: without the
// control plane's key a guess can't be tried on it.
func TestUserDataIsNotInTheDigest(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		kept := map[string][]string{}
		for range 2 { // control planes, each with a key of its own
			c := newCloud(t, e.Open(t))
			c.join(room(2))
			anna := c.account("Anna", 8*price)
			for key, d := range map[string]control.Deployment{"plain": wish(1), "given": giving(given)} {
				d.RequestID = key
				_, err := c.Deploy(t.Context(), anna, d)
				c.must("Deploy", err)
				c.must("Answers", c.db.Read(t.Context(), func(tx *store.Tx) error {
					answers, err := tx.Answers(t.Context(), []store.Answer{{AccountID: anna.AccountID, Key: key}})
					kept[key] = append(kept[key], answers[0].Request)
					return err
				}))
			}
		}
		want(t, "digests of the same request are the same", kept["plain"][0] == kept["plain"][1], true)
		want(t, "those with user data are not", kept["given"][0] != kept["given"][1], true)
	})
}
