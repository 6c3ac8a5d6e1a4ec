package agent_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cpucloud/cpucloud/internal/agent"
	"github.com/cpucloud/cpucloud/internal/hypervisor"
	"github.com/cpucloud/cpucloud/internal/network"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func address(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, 0, byte(n)}) }

func order(id string, generation int64, ports ...vm.Port) vm.Order {
	return vm.Order{
		ID: id, Generation: generation, Goal: vm.Run, Address: address(1),
		Spec: vm.Spec{Hostname: "h", Image: "https://images.test/a.qcow2", Ports: ports, VCPU: 2, RAMGiB: 4, StorageGiB: 25},
	}
}

func link(o vm.Order) *network.Link {
	l := network.Link{ID: o.ID, Address: o.Address}
	for _, p := range slices.Backward(o.Ports) {
		l.Ports = append(l.Ports, network.Port{Number: p.Number, Protocol: string(p.Protocol)})
	}
	return &l
}

func on(o vm.Order, disk int64) vm.Order {
	o.Disk = disk
	return o
}

func rescued(o vm.Order, disk int64) vm.Order {
	o.Rescue = &vm.RescueSystem{Disk: disk}
	return o
}

func purging(o vm.Order, disks ...int64) vm.Order {
	o.Purge = disks
	return o
}

