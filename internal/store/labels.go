package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/cpucloud/cpucloud/internal/vm"
)

// labelsText is how labels are kept: a line for each, with a line break on both of its
// sides, so that a label, or the beginning of one, is found in the text of all.
func labelsText(l vm.Labels) string {
	if len(l) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteByte('\n')
	for _, key := range slices.Sorted(maps.Keys(l)) {
		b.WriteString(key + "=" + l[key] + "\n")
	}
	return b.String()
}

func labelsOf(text string) vm.Labels {
	var l vm.Labels
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if l == nil {
			l = vm.Labels{}
		}
		l[key] = value
	}
	return l
}

// labelled returns the conditions of VMs, as v, that a selector chooses. Replacing
// finds a text as it is on both engines, where LIKE minds no case on one of them. An
// account's VMs are looked at one by one: with 10,000 of them that takes a tenth of
// what it takes to list them, whatever the database believes about labels.
func labelled(chosen vm.Selector) (conditions []string, args []any) {
	for _, c := range chosen {
		texts := []string{"\n" + c.Key + "="}
		for i, value := range c.Values {
			if i == 0 {
				texts = nil
			}
			texts = append(texts, "\n"+c.Key+"="+value+"\n")
		}
		ways := make([]string, len(texts))
		for i, text := range texts {
			ways[i] = `REPLACE(v.labels, ?, '') <> v.labels`
			args = append(args, text)
		}
		one := "(" + strings.Join(ways, " OR ") + ")"
		if c.Not {
			one = "NOT " + one
		}
		conditions = append(conditions, one)
	}
	return conditions, args
}

// SetLabels writes the labels of a VM, the whole set.
func (t *Tx) SetLabels(ctx context.Context, vmID string, labels vm.Labels) error {
	_, err := t.exec(ctx, `UPDATE vms SET labels = ? WHERE id = ?`, labelsText(labels), vmID)
	return err
}
