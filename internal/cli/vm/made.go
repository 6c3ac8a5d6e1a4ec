package vm

import (
	"context"
	"strings"
	"time"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

func printMade(s *session.Session, made []client.Deployed) error {
	type vm struct {
		ID   string `json:"id"`
		Name string `json:"vmName"`
	}
	all := make([]vm, len(made))
	t := session.Table{Header: []string{"id", "name"}}
	for i, m := range made {
		all[i] = vm(m)
		t.Add(m.ID, m.Name)
		s.Notef("Accepted. `cpucloud vm wait %s` waits until it can be reached.", handle(m.ID, m.Name, len(made)))
	}
	return printOneOrMany(s, all, t)
}

// waitAll waits for one VM after the other: they boot at the same time. All
// are printed, also when one failed.
func (w *wish) waitAll(ctx context.Context, s *session.Session, cloud *client.Client, made []client.Deployed) error {
	end := s.Now().Add(w.timeout)
	var vms []client.VM
	var first error
	for _, m := range made {
		one := waiter{s, cloud, max(end.Sub(s.Now()), time.Second)}
		v, err := one.until(ctx, client.VM{ID: m.ID, Name: m.Name, Status: client.StatusNew}, client.StatusActive)
		switch {
		case err == nil:
			s.Notef("Connect: cpucloud vm ssh %s", handle(m.ID, m.Name, len(made)))
		case ctx.Err() != nil:
			s.Notef("No longer waiting; the VM goes on starting: `cpucloud vm wait %s`", m.ID)
			return err
		case first == nil:
			first = err
		default:
			s.Notef("error: %v", err)
		}
		vms = append(vms, v)
	}
	if err := printOneOrMany(s, vms, table(vms, false)); err != nil {
		return err
	}
	return first
}

// handle is what to call one of several VMs on the command line, where a name
// that begins with a hyphen is a flag.
func handle(id, name string, of int) string {
	if of == 1 && !strings.HasPrefix(name, "-") {
		return name
	}
	return id
}

// printOneOrMany prints an object for one thing, an array for several.
func printOneOrMany[T any](s *session.Session, all []T, t session.Table) error {
	if len(all) == 1 {
		return s.Print(all[0], t)
	}
	return s.Print(all, t)
}