func TestPlan(t *testing.T) {
	t.Parallel()
	ssh, web := vm.Port{Number: 22, Protocol: vm.TCP}, vm.Port{Number: 80, Protocol: vm.TCP}
	run := order("a", 2, ssh, web)
	gone := run
	gone.Goal = vm.Remove
	halt := run
	halt.Goal = vm.Halt
	later := run
	later.Generation = 3
	anew := later
	anew.Restart = 3
	well := agent.Sight{ID: "a", Files: true, Link: link(run), Machine: hypervisor.Running, Generation: 2, Started: true, Ready: true, Heard: true, Disks: []int64{0}}
	with := func(change func(*agent.Sight)) []agent.Sight { s := well; change(&s); return []agent.Sight{s} }
	for name, tt := range map[string]struct {
		wanted []vm.Order
		seen   []agent.Sight
		want   agent.Verb
	}{
		"new":                   {[]vm.Order{run}, nil, agent.Launch},
		"all is well":           {[]vm.Order{run}, []agent.Sight{well}, ""},
		"not answering yet":     {[]vm.Order{run}, with(func(s *agent.Sight) { s.Ready = false }), agent.Watch},
		"not heard yet":         {[]vm.Order{run}, with(func(s *agent.Sight) { s.Heard = false }), agent.Listen},
		"heard of nothing":      {[]vm.Order{run}, with(func(s *agent.Sight) { s.Ready, s.Heard = false, false }), agent.Watch},
		"not heard, to be off":  {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Heard = false }), agent.Halt},
		"not heard, exited":     {[]vm.Order{run}, with(func(s *agent.Sight) { s.Heard, s.Machine = false, hypervisor.Exited }), agent.Launch},
		"other ports":           {[]vm.Order{order("a", 3, ssh)}, []agent.Sight{well}, agent.Connect},
		"link drifted":          {[]vm.Order{run}, with(func(s *agent.Sight) { s.Link = link(order("a", 2, ssh)) }), agent.Connect},
		"link lost":             {[]vm.Order{run}, with(func(s *agent.Sight) { s.Link = nil }), agent.Connect},
		"record lost":           {[]vm.Order{run}, with(func(s *agent.Sight) { s.Generation = 0 }), agent.Connect},
		"exited":                {[]vm.Order{run}, with(func(s *agent.Sight) { s.Machine = hypervisor.Exited }), agent.Launch},
		"unknown to hypervisor": {[]vm.Order{run}, with(func(s *agent.Sight) { s.Machine = "" }), agent.Launch},
		"exited, too early": {[]vm.Order{run}, with(func(s *agent.Sight) {
			s.Machine, s.Tried, s.NotBefore = hypervisor.Exited, 2, noon.Add(1)
		}), ""},
		"exited, due": {[]vm.Order{run}, with(func(s *agent.Sight) {
			s.Machine, s.Tried, s.NotBefore = hypervisor.Exited, 2, noon
		}), agent.Launch},
		"early, but a newer order": {[]vm.Order{run}, with(func(s *agent.Sight) {
			s.Machine, s.Tried, s.NotBefore = hypervisor.Exited, 1, noon.Add(time.Minute)
		}), agent.Launch},
		"clock set back": {[]vm.Order{run}, with(func(s *agent.Sight) {
			s.Machine, s.Tried, s.NotBefore = hypervisor.Exited, 2, noon.Add(time.Hour)
		}), agent.Launch},
		"to be halted":                 {[]vm.Order{halt}, []agent.Sight{well}, agent.Halt},
		"to be halted, exited":         {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Machine = hypervisor.Exited }), agent.Halt},
		"to be halted, not there":      {[]vm.Order{halt}, nil, agent.Halt},
		"to be halted, broken":         {[]vm.Order{halt}, []agent.Sight{{ID: "a", Files: true, Broken: true}}, agent.Halt},
		"to be halted, being asked":    {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Asked = noon }), agent.Halt},
		"halted":                       {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Machine, s.Ready = "", false }), ""},
		"halted, record lost":          {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Machine, s.Generation = "", 0 }), agent.Halt},
		"halted, link lost":            {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Machine, s.Link = "", nil }), ""},
		"halted, other ports":          {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Machine, s.Generation = "", 1 }), agent.Halt},
		"halted, to run again":         {[]vm.Order{later}, with(func(s *agent.Sight) { s.Machine, s.Ready = "", false }), agent.Launch},
		"halted, to be removed":        {[]vm.Order{gone}, with(func(s *agent.Sight) { s.Machine, s.Generation = "", 1 }), agent.Remove},
		"halted, not in the list":      {nil, with(func(s *agent.Sight) { s.Machine = "" }), agent.Quarantine},
		"run again, may yet go":        {[]vm.Order{later}, with(func(s *agent.Sight) { s.Asked = noon.Add(-59 * time.Second) }), ""},
		"run again, did not go":        {[]vm.Order{later}, with(func(s *agent.Sight) { s.Asked = noon.Add(-time.Minute) }), agent.Connect},
		"same order, did not go":       {[]vm.Order{run}, with(func(s *agent.Sight) { s.Asked = noon.Add(-time.Minute) }), agent.Connect},
		"run again, asked tomorrow":    {[]vm.Order{later}, with(func(s *agent.Sight) { s.Asked = noon.Add(24 * time.Hour) }), agent.Connect},
		"run again, went":              {[]vm.Order{later}, with(func(s *agent.Sight) { s.Machine, s.Asked = hypervisor.Exited, noon }), agent.Launch},
		"to restart":                   {[]vm.Order{anew}, []agent.Sight{well}, agent.Restart},
		"to restart, exited":           {[]vm.Order{anew}, with(func(s *agent.Sight) { s.Machine = hypervisor.Exited }), agent.Launch},
		"to restart, may yet go":       {[]vm.Order{anew}, with(func(s *agent.Sight) { s.Asked = noon }), ""},
		"to restart, not ready":        {[]vm.Order{anew}, with(func(s *agent.Sight) { s.Ready = false }), agent.Restart},
		"restarted":                    {[]vm.Order{anew}, with(func(s *agent.Sight) { s.Generation, s.Restarted = 3, 3 }), ""},
		"restarted, then other ports":  {[]vm.Order{anew}, with(func(s *agent.Sight) { s.Generation, s.Restarted = 2, 3 }), agent.Connect},
		"to be removed, may yet go":    {[]vm.Order{gone}, with(func(s *agent.Sight) { s.Asked = noon }), agent.Remove},
		"halted, and tried too early":  {[]vm.Order{halt}, with(func(s *agent.Sight) { s.Tried, s.NotBefore = 2, noon.Add(1) }), ""},
		"broken":                       {[]vm.Order{run}, []agent.Sight{{ID: "a", Files: true, Broken: true}}, ""},
		"broken, removed":              {[]vm.Order{gone}, []agent.Sight{{ID: "a", Files: true, Broken: true}}, agent.Remove},
		"on another disk, not made":    {[]vm.Order{on(later, 3)}, []agent.Sight{well}, agent.Prepare},
		"and not to be had":            {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Unmade = new(int64(3)) }), ""},
		"not to be had, another one":   {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Unmade = new(int64(2)) }), agent.Prepare},
		"not made, and other ports":    {[]vm.Order{on(order("a", 3, ssh), 3)}, []agent.Sight{well}, agent.Connect},
		"not made, tried too early":    {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Tried, s.NotBefore = 3, noon.Add(1) }), ""},
		"on another disk, made":        {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 3} }), agent.Change},
		"made, may yet go":             {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Disks, s.Asked = []int64{0, 3}, noon }), ""},
		"made, exited":                 {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Disks, s.Machine = []int64{0, 3}, hypervisor.Exited }), agent.Launch},
		"not made, exited":             {[]vm.Order{on(later, 3)}, with(func(s *agent.Sight) { s.Machine = hypervisor.Exited }), agent.Launch},
		"on another disk, old order":   {[]vm.Order{on(order("a", 1, ssh, web), 3)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 3} }), ""},
		"in rescue":                    {[]vm.Order{rescued(later, 3)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 3} }), agent.Change},
		"on another disk, halted":      {[]vm.Order{on(halt, 3)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 3} }), agent.Halt},
		"to be purged":                 {[]vm.Order{purging(run, 2)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 2} }), agent.Purge},
		"to be purged, halted":         {[]vm.Order{purging(halt, 2)}, with(func(s *agent.Sight) { s.Disks, s.Machine = []int64{0, 2}, "" }), agent.Purge},
		"to be purged, not named":      {[]vm.Order{purging(run, 3)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 2} }), ""},
		"to be purged, its own":        {[]vm.Order{purging(run, 0)}, []agent.Sight{well}, ""},
		"to be purged, runs on it":     {[]vm.Order{purging(on(halt, 2), 0)}, with(func(s *agent.Sight) { s.Disks, s.Machine = []int64{0, 2}, "" }), ""},
		"to be purged, own, not on it": {[]vm.Order{purging(halt, 0)}, with(func(s *agent.Sight) { s.Disk, s.Disks, s.Machine = 2, []int64{0, 2}, "" }), ""},
		"to be purged, of the rescue":  {[]vm.Order{purging(rescued(run, 2), 2)}, with(func(s *agent.Sight) { s.Disks, s.Disk = []int64{0, 2}, 2 }), ""},
		"to be purged, own one lost":   {[]vm.Order{purging(run, 2)}, with(func(s *agent.Sight) { s.Disks = []int64{2} }), ""},
		"to be purged, old order":      {[]vm.Order{purging(on(order("a", 1, ssh, web), 3), 2)}, with(func(s *agent.Sight) { s.Disks = []int64{0, 2, 3} }), ""},
		"removed":                      {[]vm.Order{gone}, []agent.Sight{well}, agent.Remove},
		"removed, files left":          {[]vm.Order{gone}, []agent.Sight{{ID: "a", Files: true, Generation: 2}}, agent.Remove},
		"removed, never seen":          {[]vm.Order{gone}, nil, agent.Remove},
		"removed, and gone":            {[]vm.Order{gone}, []agent.Sight{{ID: "a", Generation: 2}}, ""},
		"not in the list":              {nil, []agent.Sight{well}, agent.Quarantine},
		"machine of nobody":            {nil, []agent.Sight{{ID: "a", Machine: hypervisor.Exited}}, agent.Quarantine},
		"link of nobody":               {nil, []agent.Sight{{ID: "a", Link: link(run)}}, agent.Quarantine},
		"nothing of it left":           {nil, []agent.Sight{{ID: "a", Generation: 2}}, ""},
		"goal of a newer time":         {[]vm.Order{{ID: "a", Generation: 3, Goal: "sleep"}}, []agent.Sight{well}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got agent.Verb
			if tasks := agent.Plan(noon, tt.wanted, tt.seen); len(tasks) > 0 {
				got = tasks[0].Verb
			}
			if got != tt.want {
				t.Errorf("Plan = %q, want %q", got, tt.want)
			}
		})
	}
}

