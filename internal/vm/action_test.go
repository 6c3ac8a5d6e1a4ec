package vm_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// actionTable is what may be done in which state, as Refuses says it.
func actionTable() string {
	var b strings.Builder
	b.WriteString("| action |")
	for _, s := range states {
		fmt.Fprintf(&b, " `%s` |", s)
	}
	b.WriteString(" powered off | deleted, kept | while another goes on |\n|---|" + strings.Repeat("---|", len(states)+3) + "\n")
	mark := map[bool]string{true: "yes", false: "–"}
	for _, a := range vm.Actions {
		fmt.Fprintf(&b, "| `%s` |", a)
		for _, s := range states {
			fmt.Fprintf(&b, " %s |", mark[vm.VM{State: s}.Refuses(a, nil) == nil])
		}
		for _, v := range []vm.VM{{State: vm.Active, Power: vm.Off}, {State: vm.Stopped, KeptUntil: time.Unix(1, 0)}} {
			fmt.Fprintf(&b, " %s |", mark[v.Refuses(a, nil) == nil])
		}
		fmt.Fprintf(&b, " %s |\n", mark[vm.VM{State: vm.Active}.Refuses(a, &vm.Operation{}) == nil])
	}
	return b.String()
}

// The manual says what the code does.
func TestActionsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/vm-lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := actionTable(); !strings.Contains(string(text), want) {
		t.Errorf("docs/vm-lifecycle.md lacks this table:\n%s", want)
	}
}

// What is refused says why, as a fault that its customer can act on; what is
// allowed is what is not refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, s := range states {
		for _, operation := range []string{"", "op_1"} {
			v := vm.VM{State: s, Operation: operation}
			allowed := map[vm.Action]bool{}
			for _, a := range v.Allowed() {
				allowed[a] = true
			}
			var busy *vm.Operation
			if operation != "" {
				busy = &vm.Operation{ID: operation, Action: vm.Reboot}
			}
			for _, a := range vm.Actions {
				err := v.Refuses(a, busy)
				if (err == nil) != allowed[a] {
					t.Errorf("%s of a VM that is %s: %v, though allowed is %t", a, s, err, allowed[a])
				}
				if err != nil && (!fault.Is(err, fault.Conflict) && s != vm.Stopped || fault.Message(err) == "") {
					t.Errorf("%s of a VM that is %s: %v, want a Conflict fault that says why", a, s, err)
				}
			}
		}
	}
}