// host is a server as simple as it can be: what each verb does to it, step by
// step, so that a crash can come after any of them.
type host map[string]agent.Sight

func (h host) do(task agent.Task, steps int) {
	o, s := task.Order, h[task.ID]
	s.ID = task.ID
	var does []func()
	n := o.Boots()
	if len(s.Disks) > 0 && (o.Generation < s.Generation || !slices.Contains(s.Disks, n)) {
		n = s.Disk
	}
	starts := []func(){
		func() { s.Files, s.Disks = true, with(s.Disks, n) }, func() { s.Machine, s.Disk = "", n }, func() { s.Link = link(o) },
		func() { s.Ready, s.Asked = false, time.Time{} }, func() { s.Machine = hypervisor.Running },
		func() {
			if s.Started, s.Restarted = true, o.Restart; n == o.Boots() {
				s.Generation = o.Generation
			}
		},
	}
	switch task.Verb {
	case agent.Launch:
		does = starts
	case agent.Change:
		does = append([]func(){func() { s.Asked = noon.Add(time.Hour) }, func() { s.Machine = hypervisor.Exited }}, starts...)
	case agent.Prepare:
		does = []func(){func() {
			if n := o.Boots(); slices.ContainsFunc(s.Disks, func(d int64) bool { return d >= n }) {
				s.Unmade = &n
			} else {
				s.Disks = with(s.Disks, n)
			}
		}}
	case agent.Purge:
		does = []func(){func() {
			s.Disks = slices.DeleteFunc(slices.Clone(s.Disks), func(d int64) bool { return o.Purges(d) && d != s.Disk })
		}}
	case agent.Restart:
		does = []func(){
			func() { s.Asked = noon.Add(time.Hour) }, func() { s.Machine = hypervisor.Exited }, func() { s.Machine = "" }, func() { s.Asked = time.Time{} },
		}
		does = append(does, starts...)
	case agent.Connect:
		does = []func(){func() { s.Link = link(o) }, func() {
			if s.Asked = (time.Time{}); s.Disk == o.Boots() {
				s.Generation = o.Generation
			}
		}}
	case agent.Watch:
		does = []func(){func() { s.Ready = true }}
	case agent.Listen:
		does = []func(){func() { s.Heard = true }}
	case agent.Halt:
		does = []func(){
			func() { s.Asked = noon.Add(time.Hour) }, func() { s.Machine = hypervisor.Exited }, func() { s.Machine = "" },
			func() { s.Generation, s.Ready, s.Asked = o.Generation, false, time.Time{} },
		}
	case agent.Remove:
		does = []func(){
			func() { s.Machine = "" }, func() { s.Link = nil }, func() { s.Files, s.Disks = false, nil },
			func() { s = agent.Sight{ID: s.ID, Generation: o.Generation} },
		}
	case agent.Quarantine, agent.Save, agent.Discard:
	}
	for _, f := range does[:min(steps, len(does))] {
		f()
	}
	h[task.ID] = s
}

// with returns the disks and another one, by number.
func with(disks []int64, n int64) []int64 {
	all := append(slices.Clone(disks), n)
	slices.Sort(all)
	return slices.Compact(all)
}

func (h host) sights() []agent.Sight {
	var all []agent.Sight
	for _, s := range h {
		all = append(all, s)
	}
	return all
}

func drawHost(t *rapid.T) host {
	h := host{}
	for n := range 6 {
		s := agent.Sight{
			ID: fmt.Sprint("vm-", n), Files: rapid.Bool().Draw(t, "files"),
			Machine:    rapid.SampledFrom([]hypervisor.State{"", hypervisor.Running, hypervisor.Exited}).Draw(t, "machine"),
			Generation: rapid.Int64Range(0, 3).Draw(t, "reached"), Ready: rapid.Bool().Draw(t, "ready"), Heard: rapid.Bool().Draw(t, "heard"),
			Tried: rapid.Int64Range(0, 3).Draw(t, "tried"), NotBefore: noon.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "wait"))),
		}
		if rapid.Bool().Draw(t, "asked") {
			s.Asked = noon.Add(time.Duration(rapid.IntRange(-90, 90).Draw(t, "seconds")) * time.Second)
		}
		for _, n := range rapid.SliceOfDistinct(rapid.SampledFrom([]int64{0, 2, 5}), rapid.ID).Draw(t, "disks") {
			s.Disks = with(s.Disks, n)
		}
		if len(s.Disks) > 0 {
			s.Files, s.Disk = true, rapid.SampledFrom(s.Disks).Draw(t, "disk")
		}
		if rapid.Bool().Draw(t, "linked") {
			s.Link = link(drawOrder(t, s.ID))
		}
		if rapid.Bool().Draw(t, "there") {
			h[s.ID] = s
		}
	}
	return h
}

func drawOrder(t *rapid.T, id string) vm.Order {
	o := order(id, rapid.Int64Range(1, 3).Draw(t, "generation"))
	o.Goal = rapid.SampledFrom([]vm.Goal{vm.Run, vm.Run, vm.Halt, vm.Remove}).Draw(t, "goal")
	o.Restart = rapid.Int64Range(0, o.Generation).Draw(t, "restart")
	o.Disk = rapid.SampledFrom([]int64{0, 0, 2, 5, 6}).Draw(t, "ordered disk")
	o.Purge = rapid.SliceOfDistinct(rapid.SampledFrom([]int64{0, 2, 5, 7}), rapid.ID).Draw(t, "purge")
	if rapid.Bool().Draw(t, "rescue") {
		o.Rescue = &vm.RescueSystem{Disk: 7}
	}
	for _, n := range []uint16{22, 80, 443} {
		if rapid.Bool().Draw(t, "port") {
			o.Ports = append(o.Ports, vm.Port{Number: n, Protocol: vm.TCP})
		}
	}
	return o
}

func drawOrders(t *rapid.T) []vm.Order {
	var all []vm.Order
	for n := range 6 {
		if rapid.Bool().Draw(t, "ordered") {
			all = append(all, drawOrder(t, fmt.Sprint("vm-", n)))
		}
	}
	return all
}

// Whatever is wanted and seen: only a VM with an order to remove is removed,
// only one with an order to halt is halted and nothing else is done to it but that disks
// are purged, one that nobody asked for is only ever quarantined, a running machine is
// never launched and only restarted or changed where that is asked for, no disk is purged
// but one that is named and that is neither the VM's nor its machine's, and no VM
// has two tasks.
func TestPlanNeverDestroysUnasked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wanted, h := drawOrders(t), drawHost(t)
		orders := map[string]vm.Order{}
		for _, o := range wanted {
			orders[o.ID] = o
		}
		tasks := map[string]bool{}
		for _, task := range agent.Plan(noon, wanted, h.sights()) {
			o, asked := orders[task.ID]
			switch {
			case tasks[task.ID]:
				t.Errorf("%s has two tasks", task.ID)
			case !asked && task.Verb != agent.Quarantine:
				t.Errorf("%s that nobody asked for: %s", task.ID, task.Verb)
			case asked && (task.Verb == agent.Remove) != (o.Goal == vm.Remove):
				t.Errorf("%s with goal %s: %s", task.ID, o.Goal, task.Verb)
			case asked && task.Verb != agent.Purge && (task.Verb == agent.Halt) != (o.Goal == vm.Halt):
				t.Errorf("%s with goal %s: %s", task.ID, o.Goal, task.Verb)
			case task.Verb == agent.Change && (h[task.ID].Disk == o.Boots() || !slices.Contains(h[task.ID].Disks, o.Boots()) || o.Generation < h[task.ID].Generation):
				t.Errorf("%s is changed from %+v by %+v", task.ID, h[task.ID], o.Shelf)
			case task.Verb == agent.Purge && (!slices.Contains(h[task.ID].Disks, o.Disk) || o.Generation < h[task.ID].Generation ||
				!slices.ContainsFunc(h[task.ID].Disks, func(n int64) bool {
					return slices.Contains(o.Purge, n) && n != o.Disk && n != o.Boots() && n != h[task.ID].Disk
				})):
				t.Errorf("%s: disks of %+v are purged by %+v", task.ID, h[task.ID], o.Shelf)
			case task.Verb == agent.Restart && (o.Goal != vm.Run || o.Restart <= h[task.ID].Restarted || h[task.ID].Machine != hypervisor.Running):
				t.Errorf("%s is restarted unasked", task.ID)
			case task.Verb == agent.Launch && h[task.ID].Machine == hypervisor.Running:
				t.Errorf("%s runs and is launched", task.ID)
			}
			tasks[task.ID] = true
		}
	})
}

// Whatever the start, and however often the agent crashes in the middle of its
// tasks, planning and acting ends where the orders are fulfilled and nothing
// is left to do; what nobody asked for is as it was.
func TestPlanConverges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		wanted, h := drawOrders(t), drawHost(t)
		before := maps.Clone(h)
		start := maps.Clone(h)
		now := noon.Add(time.Hour)
		for range rapid.IntRange(0, 10).Draw(t, "crashes") {
			for _, task := range agent.Plan(now, wanted, h.sights()) {
				h.do(task, rapid.IntRange(0, 5).Draw(t, "steps"))
			}
		}
		for range 10 {
			now = now.Add(time.Minute)
			for _, task := range agent.Plan(now, wanted, h.sights()) {
				h.do(task, 10)
			}
		}
		for _, o := range wanted {
			s := h[o.ID]
			delete(before, o.ID)
			if o.Goal == vm.Remove && (s.Exists() || s.Generation != o.Generation) {
				t.Errorf("%s is ordered gone, is %+v", o.ID, s)
			}
			if o.Goal == vm.Halt && (s.Machine != "" || s.Generation != o.Generation || s.Link != start[o.ID].Link) {
				t.Errorf("%s is ordered halted, was %+v, is %+v", o.ID, start[o.ID], s)
			}
			changed := s.Generation == o.Generation && s.Disk == o.Boots()
			stays := s.Disk == start[o.ID].Disk && (s.Unmade != nil || o.Generation < s.Generation)
			if o.Goal == vm.Run && (s.Machine != hypervisor.Running || !s.Ready || !s.Heard || !changed && !stays || s.Restarted < o.Restart || s.Link == nil || len(s.Link.Ports) != len(o.Ports)) {
				t.Errorf("%s is ordered to run, is %+v", o.ID, s)
			}
		}
		for id, s := range before {
			if fmt.Sprint(s) != fmt.Sprint(h[id]) {
				t.Errorf("%s, which nobody asked for, was %+v, is %+v", id, s, h[id])
			}
		}
		for _, task := range agent.Plan(now, wanted, h.sights()) {
			if task.Verb != agent.Quarantine {
				t.Errorf("still to do: %s %s", task.Verb, task.ID)
			}
		}
	})
}

// Whatever was there, a VM that is halted and ordered to run is launched next,
// and is not ready before it has answered anew.
func TestPlanLaunchesWhatWasHalted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, o := drawHost(t), drawOrder(t, "vm-0")
		o.Goal, o.Generation, o.Shelf = vm.Halt, 4, vm.Shelf{Disk: h[o.ID].Disk}
		for range rapid.IntRange(1, 3).Draw(t, "halts") {
			for _, task := range agent.Plan(noon, []vm.Order{o}, h.sights()) {
				h.do(task, 10)
			}
		}
		o.Goal, o.Generation = vm.Run, 5
		for _, want := range []agent.Verb{agent.Launch, agent.Watch} {
			i := slices.IndexFunc(agent.Plan(noon, []vm.Order{o}, h.sights()), func(t agent.Task) bool { return t.ID == o.ID && t.Verb == want })
			if i < 0 {
				t.Fatalf("%+v is not to be done by %s", h[o.ID], want)
			}
			h.do(agent.Task{Verb: want, ID: o.ID, Order: o}, 10)
		}
		ready := h[o.ID]
		ready.Heard = true
		if tasks := agent.Plan(noon, []vm.Order{o}, []agent.Sight{ready}); len(tasks) > 0 {
			t.Errorf("still to do: %v", tasks)
		}
	})
}
